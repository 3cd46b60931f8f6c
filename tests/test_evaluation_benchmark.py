"""The benchmark of the evaluation runs; its figures mean nothing here."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_it_measures_and_writes_its_figures(tmp_path):
    sizes = ['--pairs', '50', '--answers', '20', '30', '--pictures', '2', '--repeats', '1']
    command = [
        sys.executable,
        str(ROOT / 'benchmarks' / 'evaluation.py'),
        *sizes,
        '--json',
        str(tmp_path / 'figures.json'),
    ]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    figures = json.loads((tmp_path / 'figures.json').read_text(encoding='utf-8'))
    assert figures['pairs/s']['ours'] > 0 and figures['pairs/s']['shapely'] > 0
    assert set(figures['referring']) == {'20', '30'}
    assert '30 referring answers' in done.stdout
