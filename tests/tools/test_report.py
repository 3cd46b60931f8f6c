"""``tools/analysis_tools/report.py`` as a user starts it."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / 'tools' / 'analysis_tools' / 'report.py'


def run_here(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_it_says_where_the_page_is_and_what_is_missing_in_it(tmp_path, monkeypatch, capsys):
    row = {'benchmark': 'scene', 'id': '0', 'prompt': 'Which?', 'answer': 'yes', 'truth': {'text': 'yes'}}
    (tmp_path / 'predictions.jsonl').write_text(json.dumps(row))
    run_here(monkeypatch, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'scene ...'
    assert lines[1].startswith('note: there is no run_card.json')
    assert lines[-1].startswith(f'written: {tmp_path / "report.html"} (')
    assert (tmp_path / 'report.html').is_file()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('{folder}/none',), r'error: there is no run directory .*none'),
        (('{folder}',), r'error: .* has no predictions\.jsonl: it is not the directory of a test'),
        (('{folder}', '--config', '{folder}/none.py'), r'error: there is no config file .*none\.py'),
    ],
)
def test_slips_are_answered_in_one_line(tmp_path, monkeypatch, arguments, message):
    with pytest.raises(SystemExit, match=message) as stop:
        run_here(monkeypatch, *(argument.format(folder=tmp_path) for argument in arguments))
    assert '\n' not in str(stop.value)


@pytest.mark.parametrize('arguments', [('x', '--cases', '-1'), ('x', '--cfg-options', 'a=1')])
def test_arguments_that_make_no_sense(monkeypatch, capsys, arguments):
    with pytest.raises(SystemExit, match='2'):
        run_here(monkeypatch, *arguments)
    assert 'error: --c' in capsys.readouterr().err


def test_help_is_light():
    code = f"import runpy, sys; sys.argv = ['x', '--help']; runpy.run_path({str(TOOL)!r}, run_name='__main__')"
    check = f"import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); {code}"
    shown = subprocess.run([sys.executable, '-c', check], capture_output=True, text=True, check=True).stdout
    assert shown.endswith('False\n')
