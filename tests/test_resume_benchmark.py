"""Killed trainings go on as if nothing had happened; ``benchmarks/resume.py`` does it more often."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize('case', [3, 4])  # plain, two workers, pictures together; ZeRO-2 on two processes
def test_a_killed_run_goes_on(tmp_path, case):
    command = [sys.executable, str(ROOT / 'benchmarks' / 'resume.py'), '--kills', '1', '--cases', str(case)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    result = subprocess.run(
        [*command, '--json', str(tmp_path / 'figures.json')],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (figures,) = json.loads((tmp_path / 'figures.json').read_text())['cases']
    assert figures['kills'] == figures['resumed'] == 1
    assert figures['steps_compared'] >= 30
    assert figures['largest_relative_loss_difference'] <= figures['tolerance'] == (1e-5 if case == 4 else 0)
