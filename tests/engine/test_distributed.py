"""Processes find each other, whoever started them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from geochat.engine import distributed
from geochat.engine.config import ConfigError
from geochat.engine.distributed import launch_variables

SLURM = {
    'SLURM_PROCID': '9',
    'SLURM_LOCALID': '1',
    'SLURM_NTASKS': '32',
    'SLURM_NODELIST': 'gpu[03-06]',
    'SLURM_JOB_ID': '1234567',
}
MPI = {
    'OMPI_COMM_WORLD_RANK': '3',
    'OMPI_COMM_WORLD_LOCAL_RANK': '3',
    'OMPI_COMM_WORLD_SIZE': '4',
    'OMPI_COMM_WORLD_LOCAL_SIZE': '4',
}


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def expected(rank, local_rank, size, address, port):
    return {
        'RANK': rank,
        'LOCAL_RANK': local_rank,
        'WORLD_SIZE': size,
        'MASTER_ADDR': address,
        'MASTER_PORT': port,
    }


def test_torchrun_says_it_all():
    variables = expected('1', '1', '2', 'here', '29500')
    assert launch_variables('pytorch', variables) == variables


def test_slurm_asks_for_its_first_machine(monkeypatch):
    def scontrol(command, **_):
        assert command == ['scontrol', 'show', 'hostnames', 'gpu[03-06]']
        return subprocess.CompletedProcess(command, 0, 'gpu03\ngpu04\ngpu05\ngpu06\n')

    monkeypatch.setattr(distributed.subprocess, 'run', scontrol)
    assert launch_variables('slurm', SLURM) == expected('9', '1', '32', 'gpu03', '24567')


def test_slurm_on_one_machine_or_with_an_address_asks_for_nothing():
    assert launch_variables('slurm', {**SLURM, 'SLURM_NODELIST': 'gpu03'})['MASTER_ADDR'] == 'gpu03'
    part = {**SLURM, 'SLURM_STEP_NODELIST': 'gpu05'}  # a step on one machine of its job
    assert launch_variables('slurm', part)['MASTER_ADDR'] == 'gpu05'
    variables = launch_variables('slurm', {**SLURM, 'MASTER_ADDR': '10.0.0.1', 'MASTER_PORT': '1234'})
    assert (variables['MASTER_ADDR'], variables['MASTER_PORT']) == ('10.0.0.1', '1234')


def test_slurm_without_scontrol_asks_for_the_address(monkeypatch):
    monkeypatch.setenv('PATH', '')
    with pytest.raises(ConfigError, match='set MASTER_ADDR'):
        launch_variables('slurm', SLURM)


def test_mpi_on_one_machine_and_on_several():
    assert launch_variables('mpi', MPI) == expected('3', '3', '4', '127.0.0.1', '29500')
    several = {**MPI, 'OMPI_COMM_WORLD_LOCAL_SIZE': '2'}
    assert launch_variables('mpi', {**several, 'MASTER_ADDR': 'gpu03'})['MASTER_ADDR'] == 'gpu03'
    with pytest.raises(ConfigError, match='set MASTER_ADDR'):
        launch_variables('mpi', several)


@pytest.mark.parametrize(
    ('launcher', 'message'),
    [
        ('pytorch', r'tools/dist_train\.sh, torchrun or deepspeed; not set .*: RANK, LOCAL_RANK, WORLD_SIZE, MASTER'),
        ('slurm', r'tools/slurm_train\.sh or srun; not set .*: SLURM_PROCID, SLURM_LOCALID, SLURM_NTASKS'),
        ('mpi', 'mpirun of Open MPI; not set .*: OMPI_COMM_WORLD_RANK'),
    ],
)
def test_processes_that_nobody_launched(launcher, message):
    with pytest.raises(ConfigError, match=message):
        launch_variables(launcher, {})


def test_two_tasks_of_slurm_meet_on_cpus(free_port):
    """As ``srun --ntasks=2`` starts them; here by hand."""
    code = (
        'import torch; from torch import distributed as d;'
        'from geochat.engine.distributed import close_process_group, open_process_group;'
        'open_process_group("slurm"); t = torch.tensor(d.get_rank() + 1.0); d.all_reduce(t); print(t.item());'
        'close_process_group()'
    )
    processes = []
    for rank in range(2):
        variables = {
            'SLURM_PROCID': str(rank),
            'SLURM_LOCALID': str(rank),
            'SLURM_NTASKS': '2',
            'SLURM_NODELIST': '127.0.0.1',
            'MASTER_PORT': str(free_port),
            'PYTHONPATH': str(Path(__file__).parents[2]),
            'OMP_NUM_THREADS': '1',
        }
        processes.append(
            subprocess.Popen([sys.executable, '-c', code], env={**os.environ, **variables}, stdout=subprocess.PIPE)
        )
    outputs = [process.communicate(timeout=120)[0].decode().strip() for process in processes]
    assert outputs == ['3.0', '3.0']
