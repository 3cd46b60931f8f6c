"""Answers to held-out questions are drawn during training, which is the same as without."""

import itertools
from pathlib import Path

import cv2
import pytest
import torch
from small_run import small_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from geochat.engine import build_runner
from geochat.engine.config import ConfigError, as_config
from geochat.engine.hooks import AnswerPicturesHook

NUMBERS = itertools.count()


def config(tmp_path, hook=None, **changes):
    hook = {'type': 'AnswerPicturesHook', 'benchmark': 'refer', 'count': 2, 'interval': 1, **(hook or {})}
    backends = [{'type': 'LocalVisBackend'}, {'type': 'TensorboardVisBackend'}]
    settings = {
        'custom_hooks': [hook],
        'visualizer': {'type': 'AnswerVisualizer', 'vis_backends': backends},
        'experiment_name': f'pictures_{next(NUMBERS)}',
    }
    return small_run(tmp_path, **{**settings, **changes})


def pictures(run):
    return sorted(path.name for path in Path(run).rglob('vis_image/*.png'))


def test_the_same_questions_are_drawn_at_each_interval(tmp_path):
    build_runner(config(tmp_path)).train()
    assert pictures(tmp_path / 'run') == ['refer_0_1.png', 'refer_0_2.png', 'refer_1_1.png', 'refer_1_2.png']
    (path,) = (tmp_path / 'run').rglob('refer_0_1.png')
    # The picture of 28 pixels is enlarged to more than 512, and the words are below it.
    height, width, _ = cv2.imread(str(path)).shape
    assert height > width >= 512
    (events,) = {path.parent for path in (tmp_path / 'run').rglob('events.out.tfevents*')}
    curves = EventAccumulator(str(events)).Reload()
    assert [event.step for event in curves.Images('refer_1')] == [1, 2]


def test_each_validation_is_followed_by_pictures(tmp_path):
    cfg = config(tmp_path, {'interval': None, 'count': 9, 'benchmark': 'scene'})
    cfg.train_cfg.update(val_interval=2)
    loader = {**cfg.train_dataloader, 'sampler': {'type': 'DefaultSampler', 'shuffle': False}}
    cfg.update(val_dataloader=loader, val_cfg={'type': 'ValLoop'})
    build_runner(cfg).train()
    assert pictures(tmp_path / 'run') == ['scene_0_2.png', 'scene_1_2.png', 'scene_2_2.png']


def test_the_training_is_the_same_as_without(tmp_path):
    def weights(folder, **changes):
        cfg = config(tmp_path / folder, **changes)
        cfg.llm.config.attention_dropout = 0.5
        runner = build_runner(cfg)
        runner.train()
        assert runner.model.training
        return runner.model.state_dict()

    drawn, plain = weights('drawn'), weights('plain', custom_hooks=[])
    assert all(torch.equal(drawn[name], plain[name]) for name in plain)


@pytest.mark.parametrize(
    ('hook', 'changes', 'message'),
    [
        ({'benchmark': 'refre'}, {}, "there is no benchmark 'refre'; did you mean refer"),
        ({'interval': None}, {}, 'draws after validations, of which there are none: give it an interval'),
        ({}, {'visualizer': {'type': 'Visualizer'}}, 'needs visualizer.type AnswerVisualizer'),
    ],
)
def test_what_cannot_work_is_known_before_the_first_step(tmp_path, hook, changes, message):
    runner = build_runner(config(tmp_path, hook, **changes))
    with pytest.raises(ConfigError, match=message):
        runner.train()
    assert runner.iter == 0


def test_a_config_without_benchmarks(tmp_path):
    settings = {key: value for key, value in config(tmp_path).items() if key not in ('benchmarks', 'test_cfg')}
    with pytest.raises(ConfigError, match='the benchmarks of the config, which has none'):
        build_runner(as_config(settings, None)).train()


@pytest.mark.parametrize('name', ['count', 'interval'])
def test_settings_that_are_no_number_of_anything(name):
    with pytest.raises(ConfigError, match=f'{name} of AnswerPicturesHook must be at least 1, not 0'):
        AnswerPicturesHook('refer', **{name: 0})
