"""Files of answers are scored as they are, joined with a benchmark or by their own truth; what is wrong is named."""

import json

import numpy as np
import pytest
from small_run import small_run, write_lines

from geochat.engine import ConfigError
from geochat.engine.benchmark import build_benchmarks
from geochat.engine.predictions import answer_row, write_rows
from geochat.engine.results import score_table
from geochat.engine.scoring import score_predictions

BOX = '{<14><14><43><29>|<0>}'
"""The true box, 8 x 4 about (8, 6), on the per-cent grid of a picture of 28 x 28 pixels."""


@pytest.fixture
def config(tmp_path):
    cfg = small_run(tmp_path, test_cfg={'comparisons': ['majority', 'grey', 'angle_0']})
    cfg.benchmarks.scene.metrics, cfg.benchmarks.refer.metrics = (
        [{'type': 'ExactMatch'}],
        [{'type': 'RotatedGrounding'}],
    )
    cfg.dump(tmp_path / 'run.py')
    return tmp_path / 'run.py'


def score(config, rows, name=None, **further):
    path = config.parent / 'predictions.jsonl'
    if isinstance(rows, str):
        path.write_text(rows, encoding='utf-8')
    else:
        write_lines(path, rows)
    return score_predictions(path, config, names=[name] if name else None, **further)


def told(result):
    return [(problem.code, problem.place.partition(', ')[2]) for problem in result.problems]


def test_written_answers_score_the_same_without_a_model(config, tmp_path):
    cfg = small_run(tmp_path)
    cfg.benchmarks.scene.metrics, cfg.benchmarks.refer.metrics = (
        [{'type': 'ExactMatch'}],
        [{'type': 'RotatedGrounding'}],
    )
    said = {'scene': ['yes', 'no', 'no'], 'refer': [BOX, '{<10><20>', '']}
    rows, scores = [], {}
    for benchmark in build_benchmarks(cfg.benchmarks, cfg.task_prompts, cfg.box_codec):
        pairs = zip(benchmark.reader, said[benchmark.name], strict=True)
        answers = [benchmark.answer(question, 'asked', text, (28, 28)) for question, text in pairs]
        scores[benchmark.name] = benchmark.score(answers)
        rows += [answer_row(benchmark.name, answer) for answer in answers]
    write_rows(tmp_path / 'predictions.jsonl', rows)
    scene, refer = score_predictions(tmp_path / 'predictions.jsonl', config, work_dir=tmp_path / 'again')
    assert (scene.scores['score'], refer.scores['score']) == (scores['scene'], scores['refer'])
    assert set(refer.scores) == {'score', 'majority', 'angle_0'}
    assert refer.malformed == {'unclosed': 1, 'no_box': 1}
    written = json.loads((tmp_path / 'again' / 'metrics.json').read_text())
    assert written['results']['refer'] == refer.scores
    (only,) = score_predictions(tmp_path / 'predictions.jsonl', config, names=['refer'])
    assert only.scores['score'] == scores['refer']
    # What was written brings its own truth, and gives the same once more where the benchmark's files are not there.
    for name in ('scene', 'refer'):
        (tmp_path / f'{name}.jsonl').unlink()
    again = score_predictions(tmp_path / 'again' / 'predictions.jsonl', config)
    assert [result.scores for result in again] == [scene.scores, refer.scores]
    card = json.loads((tmp_path / 'again' / 'run_card.json').read_text())
    assert card['predictions']['source'] == str(tmp_path / 'predictions.jsonl')
    assert card['benchmarks']['refer']['questions'] == 3


def test_answers_of_a_run_are_scored_by_its_own_config(config, tmp_path):
    score(config, [{'id': f's{number}', 'answer': 'Yes.'} for number in range(3)], 'scene', work_dir=tmp_path / 'run')
    (again,) = score_predictions(tmp_path / 'run' / 'predictions.jsonl')
    assert again.scores['score']['accuracy'] == pytest.approx(2 / 3)
    options = {'benchmarks.scene.metrics.0.normalization': 'verbatim'}
    (again,) = score_predictions(tmp_path / 'run' / 'predictions.jsonl', cfg_options=options)
    assert again.scores['score']['accuracy'] == 0
    with pytest.raises(ConfigError, match="there is no benchmark 'scene'"):
        score_predictions(tmp_path / 'predictions.jsonl', names=['scene'])  # GeoChat-7B has none of this name


