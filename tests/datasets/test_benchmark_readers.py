import json

import numpy as np
import pytest
from PIL import Image

from geochat.datasets import SceneBenchmark, VQABenchmark
from geochat.registry import DATASETS
from geochat.structures import Question


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'images').mkdir()
    return tmp_path


def reader(folder, name, rows, lines=True, **changes):
    text = ''.join(json.dumps(row) + '\n' for row in rows) if lines else json.dumps(rows)
    (folder / 'bench.jsonl').write_text(text, encoding='utf-8')
    source = {'type': 'ImageFolder', 'root': str(folder / 'images')}
    settings = {'type': name, 'data_file': str(folder / 'bench.jsonl'), 'image_source': source, **changes}
    return DATASETS.build(settings)


AID = {
    'question_id': 'Airport/airport_1.jpg',
    'image': 'Airport/airport_1.jpg',
    'text': 'Classify the image from the following classes. Classes: Airport, Port. Answer in one word.',
    'ground_truth': 'Airport',
}


def test_scene_questions_are_used_as_they_are_written(folder):
    questions = reader(
        folder, 'SceneBenchmark', [AID, {**AID, 'question_id': 'Port/port_1.jpg', 'ground_truth': 'Port'}]
    )
    first = questions[0]
    assert isinstance(first, Question) and len(questions) == 2
    assert (first.id, first.images) == ('Airport/airport_1.jpg', ('Airport/airport_1.jpg',))
    assert first.query == {'text': AID['text'], 'classes': ('Airport', 'Port')}
    assert (first.truth, first.groups) == ({'text': 'Airport'}, {})
    assert [question.truth['text'] for question in questions] == ['Airport', 'Port']


def test_the_true_class_may_be_the_folder_of_the_question_as_in_the_original(folder):
    rows = [{**AID, 'question_id': 'MediumResidential/a.jpg', 'ground_truth': 'MediumResidentialgt'}]
    assert reader(folder, 'SceneBenchmark', rows)[0].truth == {'text': 'MediumResidentialgt'}
    assert reader(folder, 'SceneBenchmark', rows, truth_from='question_id')[0].truth == {'text': 'MediumResidential'}
    with pytest.raises(ValueError, match=r"line 1: the question_id '17' begins with no folder"):
        reader(folder, 'SceneBenchmark', [{**AID, 'question_id': 17}], truth_from='question_id')
    with pytest.raises(ValueError, match='truth_from'):
        reader(folder, 'SceneBenchmark', rows, truth_from='folder')


def test_classes_are_those_of_the_row_or_of_its_question_if_it_says(folder):
    rows = [{**AID, 'classes': ['Air Port', 'Port']}, {**AID, 'text': 'Which class is it?'}]
    first, second = reader(folder, 'SceneBenchmark', rows)
    assert first.query['classes'] == ('Air Port', 'Port')
    assert second.query == {'text': 'Which class is it?'}


def lrben(question_id, category='presence', **fields):
    text = 'Is there a road?\nAnswer the question using a single word or phrase.'
    return {'question_id': question_id, 'image': f'{question_id}.tif', 'text': text, 'category': category, **fields}


def test_vqa_questions_have_the_answers_of_rsvqas_own_file(folder):
    answers = [
        {'id': 0, 'question_id': 7, 'people_id': 0, 'answer': 'no', 'active': True},
        {'id': 1, 'active': False},
        {'id': 2, 'question_id': 5, 'answer': 'yes', 'active': True},
    ]
    (folder / 'answers.json').write_text(json.dumps({'answers': answers}))
    rows = [lrben(5), lrben(7, 'comp')]
    questions = reader(folder, 'VQABenchmark', rows, answers_file=str(folder / 'answers.json'))
    assert [(q.id, q.images, q.truth, q.groups) for q in questions] == [
        ('5', ('5.tif',), {'text': 'yes'}, {'category': 'presence'}),
        ('7', ('7.tif',), {'text': 'no'}, {'category': 'comp'}),
    ]
    assert questions[0].query == {'text': rows[0]['text']}
    with pytest.raises(ValueError, match=r'bench\.jsonl, line 2: .*answers\.json has no answer to question 1'):
        reader(folder, 'VQABenchmark', [lrben(5), lrben(1)], answers_file=str(folder / 'answers.json'))


