"""Readers of other projects' benchmarks, each on a small file of the form that its authors publish."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geochat.registry import DATASETS


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'images').mkdir()
    return tmp_path


def build(folder, name, data_file, **settings):
    source = {'type': 'ImageFolder', 'root': str(folder / 'images')}
    return DATASETS.build({'type': name, 'data_file': str(folder / data_file), 'image_source': source, **settings})


def write_json(folder, name, value):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(value), encoding='utf-8')


def write(folder, name, text):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding='utf-8')


VRS = {
    'image_id': 'P0003_0002.png',
    'question': 'The small vehicle at the top',
    'ground_truth': '{<25><40><35><60>}',
    'dataset': 'RSBench',
    'question_id': 0,
    'type': 'ref',
    'unique': True,
    # 40 x 20 pixels on a picture of 200 x 100, turned by 30 degrees about (60, 50)
    'obj_corner': [0.23839746, 0.31339746, 0.41160254, 0.51339746, 0.36160254, 0.68660254, 0.18839746, 0.48660254],
    'obj_cls': 'vehicle',
    'obj_ids': [0],
    'size_group': 'small',
}


def test_vrsbench_expressions_have_an_upright_box_in_per_cent(folder):
    Image.new('RGB', (200, 100)).save(folder / 'images' / 'P0003_0002.png')
    write_json(folder, 'ref.json', [VRS, {**VRS, 'question_id': 1, 'unique': False}])
    first, second = build(folder, 'ReferringBenchmark', 'ref.json')
    assert (first.id, first.images, first.query) == ('0', ('P0003_0002.png',), {'phrase': VRS['question']})
    np.testing.assert_allclose(first.truth['boxes'], [[60, 50, 20, 20, 0]])
    named = {'type': 'ref', 'size': 'small', 'dataset': 'RSBench', 'class': 'vehicle', 'objects': 'single'}
    assert first.groups == {**named, 'unique': 'true'}
    assert second.groups['unique'] == 'false'


def test_vrsbench_has_rotated_boxes_too(folder):
    Image.new('RGB', (200, 100)).save(folder / 'images' / 'P0003_0002.png')
    write_json(folder, 'ref.json', [VRS])
    (question,) = build(folder, 'ReferringBenchmark', 'ref.json', truth_from='obj_corner')
    np.testing.assert_allclose(question.truth['boxes'], [[60, 50, 40, 20, np.deg2rad(30)]], atol=1e-5)
    with pytest.raises(ValueError, match="truth_from is one of 'ground_truth', 'obj_corner', not 'obb'"):
        build(folder, 'ReferringBenchmark', 'ref.json', truth_from='obb')


def test_a_vrsbench_box_without_area_is_kept(folder):
    write_json(folder, 'ref.json', [{**VRS, 'ground_truth': '{<92><0><96><0>}'}])
    (question,) = build(folder, 'ReferringBenchmark', 'ref.json')
    np.testing.assert_allclose(question.truth['boxes'], [[94, 0, 4, 0, 0]])


def test_vrsbench_questions_are_put_into_the_task_s_words(folder):
    row = {
        'image_id': 'P0003_0002.png',
        'question': 'How many ships are there?',
        'ground_truth': '2',
        'dataset': 'RSBench',
        'question_id': 7,
        'type': 'object quantity',
    }
    write_json(folder, 'vqa.json', [row, {**row, 'question_id': 8, 'type': 'reasoning'}])
    first, _ = build(folder, 'VQABenchmark', 'vqa.json')
    assert (first.images, first.query) == (('P0003_0002.png',), {'question': row['question']})
    assert (first.truth, first.groups) == ({'text': '2'}, {'category': 'object quantity'})
    (kept,) = build(folder, 'VQABenchmark', 'vqa.json', categories=('reasoning',))
    assert kept.id == '8'


def test_vrsbench_captions(folder):
    row = {
        'image_id': 'P0003_0002.png',
        'ground_truth': 'Ships in a harbor.',
        'question': 'Describe the image in detail',
        'dataset': 'RSBench',
        'question_id': 3,
        'type': 'caption',
    }
    write_json(folder, 'cap.json', [row])
    (question,) = build(folder, 'CaptionBenchmark', 'cap.json')
    assert (question.id, question.query) == ('3', {'text': 'Describe the image in detail'})
    assert question.truth == {'text': 'Ships in a harbor.'}


VOC = """<annotation>
  <filename>{name}.jpg</filename>
  <size><width>800</width><height>800</height><depth>3</depth></size>
  {objects}
