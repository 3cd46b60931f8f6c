"""The scripts that start processes say the right thing to ``torch.distributed.run`` and to Slurm."""

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture
def started(tmp_path):
    """Return a function that runs a script with stand-ins for ``srun`` and ``python``, which print their arguments."""
    for name in ('srun', 'python'):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@"\n')
        program.chmod(0o755)

    def run(script, *arguments, **variables):
        result = subprocess.run(
            ['bash', str(TOOLS / script), *arguments],
            env={'PATH': os.pathsep.join((str(tmp_path), os.environ['PATH'])), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return result.returncode, result.stdout.splitlines(), result.stderr

    return run


def test_slurm_gets_a_task_for_each_gpu(started):
    code, words, _ = started(
        'slurm_train.sh', 'gpu', 'job', 'c.py', '--resume', GPUS='32', SRUN_ARGS='--time=1:00 --account=me'
    )
    assert code == 0
    assert words[0] == 'srun'
    assert {'--partition=gpu', '--job-name=job', '--ntasks=32', '--ntasks-per-node=8', '--gres=gpu:8'} <= set(words)
    assert {'--time=1:00', '--account=me'} <= set(words)
    assert words[words.index('python') :] == [
        *('python', '-u', str(TOOLS / 'train.py'), 'c.py', '--launcher', 'slurm', '--resume'),
    ]


def test_slurm_asks_for_no_more_gpus_of_a_machine_than_of_all(started):
    _, words, _ = started('slurm_train.sh', 'gpu', 'job', 'c.py', GPUS='2')
    assert {'--ntasks=2', '--ntasks-per-node=2', '--gres=gpu:2'} <= set(words)


def test_torchrun_on_several_machines(started):
    code, words, _ = started('dist_train.sh', 'c.py', '8', '--resume', NNODES='4', NODE_RANK='1', MASTER_ADDR='first')
    assert code == 0
    assert words[:3] == ['python', '-m', 'torch.distributed.run']
    assert {'--nnodes=4', '--node_rank=1', '--master_addr=first', '--nproc_per_node=8'} <= set(words)
    assert words[-5:] == [str(TOOLS / 'train.py'), 'c.py', '--launcher', 'pytorch', '--resume']


@pytest.mark.parametrize('script', ['dist_train.sh', 'slurm_train.sh'])
def test_too_few_arguments_are_answered_with_the_usage(started, script):
    code, _, message = started(script, 'c.py')
    assert code == 2
    assert f'usage: tools/{script}' in message
