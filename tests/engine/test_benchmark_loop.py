"""The benchmark loop asks every question once, in batches that change no answer, and writes what it got."""

import json

import pytest
import torch
from PIL import Image
from small_run import small_run

from geochat.datasets import collate_samples
from geochat.engine import ConfigError, build_runner
from geochat.engine.loops.benchmark import Prompts, box_labels
from geochat.generation import generate

COMPARISONS = ['majority', 'grey', 'angle_0']


@pytest.fixture
def runner(tmp_path):
    return build_runner(small_run(tmp_path, test_cfg={'batch_size': 2, 'comparisons': COMPARISONS}), training=False)


def test_a_run_writes_answers_scores_and_pictures(runner, tmp_path):
    scores = runner.test()
    assert set(scores) == {'scene/right', 'refer/boxes', 'refer/angle'}
    folder = tmp_path / 'run'
    rows = [json.loads(line) for line in (folder / 'predictions.jsonl').read_text().splitlines()]
    assert [(row['benchmark'], row['id']) for row in rows] == [
        *(('scene', f's{number}') for number in range(3)),
        *(('refer', f'r{number}') for number in range(3)),
    ]
    results = json.loads((folder / 'metrics.json').read_text())['results']
    assert {name: set(result) for name, result in results.items()} == {
        'scene': {'score', 'majority', 'grey'},
        'refer': {'score', *COMPARISONS},
    }
    assert results['scene']['majority'] == {'right': 2 / 3}
    assert sorted(path.name for path in (folder / 'pictures').iterdir()) == [f'refer_00{n}.png' for n in range(3)]
    with Image.open(folder / 'pictures' / 'refer_000.png') as picture:
        assert picture.width >= 512


def test_a_batch_answers_as_each_question_alone(runner):
    loop = runner.test_loop
    runner.model.eval()
    for benchmark in loop.benchmarks:
        prompts = Prompts(benchmark, loop.processor)
        loader = torch.utils.data.DataLoader(prompts, batch_size=1, collate_fn=lambda samples: samples)
        alone = [generate(runner.model, collate_samples(samples, 'left'), 8)[0].ids for samples in loader]
        texts = [loop.processor.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in alone]
        assert [answer.text for answer in loop.ask(benchmark)] == texts


def test_grey_pictures_have_the_size_of_the_real_ones(runner):
    loop = runner.test_loop
    prompts = Prompts(loop.benchmarks[0], loop.processor, show_grey=True)
    assert prompts.image_sizes == [(28, 28), (28, 28), (56, 28)]
    pixels = prompts[0]['pixels'][0]
    assert all(abs(channel - channel.mean()).max() < 1e-5 for channel in pixels)
    assert prompts[0]['image_keys'] == prompts[1]['image_keys'] != prompts[2]['image_keys']
    text = loop.processor.tokenizer.decode([token for token in prompts[2]['input_ids'] if token >= 0])
    assert 'USER:  \nIs a ship present?  ASSISTANT:' in text


def test_chosen_benchmarks_only(tmp_path):
    runner = build_runner(small_run(tmp_path), {'test_cfg.names': ['refer']}, training=False)
    assert set(runner.test()) == {'refer/boxes', 'refer/angle'}


def test_a_comparison_that_does_not_exist(tmp_path):
    with pytest.raises(ConfigError, match=r"test_cfg\.comparisons: 'gray' is none of majority, grey, angle_0"):
        build_runner(small_run(tmp_path, test_cfg={'comparisons': ['gray']}), training=False)


def test_a_box_is_labelled_with_its_phrase(runner):
    loop = runner.test_loop
    refer = loop.benchmarks[1]
    text = '{<70><70><80><80>|<0>} and <p>two ships</p> {<1><2><30><40>|<5>}{<50><50><60><60>|<0>}'
    answer = refer.answer(refer.reader[0], '', text, (28, 28))
    assert box_labels(answer) == ['', 'two ships', 'two ships']
