"""How long the light commands take as whole processes, their memory, and which heavy packages they import.

python benchmarks/startup.py --repeats 5 --json startup.json
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

COMMANDS = {
    'nothing': ['-c', 'pass'],
    'import geochat': ['-c', 'import geochat'],
    'tools/train.py --help': ['tools/train.py', '--help'],
    'tools/test.py --help': ['tools/test.py', '--help'],
}

HEAVY = (
    'torch',
    'transformers',
    'peft',
    'deepspeed',
    'mmrotate',
    'mmdet',
    'mmcv',
    'mmengine',
    'cv2',
    'matplotlib',
    'scipy',
)


def run_once(arguments: list[str]) -> tuple[float, float]:
    """Run a Python process and return its wall time in seconds and its peak memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f'python {" ".join(arguments)} failed with exit code {process.returncode}')
    return seconds, usage.ru_maxrss / 1024


def imported_packages(arguments: list[str]) -> list[str]:
    """Return the heavy packages that a Python process imports."""
    command = [sys.executable, '-X', 'importtime', *arguments]
    trace = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr
    modules = set(re.findall(r'^import time:.*\| +(\w+)$', trace, re.MULTILINE))
    return [name for name in HEAVY if name in modules]


def measure(arguments: list[str], repeats: int) -> dict:
    """Run a command ``repeats`` times after one that fills the file cache."""
    run_once(arguments)
    runs = [run_once(arguments) for _ in range(repeats)]
    seconds = [run[0] for run in runs]
    return {
        'median_s': round(statistics.median(seconds), 3),
        'min_s': round(min(seconds), 3),
        'max_s': round(max(seconds), 3),
        'peak_mb': round(max(run[1] for run in runs), 1),
        'imports': imported_packages(arguments),
    }


def main() -> None:
    """Measure every command, print a table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--repeats', type=int, default=5, help='runs of each command')
    parser.add_argument('--json', type=Path, help='file to write the figures to')
    args = parser.parse_args()
    figures = {name: measure(arguments, args.repeats) for name, arguments in COMMANDS.items()}
    print(f'{"command":32} {"median":>8} {"peak":>9}  imports')
    for name, figure in figures.items():
        print(f'{name:32} {figure["median_s"]:6.2f} s {figure["peak_mb"]:6.0f} MB  {" ".join(figure["imports"])}')
    if args.json:
        report = {'python': platform.python_version(), 'cores': os.cpu_count(), 'commands': figures}
        args.json.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