def test_lines_are_joined_by_their_ids_in_any_order(config):
    rows = [
        {'question_id': 's2', 'answer': 'Yes.'},
        {'question_id': 's0', 'answer': 'yes'},
        {'id': 's1', 'answer': 'yes'},
    ]
    (result,) = score(config, rows, 'scene')
    assert result.scores['score']['accuracy'] == pytest.approx(2 / 3)
    assert result.problems == []


def test_all_that_is_wrong_with_joined_lines_is_named_and_counted(config):
    lines = [
        {'id': 's0', 'answer': 'yes'},
        {'id': 's9', 'answer': 'yes'},
        {'id': 's0', 'answer': 'no'},
        {'id': 's1', 'text': 'no'},
        {'answer': 'no'},
        {'id': 's1', 'answer': ['no']},
        ['s2', 'yes'],
    ]
    text = ''.join(f'{json.dumps(line)}\n' for line in lines) + '{"id": "s2", "ans\n'
    (result,) = score(config, text, 'scene')
    assert told(result) == [
        ('unreadable_line', 'line 7'),
        ('unreadable_line', 'line 8'),
        ('unknown_id', 'line 2'),
        ('duplicate_id', 'line 3'),
        ('no_id', 'line 5'),
        ('duplicate_id', 'line 6'),
        ('no_answer', 'line 4'),
        ('unanswered', 'line 3'),
    ]
    assert result.scores['score']['accuracy'] == pytest.approx(1 / 3)  # what is not answered is wrong
    assert result.scores['score']['questions'] == 3
    table = score_table([result])
    assert (
        "1 lines without an answer; they count as wrong (predictions.jsonl, line 4: there is no 'answer', only" in table
    )
    place = f"{config.parent}/scene.jsonl, line 3: question 's2'"
    assert f'1 questions without an answer; they count as wrong ({place}' in table


@pytest.mark.parametrize('answer', [None, [], ''])
def test_a_line_with_its_own_truth_and_no_answer_counts_as_wrong(config, answer):
    rows = [{'question': 'where?', 'answer': BOX, 'gt_bbox': BOX}, {'question': 'where?', 'gt_bbox': BOX}]
    (result,) = score(config, [rows[0], {**rows[1], 'answer': answer}], 'refer')
    assert result.scores['score']['acc@0.5'] == 0.5
    assert result.scores['score']['malformed'] == 1


def test_boxes_need_the_size_of_the_picture(config, tmp_path):
    rows = [{'id': f'r{number}', 'answer': BOX} for number in range(3)]
    (result,) = score(config, rows, 'refer')
    assert result.scores['score']['acc@0.5'] == pytest.approx(2 / 3)  # the last picture is twice as wide
    (result,) = score(config, [{**row, 'image_size': [28, 28]} for row in rows], 'refer')
    assert result.scores['score']['acc@0.5'] == 1
    (tmp_path / 'images').rename(tmp_path / 'elsewhere')
    (result,) = score(config, [{**row, 'image_size': [28, 28]} for row in rows], 'refer')
    assert result.scores['score']['acc@0.5'] == 1
    with pytest.raises(ConfigError, match=r'line 1: boxes need the size of the picture, .*red\.png does not exist'):
        score(config, rows, 'refer')


