"""Whole trainings in processes of their own: ZeRO and DDP on CPUs do what one plain process does, save and resume."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from toy_training import toy_config, toy_val_dataloader

SCRIPT = Path(__file__).parents[1] / 'run_toy.py'
STEPS = 8


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Return a function that trains the toy in processes of its own and returns its scalars and its log."""
    extensions = tmp_path_factory.mktemp('torch_extensions')

    def start(work_dir, processes=1, path=os.environ['PATH'], **settings):
        environment = {
            **os.environ,
            'PATH': path,
            'OMP_NUM_THREADS': '1',
            'TORCH_EXTENSIONS_DIR': str(extensions),
            'PYTHONPATH': str(SCRIPT.parents[1]),
        }
        for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE'):
            environment.pop(name, None)
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = str(probe.getsockname()[1])
        launch = ['-m', 'torch.distributed.run', '--nproc_per_node', str(processes), '--master_port', port]
        command = [sys.executable, *(launch if processes > 1 else []), str(SCRIPT)]
        result = subprocess.run(
            [*command, json.dumps({**settings, 'work_dir': str(work_dir)})],
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        log = result.stdout + result.stderr
        if result.returncode:
            return None, log
        return json.loads((Path(work_dir) / 'losses.json').read_text()), log

    return start


def settings(accumulation, max_iters=STEPS, **more):
    return {
        'train_cfg': {'type': 'TrainLoop', 'max_iters': max_iters, 'accumulation': accumulation, 'val_interval': 4},
        'val_dataloader': toy_val_dataloader(),
        'val_cfg': {'type': 'ValLoop'},
        'val_evaluator': {},
        'optim_wrapper': {'optimizer': {'type': 'AdamW', 'lr': 1e-2}, 'clip_grad': {'max_norm': 0.4}},
        **more,
    }


def zero(stage):
    return {'type': 'DeepSpeedStrategy', 'zero_stage': stage}


@pytest.fixture(scope='module')
def plain(run, tmp_path_factory):
    """Return the losses of one plain process whose step takes four micro-batches."""
    losses, log = run(tmp_path_factory.mktemp('plain'), **settings(accumulation=4))
    assert losses, log
    return losses


def check_equal(losses, expected):
    assert losses['train/loss'] == pytest.approx(expected['train/loss'], rel=1e-5)
    # Two ranks validate six records where one validates five: a sampler fills up the last round.
    assert len(losses['val/loss']) == len(expected['val/loss']) == 2


@pytest.mark.slow
@pytest.mark.parametrize('stage', [1, 2, 3])
def test_zero_on_two_processes_is_one_plain_process(run, plain, tmp_path, stage):
    losses, log = run(tmp_path, processes=2, strategy=zero(stage), **settings(accumulation=2))
    assert losses, log
    check_equal(losses, plain)


@pytest.mark.slow
def test_ddp_on_two_processes_is_one_plain_process(run, plain, tmp_path):
    losses, log = run(tmp_path, processes=2, **settings(accumulation=2))
    assert losses, log
    check_equal(losses, plain)


@pytest.mark.slow
def test_deepspeed_without_a_launcher_and_without_build_tools(run, plain, tmp_path):
    losses, log = run(tmp_path, strategy=zero(2), path='/nonexistent', **settings(accumulation=4))
    assert losses, log
    check_equal(losses, plain)
    assert losses['val/loss'] == pytest.approx(plain['val/loss'], rel=1e-5)


@pytest.mark.slow
def test_zero_2_resumes_on_two_processes(run, tmp_path):
    loader = {**toy_config()['train_dataloader'], 'dataset': {'type': 'toy_training.ToyData', 'size': 28}}
    asked = {**settings(accumulation=2), 'train_dataloader': loader, 'strategy': zero(2)}
    whole, log = run(tmp_path / 'whole', processes=2, **asked)
    assert whole, log
    checkpoint = tmp_path / 'whole' / 'iter_6'  # an epoch has four steps
    assert checkpoint.is_dir()
    assert not list(checkpoint.parent.glob('*.unfinished'))
    assert (checkpoint.parent / 'last_checkpoint').read_text() == 'iter_8'

    resumed_dir = tmp_path / 'resumed'
    shutil.copytree(checkpoint, resumed_dir / 'iter_6')
    resumed, log = run(resumed_dir, processes=2, resume=True, **asked)
    assert resumed, log
    assert 'Training from step 6 on to step 8' in log
    assert resumed['train/loss'] == pytest.approx(whole['train/loss'], rel=1e-6)
    assert resumed['val/loss'] == pytest.approx(whole['val/loss'], rel=1e-6)


@pytest.mark.slow
def test_bfloat16(run, tmp_path):
    amp = {**settings(2)['optim_wrapper'], 'type': 'AmpOptimWrapper'}
    plain, log = run(tmp_path / 'plain', **{**settings(accumulation=2), 'optim_wrapper': amp})
    assert plain, log
    losses, log = run(tmp_path / 'zero', strategy=zero(2), **{**settings(accumulation=2), 'optim_wrapper': amp})
    assert losses, log
    assert losses['train/loss'] == pytest.approx(plain['train/loss'], rel=1e-2)
    assert losses['train/loss'] != plain['train/loss']


@pytest.mark.slow
def test_ema_is_refused(run, tmp_path):
    losses, log = run(tmp_path, strategy=zero(2), custom_hooks=[{'type': 'EMAHook'}], **settings(accumulation=2))
    assert losses is None
    assert 'EMAHook does not work under DeepSpeed' in log


@pytest.mark.slow
def test_validation_makes_as_many_forwards_on_every_rank(run, plain, tmp_path):
    """Rank 0 has three records, rank 1 two: without a third forward there, rank 0 would wait for ever in the model."""
    unequal = {'sampler': {'type': 'DefaultSampler', 'shuffle': False, 'round_up': False}, 'batch_size': 1}
    changed = {
        **settings(accumulation=2),
        'val_dataloader': {**toy_val_dataloader(), **unequal},
        'model': {'type': 'toy_training.ToyModel', 'exchanges': True},
    }
    losses, log = run(tmp_path, processes=2, **changed)
    assert losses, log
    assert losses['val/loss'] == pytest.approx(plain['val/loss'], rel=1e-5)
