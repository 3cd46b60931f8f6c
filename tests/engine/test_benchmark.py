"""Benchmarks without a model: answers are read, scored, compared, written, and scored again from what was written."""

import math
from dataclasses import replace

import numpy as np
import pytest
from small_run import small_run

from geochat.engine import ConfigError
from geochat.engine.benchmark import build_available, build_benchmarks, compare

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


def test_a_benchmark_that_does_not_exist(tmp_path):
    cfg = small_run(tmp_path)
    with pytest.raises(ConfigError, match="there is no benchmark 'scenes'; did you mean scene"):
        build_benchmarks(cfg.benchmarks, cfg.task_prompts, cfg.box_codec, ['scenes'])


def test_benchmarks_whose_files_are_not_there_are_named(tmp_path):
    cfg = small_run(tmp_path)
    (tmp_path / 'scene.jsonl').unlink()
    built, missing = build_available(cfg.benchmarks, cfg.task_prompts, cfg.box_codec)
    assert [benchmark.name for benchmark in built] == ['refer']
    assert list(missing) == ['scene']
    assert 'scene.jsonl' in missing['scene']
    (tmp_path / 'refer.jsonl').unlink()
    with pytest.raises(
        ConfigError, match=r'the files of none of the benchmarks are there: scene: .*; refer: .*refer\.jsonl'
    ):
        build_available(cfg.benchmarks, cfg.task_prompts, cfg.box_codec)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'box_codec': {'type': 'earthdial', 'sense': 'up'}}, r"box_codec: sense is 'clockwise' or .*, not 'up'"),
        ({'metrics': [{'type': 'ExactMatch', 'normalization': 'none'}]}, r"benchmarks\.scene\.metrics: .*'?none"),
        (
            {'line': '{"question_id": "x"}'},
            r"benchmarks\.scene\.reader: .*scene\.jsonl, line 4: there is no 'text'",
        ),
    ],
)
def test_a_part_that_refuses_a_value_or_a_file_is_named_with_its_place(tmp_path, change, message):
    cfg = small_run(tmp_path)
    if 'line' in change:
        with (tmp_path / 'scene.jsonl').open('a') as file:
            file.write(change['line'])
    cfg.benchmarks.scene.metrics = change.get('metrics', cfg.benchmarks.scene.metrics)
    with pytest.raises(ConfigError, match=message):
        build_benchmarks(cfg.benchmarks, cfg.task_prompts, change.get('box_codec', cfg.box_codec), ['scene'])