def test_lines_may_bring_their_own_truth(config):
    rows = [
        {'answer': BOX, 'gt_bbox': BOX, 'size_group': 'small', 'task_type': 'ref'},
        {'answer': BOX + BOX, 'gt_bbox': BOX, 'size_group': 'large', 'task_type': 'ref'},
        {'answer': '', 'gt_bbox': BOX + '{<1><2>}', 'size_group': 'large', 'task_type': 'ref'},
        {'answer': BOX},
        {'answer': BOX, 'gt_bbox': {'boxes': [[28.5, 21.5, 29, 15, 0]]}, 'size_group': 'large'},
        {'answer': BOX, 'truth': {'boxes': [[28.5, 21.5, 29]]}},
    ]
    (result,) = score(config, rows, 'refer')
    scores = result.scores['score']
    assert scores['questions'] == 4
    assert scores['recall@0.5'] == pytest.approx(3 / 4)
    assert scores['precision@0.5'] == pytest.approx(3 / 4)
    assert scores['size=small/recall@0.5'] == 1
    assert told(result) == [('unread_truth', 'line 3'), ('no_truth', 'line 4'), ('no_truth', 'line 6')]


def test_kinds_that_a_benchmark_leaves_out_are_left_out_of_foreign_lines(config):
    rows = [{'answer': 'yes', 'annotation': 'yes', 'vqa_type': kind} for kind in ('presence', 'count', 'comp')]
    options = {'benchmarks.scene.reader.categories': ('presence', 'comp')}
    (result,) = score(config, rows, 'scene', cfg_options=options)
    assert (result.scores['score']['questions'], told(result)) == (2, [('left_out', 'line 2')])
    assert 'category=presence/accuracy' in result.scores['score']


def test_fields_may_have_other_names(config):
    rows = [{'name': f's{number}', 'output': 'yes', 'answer': 'no'} for number in range(3)]
    (result,) = score(config, rows, 'scene', fields={'id': 'name', 'answer': 'output'})
    assert result.scores['score']['accuracy'] == pytest.approx(2 / 3)
    with pytest.raises(ConfigError, match=r"there is no field 'anser'; there are id, answer"):
        score(config, rows, 'scene', fields={'anser': 'output'})


def test_a_json_list_does_as_well(config):
    (result,) = score(config, json.dumps([{'id': f's{number}', 'answer': 'no'} for number in range(3)]), 'scene')
    assert result.scores['score']['accuracy'] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    'bad', ['{<1><2><3>}', '{<nan><1><2><3>|<4>}', '{<1000000000><1><2><3>|<4>}', '{<-5><-9><-1><-2>|<4>}', '']
)
def test_boxes_that_mean_nothing_are_wrong_and_end_nothing(config, bad):
    rows = [{'id': f'r{number}', 'answer': text} for number, text in enumerate((BOX, bad, ''))]
    (result,) = score(config, rows, 'refer')
    assert result.scores['score']['acc@0.5'] == pytest.approx(1 / 3)
    assert np.isfinite(list(result.scores['score'].values())).all()


def test_files_that_cannot_be_scored(config, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nothing\.jsonl'):
        score_predictions(tmp_path / 'nothing.jsonl', config)
    for text in ('', '\n', 'nonsense\n', '[]', '[1, 2'):
        with pytest.raises(ConfigError, match=r'predictions\.jsonl has no answers'):
            score(config, text, 'scene')
    rows = [{'answer': 'yes', 'question': 'is it?'}]
    with pytest.raises(ConfigError, match=r'line 1 does not say which benchmark it answers: name one with --benchmark'):
        score(config, rows)
    with pytest.raises(ConfigError, match=r'has no ground truth \(.*\) for scene, and no ids to find the questions by'):
        score(config, rows, 'scene')
    with pytest.raises(ConfigError, match=r"there is no benchmark 'scen'; did you mean scene"):
        score(config, rows, 'scen')
    with pytest.raises(ConfigError, match=r'the file has no answers to scene'):
        score(config, [{'benchmark': 'refer', 'id': 'r0', 'answer': ''}], 'scene')
    with pytest.raises(ConfigError, match=r"line 1: an image_size is \[width, height\] in pixels, not '28x28'"):
        score(config, [{'id': 'r0', 'answer': BOX, 'image_size': '28x28'}], 'refer')
    with pytest.raises(ConfigError, match=r'has the answers that are to be scored: choose another one'):
        score(config, rows, 'scene', work_dir=tmp_path)