def test_an_answer_without_question_id_answers_the_question_of_its_place(folder):
    (folder / 'answers.json').write_text(json.dumps({'answers': [{'answer': 'no'}, {'answer': 3}]}))
    questions = reader(folder, 'VQABenchmark', [lrben(0), lrben(1)], answers_file=str(folder / 'answers.json'))
    assert [question.truth['text'] for question in questions] == ['no', '3']


def test_vqa_rows_may_have_their_answers_and_some_categories_may_be_left_out(folder):
    rows = [lrben(1, 'count', ground_truth=4), lrben(2, ground_truth='yes')]
    assert [question.truth['text'] for question in reader(folder, 'VQABenchmark', rows)] == ['4', 'yes']
    assert [question.id for question in reader(folder, 'VQABenchmark', rows, categories=('presence', 'comp'))] == ['2']
    with pytest.raises(ValueError, match='no question that the reader is to keep'):
        reader(folder, 'VQABenchmark', rows, categories=('area',))
    with pytest.raises(ValueError, match=r"line 1: there is no 'ground_truth'.*answers_file"):
        reader(folder, 'VQABenchmark', [lrben(1)])


@pytest.mark.parametrize('text', ['words', '[]', '{"answers": [1]}', '{"answers": [{"question_id": 1}]}'])
def test_a_file_that_has_no_answers_is_named(folder, text):
    (folder / 'answers.json').write_text(text)
    with pytest.raises(ValueError, match=r'answers\.json is not a file of RSVQA answers'):
        reader(folder, 'VQABenchmark', [lrben(1)], answers_file=str(folder / 'answers.json'))
    with pytest.raises(FileNotFoundError, match=r'nothing\.json'):
        reader(folder, 'VQABenchmark', [lrben(1)], answers_file=str(folder / 'nothing.json'))


REFER = {
    'question_id': 'P1_3',
    'image_id': 'P1',
    'question': '2 ships at the left',
    # 10 by 5 along (4, 3) / 5, and an upright one that reaches over the picture's edge
    'ground_truth': [[[0, 0], [8, 6], [5, 10], [-3, 4]], [[600.0, 20.0], [630.0, 20.0], [630.0, 30.0], [600.0, 30.0]]],
    'type': 'ref',
    'dataset': 'FAST',
    'obj_ids': [3, 4],
    'size_group': 'small',
}


def test_referring_expressions_have_their_polygons_as_boxes(folder):
    single = {**REFER, 'question_id': 'P1_4', 'ground_truth': REFER['ground_truth'][1:], 'type': 'grounding'}
    questions = reader(folder, 'ReferringBenchmark', [REFER, single])
    first, second = questions
    assert (first.id, first.images, first.query) == ('P1_3', ('P1.png',), {'phrase': '2 ships at the left'})
    expected = [[2.5, 5, 10, 5, np.arctan2(3, 4)], [615, 25, 30, 10, 0]]
    np.testing.assert_allclose(first.truth['boxes'], expected, atol=1e-9)
    assert first.groups == {'size': 'small', 'type': 'ref', 'dataset': 'FAST', 'objects': 'multiple'}
    np.testing.assert_array_equal(second.truth['boxes'], expected[1:])
    assert second.groups == {'size': 'small', 'type': 'grounding', 'dataset': 'FAST', 'objects': 'single'}


def test_types_may_be_chosen_and_names_may_have_another_ending(folder):
    rows = [REFER, {**REFER, 'question_id': 'b', 'type': 'grounding', 'image_id': 'P2.jpg '}]
    questions = reader(folder, 'ReferringBenchmark', rows, types=('grounding',), image_suffix='.jpg')
    assert [(question.id, question.images) for question in questions] == [('b', ('P2.jpg',))]


def test_corners_may_be_written_flat(folder):
    (question,) = reader(folder, 'ReferringBenchmark', [{**REFER, 'ground_truth': [[0, 0, 4, 0, 4, 2, 0, 2]]}])
    np.testing.assert_array_equal(question.truth['boxes'], [[2, 1, 4, 2, 0]])


@pytest.mark.parametrize(
    'truth', ['words', [], [[]], [[1, 2, 3]], [[[1, 2], [3, 4], [5, 6]]], [[['a', 'b']] * 4], 5, [[[1, 2]] * 4, [1]]]
)
def test_polygons_that_are_none_are_refused(folder, truth):
    with pytest.raises(ValueError, match=r'bench\.jsonl, line 2: .*ground_truth'):
        reader(folder, 'ReferringBenchmark', [REFER, {**REFER, 'ground_truth': truth}])