</annotation>
"""
VOC_OBJECT = """<object><name>{0}</name><pose>Unspecified</pose>
  <bndbox><xmin>10</xmin><ymin>20</ymin><xmax>{1}</xmax><ymax>60.5</ymax></bndbox>
  <description> {2} </description></object>"""


def write_voc(folder, split):
    objects = {'00001': ('ship', 30, 'A ship'), '00002': ('dam', 50, 'A dam'), '00010': ('ship', 70, 'The last ship')}
    write(folder, 'xml/00010.xml', VOC.format(name='00010', objects=VOC_OBJECT.format(*objects['00010'])))
    both = VOC_OBJECT.format(*objects['00001']) + VOC_OBJECT.format(*objects['00002'])
    write(folder, 'xml/00001.xml', VOC.format(name='00001', objects=both))
    write(folder, 'test.txt', split)


def test_dior_rsvg_s_split_numbers_the_objects_of_all_files_sorted_by_name(folder):
    write_voc(folder, '2\n0\n\n')
    questions = build(folder, 'VOCReferringBenchmark', 'test.txt', annotations=str(folder / 'xml'))
    assert [(q.id, q.images, q.query, q.groups) for q in questions] == [
        ('0', ('00001.jpg',), {'phrase': 'A ship'}, {'class': 'ship'}),
        ('2', ('00010.jpg',), {'phrase': 'The last ship'}, {'class': 'ship'}),
    ]
    np.testing.assert_allclose(questions[1].truth['boxes'], [[40, 40.25, 60, 40.5, 0]])
    assert [file.rpartition('/')[2] for file in questions.files] == ['test.txt', '00001.xml', '00010.xml']


@pytest.mark.parametrize(
    ('split', 'message'),
    [
        ('0\n3\n', r'test\.txt names object 3, but .*xml has only 3'),
        ('0\na\n', r"test\.txt, line 2: the number of an object, not 'a'"),
    ],
)
def test_a_split_that_does_not_belong_to_the_annotations(folder, split, message):
    write_voc(folder, split)
    with pytest.raises(ValueError, match=message):
        build(folder, 'VOCReferringBenchmark', 'test.txt', annotations=str(folder / 'xml'))


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('<description> A dam </description>', '', r'00001\.xml, object 2: there is no <description>'),
        ('<xmax>50</xmax>', '<xmax>wide</xmax>', r"00001\.xml, object 2: <bndbox/xmax> is a number, not 'wide'"),
        ('<xmax>50</xmax>', '<xmax>nan</xmax>', r'00001\.xml, object 2: a box is its left, top, right and bottom'),
        ('</annotation>', '', r'00001\.xml: not XML'),
    ],
)
def test_a_faulty_annotation_is_named(folder, old, new, message):
    write_voc(folder, '1')
    path = folder / 'xml' / '00001.xml'
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        build(folder, 'VOCReferringBenchmark', 'test.txt', annotations=str(folder / 'xml'))


INSTANCES = {
    'images': [{'id': 5, 'file_name': '00005.jpg', 'width': 800, 'height': 800}],
    'annotations': [{'id': 9, 'image_id': 5, 'category_id': 2, 'bbox': [10, 20, 30, 40], 'segmentation': []}],
    'categories': [{'id': 2, 'name': 'ship'}],
}


def reference(**changes):
    sentences = [{'sent_id': 1, 'raw': 'The ship', 'sent': 'the ship', 'tokens': ['the', 'ship']}, {'sent_id': 2}]
    sentences[1].update(sent='a big ship')
    return {'ref_id': 0, 'image_id': 5, 'ann_id': 9, 'split': 'test', 'sentences': sentences, **changes}


def write_refs(folder, references, instances=INSTANCES):
    (folder / 'refs(unc).p').write_bytes(pickle.dumps(references, protocol=2))
    write_json(folder, 'instances.json', instances)


def rrsis(folder, **changes):
    instances = str(folder / 'instances.json')
    return build(folder, 'RefCOCOBenchmark', 'refs(unc).p', instances_file=instances, **changes)


def test_each_sentence_of_an_rrsis_d_expression_is_a_question(folder):
    write_refs(folder, [reference(), reference(split='train')])
    questions = rrsis(folder)
    assert [(q.id, q.images, q.query, q.groups) for q in questions] == [
        ('1', ('00005.jpg',), {'phrase': 'The ship'}, {'class': 'ship'}),
        ('2', ('00005.jpg',), {'phrase': 'a big ship'}, {'class': 'ship'}),
    ]
    np.testing.assert_allclose(questions[0].truth['boxes'], [[25, 40, 30, 40, 0]])
    assert [q.id for q in rrsis(folder, split='train')] == ['1', '2']


class Bomb:
    def __reduce__(self):
        return print, ('it ran',)


@pytest.mark.parametrize(
    ('references', 'message'),
    [
        ([Bomb()], r'refs\(unc\)\.p is not a pickle of plain values: it asks for .*print'),
        ({'a': 1}, r'refs\(unc\)\.p is a list of expressions, not dict'),
        ([reference(), 5], r'refs\(unc\)\.p, expression 2: an expression is an object with a list of sentences'),
        ([reference(ann_id=8)], r'refs\(unc\)\.p, expression 1: .*instances\.json has no annotation 8'),
        ([reference(image_id=8)], r'refs\(unc\)\.p, expression 1: .*instances\.json has no image 8'),
    ],
)
def test_a_pickle_of_expressions_that_is_none_is_named_and_never_run(folder, references, message, capsys):
    write_refs(folder, references)
    with pytest.raises(ValueError, match=message):
        rrsis(folder)
    assert 'it ran' not in capsys.readouterr().out


def test_boxes_that_are_none_are_named(folder):
    write_refs(folder, [reference()], {**INSTANCES, 'annotations': [{'id': 9, 'bbox': [1, 2, 3]}]})
    with pytest.raises(ValueError, match=r'expression 1: a bbox is left, top, width and height, not \[1, 2, 3\]'):
        rrsis(folder)
    write_refs(folder, [reference()], {'images': []})
    with pytest.raises(ValueError, match=r'instances\.json is not in the form of COCO'):
        rrsis(folder)


RSVG = [('00001.jpg', [10, 20, 40, 60], ' the left ship ', ['DT'], 1), ('00002.jpg', [40.0, 60, 10, 20], 'a dam')]


def test_rsvg_s_list_of_expressions(folder):
    import torch

    torch.save(RSVG, folder / 'rsvg_test.pth')
    write_json(folder, 'rsvg_test.json', RSVG)
    for name in ('rsvg_test.pth', 'rsvg_test.json'):
        first, second = build(folder, 'RSVGBenchmark', name)
        assert (first.id, first.images, first.query) == ('1', ('00001.jpg',), {'phrase': 'the left ship'})
        np.testing.assert_allclose([first.truth['boxes'][0], second.truth['boxes'][0]], [[25, 40, 30, 40, 0]] * 2)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{', r'rsvg\.json is not a list of plain values'),
        ('{}', r'rsvg\.json is a list of expressions, not dict'),
        ('[["a.jpg", [1, 2, 3, 4]]]', r'rsvg\.json, entry 1: an entry is a picture, a box and an expression'),
        ('[["a.jpg", [1, 2, 3], "x"]]', r'rsvg\.json, entry 1: a box is its left, top, right and bottom edge'),
    ],
)
def test_an_rsvg_list_that_is_none_is_named(folder, content, message):
    write(folder, 'rsvg.json', content)
    with pytest.raises(ValueError, match=message):
        build(folder, 'RSVGBenchmark', 'rsvg.json')


def test_rsicd_captions_are_those_of_the_split(folder):
    sentences = [{'raw': 'many planes .', 'tokens': ['many', 'planes'], 'imgid': 0, 'sentid': 0}, {'raw': 'an airport'}]
    images = [
        {'filename': 'airport_1.jpg', 'imgid': 0, 'sentids': [0, 1], 'sentences': sentences, 'split': 'test'},
        {'filename': 'airport_2.jpg', 'imgid': 1, 'sentences': sentences, 'split': 'train'},
    ]
    write_json(folder, 'dataset_rsicd.json', {'images': images, 'dataset': 'rsicd'})
    (question,) = build(folder, 'KarpathyCaptionBenchmark', 'dataset_rsicd.json')
    assert (question.id, question.images, question.query) == ('airport_1.jpg', ('airport_1.jpg',), {})
    assert question.truth == {'text': ['many planes .', 'an airport']}
    write_json(folder, 'dataset_rsicd.json', {'images': [{**images[0], 'sentences': [{}]}]})
    with pytest.raises(ValueError, match=r"dataset_rsicd\.json, image 1: there is no 'raw'"):
        build(folder, 'KarpathyCaptionBenchmark', 'dataset_rsicd.json')
    for content, message in (([1], 'is an object, not list'), ({}, "there is no list 'images'")):
        write_json(folder, 'dataset_rsicd.json', content)
        with pytest.raises(ValueError, match=message):
            build(folder, 'KarpathyCaptionBenchmark', 'dataset_rsicd.json')


def test_nwpu_captions_lie_in_folders_of_classes(folder):
    picture = {'filename': 'airplane_001.jpg', 'imgid': 0, 'split': 'test', 'sentids': 0}
    captions = {'raw': 'a plane.', 'raw_1': 'one plane', 'raw_2': 'A plane', 'raw_3': 'x', 'raw_4': 'y'}
    write_json(
        folder, 'dataset_nwpu.json', {'airplane': [{**picture, **captions}, {**picture, 'split': 'val', 'raw': ''}]}
    )
    (question,) = build(folder, 'NWPUCaptionBenchmark', 'dataset_nwpu.json')
    assert question.images == ('airplane/airplane_001.jpg',)
    assert question.truth == {'text': ['a plane.', 'one plane', 'A plane', 'x', 'y']}
    write_json(folder, 'dataset_nwpu.json', {'airplane': [picture]})
    with pytest.raises(ValueError, match=r"dataset_nwpu\.json, airplane 1: there is no 'raw'"):
        build(folder, 'NWPUCaptionBenchmark', 'dataset_nwpu.json')


def test_grounding_descriptions_without_boxes_as_published_and_with(folder):
    Image.new('RGB', (200, 100)).save(folder / 'images' / 'P1.png')
    rows = [
        {'image_id': 'P1', 'description': 'There are two <p>ships</p> at sea.'},
        {'image_id': 'P1', 'description': 'There is <p>a ship</p> {<10><20><30><40>|<0>} at sea.'},
    ]
    write(folder, 'grounding_description.jsonl', ''.join(json.dumps(row) + '\n' for row in rows))
    first, second = build(folder, 'GroundingDescriptionBenchmark', 'grounding_description.jsonl')
    assert (first.id, second.id, first.images, first.query) == ('P1.png', 'P1.png#2', ('P1.png',), {})
    assert first.truth == {'text': 'There are two ships at sea.'}
    assert second.truth['text'] == 'There is a ship at sea.'
    np.testing.assert_allclose(second.truth['boxes'], [[40, 30, 40, 20, 0]])


def test_the_folders_of_whu_rs19_are_its_classes(folder):
    for name in ('footballField/f_01.jpg', 'Airport/a_02.JPG', 'Airport/a_01.tif', 'Airport/notes.txt'):
        write(folder, f'images/{name}', '')
    questions = build(folder, 'SceneFolderBenchmark', 'images')
    assert [question.id for question in questions] == ['Airport/a_01.tif', 'Airport/a_02.JPG', 'footballField/f_01.jpg']
    assert questions[0].query == {'classes': ('airport', 'football field')}
    assert questions[2].truth == {'text': 'football field'}
    with pytest.raises(FileNotFoundError, match=r'the folder of classes .*WHU does not exist'):
        build(folder, 'SceneFolderBenchmark', 'WHU')


def test_the_turns_of_a_fit_rsrc_question_share_a_circle(folder):
    text = 'Where is the ship?\nA. at sea\n B) on land\n(C) unknown\nAnswer with a letter.'
    row = {'question_id': 4, 'image': 'P1.png', 'text': text, 'category': 'Relationship', 'ground_truth': 'A'}
    turned = {**row, 'text': text.replace('at sea', 'on land', 1), 'ground_truth': 'C'}
    other = {**row, 'category': 'exist', 'text': 'Is there a ship? A. yes', 'ground_truth': 'D'}
    write(folder, 'rsrc.jsonl', '\n'.join(map(json.dumps, (row, turned, other))))
    first, second, third = questions = build(folder, 'CircularChoiceBenchmark', 'rsrc.jsonl')
    assert [question.id for question in questions] == ['4', '4#2', '4#3']
    assert first.query == {'text': text, 'options': ('at sea', 'on land', 'unknown')}
    assert first.truth == {'text': 'A', 'circle': '4/relationship'}
    assert second.truth == {'text': 'C', 'circle': '4/relationship'}
    assert (third.query, third.truth) == ({'text': other['text']}, {'text': 'D', 'circle': '4/exist'})
    assert first.groups == {'category': 'relationship'}


@pytest.mark.parametrize(('truth', 'letters'), [('C', 'AB'), ('b', 'AB'), ('Beach', 'AB')])
def test_a_true_answer_that_is_no_letter_of_the_options_is_refused(folder, truth, letters):
    row = {'question_id': 4, 'image': 'a', 'text': 'x\nA. b\nB. c', 'category': 'exist', 'ground_truth': truth}
    write_json(folder, 'rsrc.json', [row])
    with pytest.raises(ValueError, match=rf"rsrc\.json, record 1: .* one of the letters {letters}, not '{truth}'"):
        build(folder, 'CircularChoiceBenchmark', 'rsrc.json')


GEOBENCH = {
    'image_path': 'images/single_347.bmp',
    'ground_truth': 'dam',
    'ground_truth_option': 'B',
    'options_list': ['ship', 'dam', 'port'],
    'options': 'A. ship B. dam C. port',
    'prompts': ['What is it?', 'Which object is shown?'],
    'task': 'Object Classification',
    'image_name': 'single_347.bmp',
    'question_id': 12,
    'cls_description': '',
}


def test_every_wording_of_a_geobench_question_is_asked(folder):
    write_json(
        folder, 'qa.json', [GEOBENCH, {**GEOBENCH, 'question_id': 13, 'cls_description': 'D.', 'prompts': ['?']}]
    )
    first, second, third = build(folder, 'GEOBenchBenchmark', 'qa.json')
    options = ('ship', 'dam', 'port')
    assert [question.id for question in (first, second, third)] == ['12/1', '12/2', '13/1']
    assert first.query == {'question': 'What is it?', 'options': options}
    assert first.truth == {'text': 'B'}
    assert (first.images, first.groups) == (('images/single_347.bmp',), {'task': 'Object Classification'})
    assert third.query['question'] == 'D.\n?'
    write_json(folder, 'qa.json', [{**GEOBENCH, 'prompts': 'What is it?'}])
    with pytest.raises(ValueError, match=r"qa\.json, record 1: 'prompts' is a list of questions, not 'What is it\?'"):
        build(folder, 'GEOBenchBenchmark', 'qa.json')


def honesty_row(question, answer):
    turns = [{'from': 'human', 'value': f'<image>\n{question}'}, {'from': 'gpt', 'value': answer}]
    return {'image': 'a.jpg', 'image_path': 'dota-test', 'size': [512, 512], 'conversations': turns}


def write_honesty(folder):
    from geochat.datasets.benchmarks.choices import HONESTY_FILES

    for name in HONESTY_FILES:
        write_json(folder, f'vhm/{name}', [honesty_row(f'What of {name}?', 'none')])
    options = 'Where is it?\nA. top left\nB. there is none'
    write_json(folder, 'vhm/abspos_false_dota-test_popular_mc.json', [honesty_row(options, 'B. there is none')])


def test_vhm_s_honesty_questions_are_grouped_by_task_and_premise(folder):
    write_honesty(folder)
    questions = build(folder, 'HonestyBenchmark', 'vhm')
    assert len(questions) == len(questions.files) == 14
    by_id = {question.id: question for question in questions}
    presence = by_id['presence_mo_dota/1']
    assert (presence.images, presence.query) == (('dota-test/a.jpg',), {'text': 'What of presence_mo_dota.json?'})
    assert (presence.truth, presence.groups) == ({'text': 'none', 'deceptive': False}, {'task': 'presence'})
    trap = by_id['abspos_false_dota-test_popular_mc/1']
    assert trap.query['options'] == ('top left', 'there is none')
    assert trap.truth == {'text': 'B', 'deceptive': True}
    assert trap.groups == {'task': 'absolute position', 'trap': 'popular'}


def test_a_missing_or_faulty_file_of_honesty_questions_is_named(folder):
    write_honesty(folder)
    write_json(folder, 'vhm/presence_mo_dota.json', [{'image': 'a', 'image_path': 'b', 'conversations': []}])
    with pytest.raises(ValueError, match=r"presence_mo_dota\.json, record 1: 'conversations' is a question and its"):
        build(folder, 'HonestyBenchmark', 'vhm')
    (folder / 'vhm' / 'presence_mo_dota.json').unlink()
    with pytest.raises(FileNotFoundError, match=r'presence_mo_dota\.json does not exist'):
        build(folder, 'HonestyBenchmark', 'vhm')


DOTA = """imagesource:GoogleEarth
gsd:0.146
10.0 20.0 40.0 20.0 40.0 60.0 10.0 60.0 Ship 0
0 0 8 6 5 10 -3 4 small-vehicle 1
1 1 2 1 2 2 1 2 ship
"""


def test_dota_s_labels_are_boxes_classes_and_difficulties(folder):
    write(folder, 'labels/P1.txt', DOTA)
    write(folder, 'labels/P0.txt', '')
    empty, full = questions = build(folder, 'DOTABenchmark', 'labels', classes=('small-vehicle', 'ship'))
    assert (full.id, full.images) == ('P1', ('P1.png',))
    assert full.query == {'classes': ('small-vehicle', 'ship')}
    truth = full.truth
    assert (truth['labels'], truth['difficult']) == (('ship', 'small-vehicle', 'ship'), (False, True, False))
    expected = [[25, 40, 30, 40, 0], [2.5, 5, 10, 5, np.arctan2(3, 4)], [1.5, 1.5, 1, 1, 0]]
    np.testing.assert_allclose(truth['boxes'], expected, atol=1e-9)
    assert empty.truth['boxes'].shape == (0, 5) and empty.truth['labels'] == ()
    assert [file.rpartition('/')[2] for file in questions.files] == ['P0.txt', 'P1.txt']


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        (
            '1 2 3 4 ship 0',
            r"P1\.txt: line 2: an object is eight numbers, a class and its difficulty, not '1 2 3",
        ),
        ('1 2 3 4 5 6 7 x ship 0', r"P1\.txt: line 2: an object begins with eight numbers, not '1 2 3 4 5 6 7 x'"),
        ('1 1 2 1 2 2 1 2 shp 0', r"P1\.txt: the class 'shp' is none of ship"),
        ('1 1 2 1 2 2 1 nan ship 0', r"P1\.txt: line 2: an object begins with eight numbers, not '1 1 2 1 2 2 1 nan'"),
    ],
)
def test_a_faulty_label_is_named(folder, line, message):
    write(folder, 'labels/P1.txt', f'1 1 2 1 2 2 1 2 ship 0\n{line}\n')
    with pytest.raises(ValueError, match=message):
        build(folder, 'DOTABenchmark', 'labels', classes=('ship',))


DIOR = """<annotation><filename>00001.jpg</filename>
  <object><name>golffield</name><difficult>1</difficult><robndbox>
    <x_left_top>0</x_left_top><y_left_top>0</y_left_top><x_right_top>8</x_right_top><y_right_top>6</y_right_top>
    <x_right_bottom>5</x_right_bottom><y_right_bottom>10</y_right_bottom>
    <x_left_bottom>-3</x_left_bottom><y_left_bottom>4</y_left_bottom></robndbox><angle>0</angle></object>
  <object><name>Dam</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>2</ymax></bndbox></object>
