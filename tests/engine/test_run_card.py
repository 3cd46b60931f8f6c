"""The card of a run: hashes that change with what they stand for, and what is taken over from an earlier run."""

import copy
import json

import pytest
import torch
from small_run import small_run

from geochat.engine.benchmark import build_benchmarks
from geochat.engine.predictions import write_rows
from geochat.engine.run_card import (
    add_origins,
    card_of,
    code_digest,
    digest,
    read_card,
    take_over,
    write_card,
)


def test_other_hashes():
    assert digest({'a': 1, 'b': [2]}) == digest({'b': (2,), 'a': 1}) != digest({'a': 1, 'b': [3]})
    assert len(code_digest()) == 64


@pytest.fixture
def card(tmp_path):
    cfg = small_run(tmp_path)
    benchmarks = build_benchmarks(cfg.benchmarks, cfg.task_prompts, cfg.box_codec)
    card = card_of(benchmarks, cfg.to_dict(), weights={'source': 'a', 'sha256': 'w'}, seed=3)
    add_origins(card, {'weights': 'w'})
    return card


def test_a_card_says_what_figures_depend_on(card, tmp_path):
    write_card(card, tmp_path)
    again = read_card(tmp_path)
    assert again['seed'] == 3
    assert again['libraries']['torch'].startswith(torch.__version__.partition('+')[0])
    assert again['config']['benchmarks']['refer']['task'] == 'refer'
    assert set(again['benchmarks']['scene']['files']) == {str(tmp_path / 'scene.jsonl')}
    (tmp_path / 'run_card.json').write_text('{')
    assert read_card(tmp_path) is None


@pytest.fixture
def earlier(card, tmp_path):
    """A work directory with one answer to each benchmark."""
    folder = tmp_path / 'work'
    folder.mkdir()
    write_card(card, folder)
    write_rows(folder / 'predictions.jsonl', [{'benchmark': name, 'id': '0'} for name in ('scene', 'refer')])
    metrics = {'source': 'a', 'results': {'scene': {'score': {}}, 'refer': {'score': {}}}}
    (folder / 'metrics.json').write_text(json.dumps(metrics))
    return folder


def test_nothing_is_taken_over_where_nothing_is(card, tmp_path):
    earlier = take_over(tmp_path, card, ['predictions'])
    assert (earlier.kept, earlier.message) == ((), None)


def test_answers_of_the_same_origins_are_taken_over(card, earlier):
    found = take_over(earlier, copy.deepcopy(card), ['predictions'])
    assert found.kept == ('scene', 'refer')
    assert found.message.startswith('Answers to scene, refer are taken over')
    assert 'another state of the code' not in found.message
    now = copy.deepcopy(card)
    now['code_sha256'] = 'other'
    assert 'another state of the code' in take_over(earlier, now, ['predictions']).message
    assert not (earlier / 'earlier').exists()


def test_answers_to_a_benchmark_that_is_not_asked_are_kept_with_their_scores(card, earlier):
    now = copy.deepcopy(card)
    del now['benchmarks']['scene']
    found = take_over(earlier, now, ['predictions'])
    assert found.kept == ('scene', 'refer')
    assert found.metrics == {'results': {'scene': {'score': {}}}}
    assert now['benchmarks']['scene'] == json.loads(json.dumps(card['benchmarks']['scene']))


@pytest.mark.parametrize(
    ('place', 'key', 'kept', 'reason'),
    [
        ((), 'weights', (), 'scene: other weights; refer: other weights'),
        ((), 'config of the model', (), 'scene: other config of the model'),
        (('benchmarks', 'refer'), 'files of the benchmark', ('scene',), 'refer: other files of the benchmark'),
        (('benchmarks', 'refer'), 'config of the benchmark', ('scene',), 'refer: other config of the benchmark'),
    ],
)
def test_answers_of_other_origins_are_put_aside_and_the_reason_is_told(card, earlier, place, key, kept, reason):
    now = copy.deepcopy(card)
    entry = now
    for name in place:
        entry = entry[name]
    entry['origins'][key] = 'other'
    found = take_over(earlier, now, ['predictions'])
    assert found.kept == kept
    assert reason in found.message
    (folder,) = (earlier / 'earlier').iterdir()
    assert str(folder) in found.message
    assert {path.name for path in folder.iterdir()} == {'predictions.jsonl', 'metrics.json', 'run_card.json'}


def test_answers_that_nobody_knows_the_origin_of_are_put_aside(card, earlier):
    (earlier / 'run_card.json').unlink()
    found = take_over(earlier, card, ['predictions'])
    assert found.kept == ()
    assert 'no run card tells their origin' in found.message