def test_a_corner_that_is_not_finite_is_refused(folder):
    with pytest.raises(ValueError, match=r'bench\.jsonl, line 1: .*polygons of four finite corners'):
        reader(folder, 'ReferringBenchmark', [{**REFER, 'ground_truth': [[[1, 2], [3, float('nan')], [5, 6], [7, 8]]]}])


CAPTION = {
    'question_id': 'P1_0',
    'image_id': 'P1',
    'question': '{<10><20><30><40>|<90>}',
    'ground_truth': '<p>1 red ship</p>',
    'type': 'ref',
    'size_group': 'large',
}


def test_region_captions_have_their_box_in_pixels_of_the_picture(folder):
    Image.new('RGB', (400, 200)).save(folder / 'images' / 'P1.png')
    (question,) = reader(folder, 'RegionCaptionBenchmark', [CAPTION])
    assert (question.id, question.images) == ('P1_0', ('P1.png',))
    assert question.truth == {'text': '1 red ship'}
    assert question.groups == {'size': 'large', 'type': 'ref'}
    ((cx, cy, w, h, angle),) = question.query['boxes']
    # 10 to 30 per cent of 400 by 20 to 40 per cent of 200, turned by a right angle
    assert (cx, cy) == (80, 60)
    upright = (w, h) if round(np.degrees(angle)) % 180 == 90 else (h, w)
    np.testing.assert_allclose(upright, (80, 40))


def test_the_size_comes_from_a_loaded_picture_where_the_source_tells_no_sizes(folder):
    class Source:
        def load(self, name):
            return Image.new('RGB', (100, 50))

    (question,) = reader(folder, 'RegionCaptionBenchmark', [CAPTION], image_source={'type': Source})
    np.testing.assert_allclose(question.query['boxes'][0, :2], (20, 15))


def test_a_region_without_box_is_refused_with_its_line(folder):
    Image.new('RGB', (400, 200)).save(folder / 'images' / 'P1.png')
    with pytest.raises(ValueError, match=r"line 2: 'question' has no box: 'the ship'"):
        reader(folder, 'RegionCaptionBenchmark', [CAPTION, {**CAPTION, 'question': 'the ship'}])
    with pytest.raises(ValueError, match=r'line 1: cannot read the box'):
        reader(folder, 'RegionCaptionBenchmark', [{**CAPTION, 'question': '{<10><20><30>|<90>}'}])


def test_a_region_of_a_missing_picture_stays_a_question_with_its_box_in_per_cent(folder):
    (question,) = reader(folder, 'RegionCaptionBenchmark', [CAPTION])
    np.testing.assert_allclose(question.query['boxes'][0, :2], (20, 30))


def test_ids_are_unique(folder):
    questions = reader(folder, 'SceneBenchmark', [AID, AID, AID])
    assert [question.id for question in questions] == [AID['question_id'] + ending for ending in ('', '#2', '#3')]


def test_a_json_list_is_read_too(folder):
    assert len(reader(folder, 'SceneBenchmark', [AID, AID], lines=False)) == 2
    with pytest.raises(ValueError, match=r"bench\.jsonl, record 2: there is no 'text', only 'question_id'"):
        reader(folder, 'SceneBenchmark', [AID, {'question_id': 1, 'ground_truth': ''}], lines=False)


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        (5, 'a row is an object, not int'),
        ({}, "there is no 'question_id'"),
        ({**AID, 'image': None}, "there is no 'image'"),
        ({**AID, 'image': 5}, "'image' is a text, not 5"),
    ],
)
def test_a_row_of_another_form_is_named(folder, row, message):
    with pytest.raises(ValueError, match=rf'bench\.jsonl, line 2: {message}'):
        reader(folder, 'SceneBenchmark', [AID, row])


def test_files_that_are_missing_or_empty_are_named(folder):
    source = {'type': 'ImageFolder', 'root': str(folder / 'images')}
    with pytest.raises(FileNotFoundError, match=r'nothing\.jsonl'):
        SceneBenchmark(str(folder / 'nothing.jsonl'), source)
    (folder / 'empty.jsonl').write_text('')
    with pytest.raises(ValueError, match=r'empty\.jsonl is empty'):
        VQABenchmark(str(folder / 'empty.jsonl'), source)


def test_slices_are_tuples_of_questions(folder):
    assert isinstance(reader(folder, 'SceneBenchmark', [AID, AID])[:1], tuple)
