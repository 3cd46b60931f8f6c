"""The process group of a run: opened once, on GPUs with NCCL, elsewhere with gloo and without touching CUDA."""

import os
import subprocess
from collections.abc import Mapping
from datetime import timedelta

import torch
from torch import distributed

from geochat.engine.config import ConfigError

LAUNCHER_VARIABLES = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')
"""What torchrun and DeepSpeed's launcher tell each process."""

OWN_VARIABLES = {
    'pytorch': {name: name for name in LAUNCHER_VARIABLES},
    'slurm': {'RANK': 'SLURM_PROCID', 'LOCAL_RANK': 'SLURM_LOCALID', 'WORLD_SIZE': 'SLURM_NTASKS'},
    'mpi': {
        'RANK': 'OMPI_COMM_WORLD_RANK',
        'LOCAL_RANK': 'OMPI_COMM_WORLD_LOCAL_RANK',
        'WORLD_SIZE': 'OMPI_COMM_WORLD_SIZE',
    },
}
"""What each launcher tells a process, by torchrun's name for it."""


_FIRST_PORT, _PORTS = 20000, 10000
"""Slurm jobs meet at a port that follows from the job's number, so that two jobs may share a machine."""

STARTED_BY = {
    'pytorch': 'tools/dist_train.sh, torchrun or deepspeed',
    'slurm': 'tools/slurm_train.sh or srun',
    'mpi': 'mpirun of Open MPI',
}
"""Launchers, and the commands that start the processes."""


def open_process_group(launcher: str, timeout_s: int = 1800) -> None:
    """Open the default process group, unless it is open.

    MMEngine's own set-up calls CUDA even where there is none, and DeepSpeed's asks for mpi4py where there is no
    launcher.

    Args:
        launcher: ``'none'`` opens a group of this process alone; the others the group of the processes that were
            started by a command of :data:`STARTED_BY`.
        timeout_s: Seconds after which a process that waits for another gives up.

    Raises:
        ConfigError: If the processes were not started as ``launcher`` says.
    """
    if distributed.is_initialized():
        return
    has_cuda = torch.cuda.is_available()
    if launcher == 'none':
        os.environ.setdefault('LOCAL_RANK', '0')  # DeepSpeed reads it
        distributed.init_process_group(
            'nccl' if has_cuda else 'gloo', store=distributed.HashStore(), rank=0, world_size=1
        )
        return
    os.environ.update(launch_variables(launcher, os.environ))
    if has_cuda:
        # Slurm may show each process its own GPU alone, which is then number 0.
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']) % torch.cuda.device_count())
    distributed.init_process_group('nccl' if has_cuda else 'gloo', timeout=timedelta(seconds=timeout_s))


def launch_variables(launcher: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Say in torchrun's variables what a launcher told a process in its own.

    ``MASTER_ADDR`` and ``MASTER_PORT`` of the environment count where they are set. Otherwise the first machine of a
    Slurm job is asked for with ``scontrol``; processes of MPI meet on this machine.

    Args:
        launcher: ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        environment: The process's variables.

    Raises:
        ConfigError: If a variable that the launcher sets is missing, or MPI's processes run on several machines and
            nothing says where they meet.
    """
    names = OWN_VARIABLES[launcher]
    if missing := [name for name in names.values() if name not in environment]:
        raise ConfigError(
            f'--launcher {launcher}: start the processes with {STARTED_BY[launcher]}; not set in the environment: '
            f'{", ".join(missing)}'
        )
    variables = {name: environment[own] for name, own in names.items()}
    if launcher == 'slurm':
        # A step may run on some of its job's machines only.
        machines = environment.get('SLURM_STEP_NODELIST') or environment.get('SLURM_NODELIST', '127.0.0.1')
        variables['MASTER_ADDR'] = environment.get('MASTER_ADDR') or _first_machine(machines)
        port = _FIRST_PORT + int(environment.get('SLURM_JOB_ID', 0)) % _PORTS
        variables['MASTER_PORT'] = environment.get('MASTER_PORT', str(port))
    elif launcher == 'mpi':
        variables['MASTER_ADDR'] = environment.get('MASTER_ADDR') or _this_machine_alone(environment)
        variables['MASTER_PORT'] = environment.get('MASTER_PORT', '29500')
    return variables


def _this_machine_alone(environment: Mapping[str, str]) -> str:
    """Return this machine's address for processes of MPI that all run on it."""
    if environment.get('OMPI_COMM_WORLD_LOCAL_SIZE') != environment['OMPI_COMM_WORLD_SIZE']:
        raise ConfigError(
            '--launcher mpi on several machines: set MASTER_ADDR to the name of the first one, for all processes '
            '(mpirun -x MASTER_ADDR=NAME)'
        )
    return '127.0.0.1'


def _first_machine(machines: str) -> str:
    """Return the first machine of a list as Slurm writes it, such as ``gpu[03-05,11]``."""
    if not set(machines) & set('[,'):
        return machines
    command = ['scontrol', 'show', 'hostnames', machines]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise ConfigError(
            f'--launcher slurm: "{" ".join(command)}" failed ({error}); set MASTER_ADDR to the name of the first one'
        ) from error


def close_process_group() -> None:
    """Close the process groups if they are open, at the orderly end of a program.

    A process that ends with DeepSpeed's groups open is aborted now and then by a thread of theirs (exit code -6).
    """
    if distributed.is_initialized():
        distributed.destroy_process_group()
