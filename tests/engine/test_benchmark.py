"""Benchmarks without a model: answers are read, scored, compared, written, and scored again from what was written."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from small_run import small_run

from geochat.engine import ConfigError
from geochat.engine.benchmark import (
    build_benchmarks,
    compare,
    read_predictions,
    score_predictions,
    score_table,
    write_metrics,
    write_predictions,
    write_text,
)

BOX = '{<10><20><30><40>|<30>}'


@pytest.fixture
def benchmarks(tmp_path):
    cfg = small_run(tmp_path)
    built = build_benchmarks(cfg.benchmarks, cfg.task_prompts, cfg.box_codec)
    return {benchmark.name: benchmark for benchmark in built}


def answers(benchmark, texts):
    rows = zip(benchmark.reader, texts, strict=True)
    return [benchmark.answer(question, benchmark.prompt(question, (28, 28)), text, (28, 28)) for question, text in rows]


def test_a_benchmark_asks_reads_and_scores(benchmarks):
    scene = benchmarks['scene']
    said = answers(scene, ['yes', 'yes', ' yes '])
    assert said[2].prompt == 'Is a ship present? '
    assert scene.score(said) == {'right': 2 / 3}
    assert scene.score(said) == {'right': 2 / 3}  # a metric keeps nothing from one scoring to the next
    assert (scene.max_new_tokens, benchmarks['refer'].max_new_tokens) == (8, 8)


def test_questions_of_several_types_may_have_a_task_each(tmp_path):
    cfg = small_run(tmp_path)
    cfg.task_prompts.grounding = {'type': 'GroundingPrompt'}
    settings = cfg.benchmarks.refer
    settings.update(
        task={'ref': 'refer', 'grounding': 'grounding'}, version=3, source='a place', published={'acc@0.5': 0.1}
    )
    (refer,) = build_benchmarks(cfg.benchmarks, cfg.task_prompts, cfg.box_codec, ['refer'])
    assert (refer.version, refer.source, refer.published, refer.headline) == (3, 'a place', {'acc@0.5': 0.1}, None)
    ref, *_ = refer.reader
    grounding = replace(ref, groups={'type': 'grounding'})
    assert refer.prompt(ref, (28, 28)) == '[refer] Give me the location of <p> the red ship </p>'
    assert refer.prompt(grounding, (28, 28)) == '[grounding] the red ship'
    assert len(refer.answer(grounding, '', BOX, (28, 28)).parsed.boxes) == 1
    with pytest.raises(ConfigError, match=r"refer\.task has 'ref', 'grounding', but none for the type 'x' of .*'r0'"):
        refer.prompt(replace(ref, groups={'type': 'x'}), (28, 28))


def test_the_most_frequent_true_answer(benchmarks):
    said = benchmarks['scene'].same_answers(answers(benchmarks['scene'], ['no', 'no', 'no']))
    assert [answer.parsed.text for answer in said] == ['yes', 'yes', 'yes']


def test_the_median_true_box_on_pictures_of_any_size(benchmarks):
    refer = benchmarks['refer']
    sizes = [(28, 28), (28, 28), (56, 28)]
    rows = zip(refer.reader, sizes, strict=True)
    said = refer.same_answers([refer.answer(question, '', '', size) for question, size in rows])
    # By hand: the true box is 8 x 4 about (8, 6); of 28 pixels that is 28.57 % x 14.29 % about (28.57 %, 21.43 %).
    np.testing.assert_allclose(said[0].parsed.boxes, [[8, 6, 8, 4, 0]], atol=0.28)
    np.testing.assert_allclose(said[2].parsed.boxes, [[16, 6, 16, 4, 0]], atol=0.56)


def test_what_answers_are_compared_with(benchmarks):
    refer, scene = benchmarks['refer'], benchmarks['scene']
    said = answers(refer, [BOX, BOX + BOX, ''])
    assert refer.score(said) == {'boxes': 3, 'angle': pytest.approx(math.radians(30))}
    compared = compare(refer, said, ['majority', 'angle_0'])
    assert compared['angle_0'] == {'boxes': 3, 'angle': 0}
    assert compared['majority']['boxes'] == 3
    assert said[0].parsed.boxes[0, 4] > 0.5  # the answers themselves keep their angles
    assert list(compare(scene, answers(scene, ['yes'] * 3), ['majority', 'angle_0'])) == ['majority']
    assert compare(refer, said, []) == {}


def test_predictions_are_one_line_an_answer(benchmarks, tmp_path):
    path = tmp_path / 'out' / 'predictions.jsonl'
    write_predictions({'refer': answers(benchmarks['refer'], [BOX, 'über', ''])}, path)
    first, second, _ = (json.loads(line) for line in path.read_text(encoding='utf-8').splitlines())
    # By hand: 10 to 30 % of 28 pixels is 5.6 wide about 5.6; 20 to 40 % about 8.4; 30 degrees are 0.5236.
    assert first == {
        'benchmark': 'refer',
        'id': 'r0',
        'images': ['red.png'],
        'image_size': [28, 28],
        'prompt': '[refer] Give me the location of <p> the red ship </p>',
        'answer': BOX,
        'text': BOX,
        'malformed': False,
        'truth': {'boxes': [[8, 6, 8, 4, 0]]},
        'boxes': [[5.6, 8.4, 5.6, 5.6, 0.5236]],
    }
    assert (second['answer'], second['malformed'], second['boxes']) == ('über', True, [])
    assert 'über' in path.read_text(encoding='utf-8')


def test_written_answers_score_the_same_without_a_model(benchmarks, tmp_path):
    cfg = small_run(tmp_path, test_cfg={'comparisons': ['majority', 'grey', 'angle_0']})
    cfg.dump(tmp_path / 'run.py')
    said = {
        'scene': answers(benchmarks['scene'], ['yes', 'no', 'no']),
        'refer': answers(benchmarks['refer'], [BOX, '', '']),
    }
    write_predictions(said, tmp_path / 'predictions.jsonl')
    _, results = score_predictions(tmp_path / 'run.py', tmp_path / 'predictions.jsonl', work_dir=tmp_path / 'again')
    for name, benchmark in benchmarks.items():
        assert results[name]['score'] == benchmark.score(said[name])
    assert set(results['refer']) == {'score', 'majority', 'angle_0'}
    written = json.loads((tmp_path / 'again' / 'metrics.json').read_text())
    assert written['results'] == results
    assert written['source'] == str(tmp_path / 'predictions.jsonl')
    _, only = score_predictions(tmp_path / 'run.py', tmp_path / 'predictions.jsonl', names=['refer'])
    assert list(only) == ['refer']


def test_metrics_name_the_data_that_was_scored(benchmarks, tmp_path):
    write_metrics({'scene': {'score': {'right': 1}}}, [benchmarks['scene']], tmp_path / 'metrics.json', 'weights.pth')
    written = json.loads((tmp_path / 'metrics.json').read_text())
    assert written['data']['scene']['questions'] == 3
    assert len(written['data']['scene']['sha256']) == 64


def test_questions_without_an_answer(benchmarks, tmp_path):
    small_run(tmp_path).dump(tmp_path / 'run.py')
    write_predictions({'scene': answers(benchmarks['scene'], ['yes'] * 3)[:2]}, tmp_path / 'few.jsonl')
    with pytest.raises(ValueError, match=r"few.jsonl has no answer to 1 questions of scene, such as 's2'"):
        score_predictions(tmp_path / 'run.py', tmp_path / 'few.jsonl')


def test_predictions_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nothing\.jsonl'):
        read_predictions(tmp_path / 'nothing.jsonl')
    path = tmp_path / 'bad.jsonl'
    good = {'benchmark': 'a', 'id': '1', 'prompt': '', 'answer': '', 'image_size': None}
    for bad in ('{', '[]', '{"benchmark": "a"}'):
        path.write_text(f'{json.dumps(good)}\n{bad}\n')
        with pytest.raises(ValueError, match=r'bad.jsonl, line 2 is not a prediction'):
            read_predictions(path)


def test_a_benchmark_that_does_not_exist(tmp_path):
    cfg = small_run(tmp_path)
    with pytest.raises(ConfigError, match="there is no benchmark 'scenes'; there are scene"):
        build_benchmarks(cfg.benchmarks, cfg.task_prompts, cfg.box_codec, ['scenes'])


RESULTS = {
    'scene': {'score': {'accuracy': 0.98}, 'majority': {'accuracy': 0.2}},
    'refer': {
        'score': {'acc@0.5': 0.61239, 'boxes': 510, 'questions': 500, 'malformed': 3, 'size=small/acc@0.5': 0.5},
        'angle_0': {'acc@0.5': 0.3, 'boxes': 510},
    },
}


def table_rows(benchmarks):
    table = score_table(list(benchmarks.values()), RESULTS)
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in table.split('\n') if '|' in line], table


def test_the_table_has_a_column_for_each_comparison_and_no_groups(benchmarks):
    rows, table = table_rows(benchmarks)
    assert rows == [
        ['benchmark', 'questions', 'malformed', 'metric', 'score', 'majority', 'angle_0'],
        ['scene', '', '', 'accuracy', '0.980', '0.200', ''],
        ['refer', '500', '3', 'acc@0.5', '0.612', '', '0.300'],
        ['', '', '', 'boxes', '510', '', '510'],
    ]
    assert "angle_0: the model's answers with the angle of every box set to 0" in table


def test_the_table_shows_chosen_scores(benchmarks):
    benchmarks['refer'].shown = ('acc@0.5',)
    assert [row[3] for row in table_rows(benchmarks)[0]] == ['metric', 'accuracy', 'acc@0.5']
    benchmarks['refer'].shown = ('acc@0.6',)
    with pytest.raises(ConfigError, match=r"benchmarks\.refer\.shown: there is no score 'acc@0\.6', but acc@0\.5"):
        table_rows(benchmarks)


def test_a_file_is_replaced_whole(tmp_path):
    write_text(tmp_path / 'a' / 'b.txt', 'one')
    write_text(tmp_path / 'a' / 'b.txt', 'two')
    assert (tmp_path / 'a' / 'b.txt').read_text() == 'two'
    assert [path.name for path in (tmp_path / 'a').iterdir()] == ['b.txt']
