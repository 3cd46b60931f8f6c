"""Starts ``run_toy.py``: trainings in processes of their own, several in one start, which takes seconds."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def train_in_processes(runs: list[dict], processes: int = 1, **variables: str) -> tuple[list[dict | None], str]:
    """Train in turn.

    Args:
        runs: Settings of the runner for each run, ``work_dir`` among them.
        processes: Ranks.
        variables: Further environment variables.

    Returns:
        The losses of each run, by name, None for a run that left none; and what the processes printed.
    """
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(TESTS.parent), **variables}
    for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE'):
        environment.pop(name, None)
    launch = ['-m', 'torch.distributed.run', '--nproc_per_node', str(processes), '--master_port', _free_port()]
    result = subprocess.run(
        [sys.executable, *(launch if processes > 1 else []), str(TESTS / 'run_toy.py'), json.dumps(runs)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    files = [Path(run['work_dir']) / 'losses.json' for run in runs]
    return [json.loads(file.read_text()) if file.is_file() else None for file in files], result.stdout + result.stderr


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])
