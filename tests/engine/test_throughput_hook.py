"""A run's speed: counted over whole steps, whatever they wait for."""

import time

import pytest
from mmengine.logging import MMLogger
from small_run import small_run

from geochat.engine import build_runner
from geochat.engine.flops import ModelFlops, Work
from geochat.engine.hooks import ThroughputHook


@pytest.fixture
def runner(tmp_path):
    """Four steps of four records on a device that does 1e9 operations a second; measured every second step."""
    hooks = [{'type': 'ThroughputHook', 'interval': 2, 'peak_flops': 1e9}]
    train_cfg = {'type': 'TrainLoop', 'max_iters': 4, 'accumulation': 2}
    return build_runner(small_run(tmp_path, custom_hooks=hooks, train_cfg=train_cfg))


def test_speed_is_logged(runner, monkeypatch):
    lines = []
    monkeypatch.setattr(MMLogger, 'info', lambda self, message, *args: lines.append(str(message)))
    clock = iter(range(1000))
    monkeypatch.setattr(time, 'perf_counter', lambda: float(next(clock)))
    done = []
    hook = next(hook for hook in runner.hooks if isinstance(hook, ThroughputHook))
    monkeypatch.setattr(hook, '_measured', lambda: done.append((hook._work, hook._elapsed, hook._waited)) or measure())
    measure = ThroughputHook._measured.__get__(hook)
    runner.train()
    scalars = {name: runner.message_hub.get_scalar(f'train/{name}').current() for name in ('mfu', 'mfu_vision')}
    # The clock ticks when it is read: after the wait for data, and at the end of a step.
    assert [(work.records, elapsed, waited) for work, elapsed, waited in done] == [(8, 4, 2), (8, 4, 2)]
    flops, work = ModelFlops(runner.model), done[-1][0]
    assert scalars['mfu'] == pytest.approx((flops.vision(work) + flops.language(work)) / 4 / 1e9)
    assert scalars['mfu_vision'] == pytest.approx(flops.vision(work) / 4 / 1e9)
    hub = runner.message_hub
    assert hub.get_scalar('train/samples_per_second').current() == 2
    assert hub.get_scalar('train/tokens_per_second').current() == work.tokens / 4
    assert hub.get_scalar('train/data_waiting').current() == 0.5
    assert 10 < hub.get_scalar('train/memory').current() < 1e6
    line = next(line for line in lines if 'step 4/4' in line)
    assert '| 2.0 samples/s |' in line
    assert ' MFU | ' in line
    assert 'mfu_vision' not in line


def test_without_a_known_peak_there_is_no_utilisation(runner):
    hook = next(hook for hook in runner.hooks if isinstance(hook, ThroughputHook))
    hook.peak_flops = None
    hook.before_train(runner)
    hook._work, hook._elapsed = Work(records=1), 1.0
    assert 'mfu' not in hook._measured()