</annotation>"""


def dior(folder):
    settings = {'classes': ('golffield', 'dam'), 'annotations': str(folder / 'xml')}
    return build(folder, 'DIORBenchmark', 'test.txt', **settings)


def test_dior_r_s_labels(folder):
    write(folder, 'test.txt', '00001\n')
    write(folder, 'xml/00001.xml', DIOR)
    (question,) = questions = dior(folder)
    assert (question.id, question.images) == ('00001', ('00001.jpg',))
    assert (question.truth['labels'], question.truth['difficult']) == (('golffield', 'dam'), (True, False))
    expected = [[2.5, 5, 10, 5, np.arctan2(3, 4)], [2, 1.5, 2, 1, 0]]
    np.testing.assert_allclose(question.truth['boxes'], expected, atol=1e-9)
    assert [file.rpartition('/')[2] for file in questions.files] == ['test.txt', '00001.xml']


def test_a_missing_dior_annotation_is_named(folder):
    write(folder, 'test.txt', '00001\n00002\n')
    write(folder, 'xml/00001.xml', DIOR)
    with pytest.raises(ValueError, match=r'test\.txt, line 2 \(.*\): the annotation .*00002\.xml does not exist'):
        dior(folder)


@pytest.mark.parametrize(
    ('reader', 'settings'),
    [
        ('CaptionBenchmark', {}),
        ('KarpathyCaptionBenchmark', {}),
        ('NWPUCaptionBenchmark', {}),
        ('GroundingDescriptionBenchmark', {}),
        ('VOCReferringBenchmark', {'annotations': 'nowhere'}),
        ('RefCOCOBenchmark', {'instances_file': 'nowhere.json'}),
        ('RSVGBenchmark', {}),
        ('CircularChoiceBenchmark', {}),
        ('GEOBenchBenchmark', {}),
        ('HonestyBenchmark', {}),
        ('SceneFolderBenchmark', {}),
        ('DOTABenchmark', {'classes': ('ship',)}),
        ('DIORBenchmark', {'classes': ('ship',), 'annotations': 'nowhere'}),
    ],
)
def test_a_missing_file_is_named(folder, reader, settings):
    with pytest.raises(FileNotFoundError, match=r'nothing|nowhere'):
        build(folder, reader, 'nothing', **settings)


SAMPLES = Path(os.environ.get('GEOCHAT_SAMPLES', Path(__file__).parents[3] / 'shared' / 'samples'))
"""Real labels of DOTA and DIOR-R."""


@pytest.mark.skipif(not (SAMPLES / 'dota').is_dir(), reason=f'no labels of DOTA and DIOR-R in {SAMPLES}')
def test_real_labels(folder):
    classes = ('plane', 'small-vehicle', 'large-vehicle', 'ship', 'harbor', 'bridge', 'storage-tank', 'helicopter')
    source = {'type': 'ImageFolder', 'root': str(SAMPLES / 'dota' / 'images')}
    settings = {'type': 'DOTABenchmark', 'data_file': str(SAMPLES / 'dota' / 'labelTxt'), 'image_source': source}
    questions = DATASETS.build({**settings, 'classes': classes})
    for question in questions:
        text = (SAMPLES / 'dota' / 'labelTxt' / f'{question.id}.txt').read_text()
        rows = [line.split() for line in text.splitlines() if ':' not in line and line.strip()]
        assert question.truth['labels'] == tuple(row[8] for row in rows)
        middles = np.array([row[:8] for row in rows], dtype=float).reshape(-1, 4, 2).mean(axis=1)
        np.testing.assert_allclose(question.truth['boxes'][:, :2], middles, atol=6)
        questions.image_source.load(question.images[0])

    write(folder, 'test.txt', '00001\n')
    labels = {'classes': ('golffield',), 'annotations': str(SAMPLES / 'dior')}
    (question,) = build(folder, 'DIORBenchmark', 'test.txt', **labels)
    np.testing.assert_allclose(question.truth['boxes'], [[408.5, 454.5, 551, 435, 0]])
