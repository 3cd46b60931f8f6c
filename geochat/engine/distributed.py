"""The process group of a run: opened once, on GPUs with NCCL, elsewhere with gloo and without touching CUDA."""

import os
from datetime import timedelta

import torch
from torch import distributed

from geochat.engine.config import ConfigError

LAUNCHER_VARIABLES = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')
"""What torchrun tells each process."""


def open_process_group(launcher: str, timeout_s: int = 1800) -> None:
    """Open the default process group, unless it is open.

    MMEngine's own set-up calls CUDA even where there is none, and DeepSpeed's asks for mpi4py where there is no
    launcher.

    Args:
        launcher: ``'none'`` opens a group of this process alone, ``'pytorch'`` the group that torchrun started;
            ``'slurm'`` and ``'mpi'`` are left to MMEngine and need GPUs.
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
    elif launcher == 'pytorch':
        missing = [name for name in LAUNCHER_VARIABLES if name not in os.environ]
        if missing:
            raise ConfigError(
                f'--launcher pytorch: {", ".join(missing)} not set in the environment; start the processes with '
                'tools/dist_train.sh or torchrun'
            )
        if has_cuda:
            torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
        distributed.init_process_group('nccl' if has_cuda else 'gloo', timeout=timedelta(seconds=timeout_s))
    elif not has_cuda:
        raise ConfigError(f'--launcher {launcher} needs GPUs; start processes on CPUs with --launcher pytorch')
    else:
        from mmengine.dist import init_dist

        init_dist(launcher, 'nccl', timeout=timeout_s)


def close_process_group() -> None:
    """Close the default process group if it is open, at the orderly end of a program."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
