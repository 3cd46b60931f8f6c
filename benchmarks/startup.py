"""How long the light commands take as whole processes, their memory, and which heavy packages they import.

python benchmarks/startup.py --repeats 5 --json startup.json
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import in_own_process, machine, run_python

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs' / 'geochat_tiny.py'

COMMANDS = {
    'nothing': ['-c', 'pass'],
    'import geochat': ['-c', 'import geochat'],
    'tools/train.py --help': [str(ROOT / 'tools' / 'train.py'), '--help'],
    'tools/test.py --help': [str(ROOT / 'tools' / 'test.py'), '--help'],
    'tools/test.py --predictions': [str(ROOT / 'tools' / 'test.py'), str(CONFIG), '--predictions', 'predictions.jsonl'],
}
"""Name and arguments of Python. The last one scores answers without a model."""

HEAVY = ('torch', 'transformers', 'peft', 'deepspeed', 'mmrotate', 'mmdet', 'mmcv', 'mmengine', 'cv2', 'scipy')


def write_predictions(folder: Path, questions: int) -> None:
    """Write the files of the built-in scenes and true answers to their referring questions into a folder."""
    from geochat.datasets import SceneFiles
    from geochat.engine import load_config
    from geochat.engine.benchmark import build_benchmarks
    from geochat.engine.predictions import answer_row, write_rows

    cfg = load_config(CONFIG)
    root = Path(cfg.benchmarks.refer.reader.data_file).parent
    size = (cfg.data_preparation[0].image_size,) * 2
    os.chdir(folder)
    SceneFiles(str(root), size[0], num_train=1, num_val=1, num_test=questions).prepare()
    (refer,) = build_benchmarks(cfg.benchmarks, cfg.task_prompts, cfg.box_codec, ['refer'])
    answers = [
        refer.answer(question, refer.prompt(question, size), refer.codec.encode(question.truth['boxes'], size), size)
        for question in refer.reader
    ]
    write_rows(folder / 'predictions.jsonl', [answer_row('refer', answer) for answer in answers])


def imported_packages(arguments: list[str], folder: Path) -> list[str]:
    """Return the heavy packages that a Python process imports."""
    command = [sys.executable, '-X', 'importtime', *arguments]
    trace = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stderr
    modules = set(re.findall(r'^import time:.*\| +(\w+)$', trace, re.MULTILINE))
    return [name for name in HEAVY if name in modules]


def measure(arguments: list[str], folder: Path, repeats: int) -> dict[str, Any]:
    """Run a command ``repeats`` times after one that fills the file cache."""
    imports = imported_packages(arguments, folder)
    runs = [run_python(arguments, folder) for _ in range(repeats)]
    wall = [run['wall_s'] for run in runs]
    return {
        'median_s': round(statistics.median(wall), 3),
        'min_s': round(min(wall), 3),
        'max_s': round(max(wall), 3),
        'processor_s': round(statistics.median(run['processor_s'] for run in runs), 3),
        'peak_mb': round(max(run['peak_mb'] for run in runs), 1),
        'imports': imports,
    }


def main() -> None:
    """Measure every command, print a table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--repeats', type=int, default=5, help='runs of each command')
    parser.add_argument('--questions', type=int, default=500, help='answers that are scored')
    parser.add_argument('--json', type=Path, help='file to write the figures to')
    args = parser.parse_args()
    report = args.json.resolve() if args.json else None
    with tempfile.TemporaryDirectory(prefix='geochat-startup-') as scratch:
        folder = Path(scratch)
        in_own_process(write_predictions, folder, args.questions)
        figures = {name: measure(arguments, folder, args.repeats) for name, arguments in COMMANDS.items()}
    print(f'{"command":28} {"median":>9} {"processor":>10} {"peak":>9}  imports')
    for name, figure in figures.items():
        seconds = f'{figure["median_s"]:7.2f} s {figure["processor_s"]:8.2f} s'
        print(f'{name:28} {seconds} {figure["peak_mb"]:6.0f} MB  {" ".join(figure["imports"])}')
    if report:
        content = {'machine': in_own_process(machine), 'commands': figures}
        report.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
