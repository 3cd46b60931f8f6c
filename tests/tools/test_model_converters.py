"""The converters' command lines: what they write, and one line for what the user can mend."""

import runpy
import sys
from pathlib import Path

import pytest
from small_adapters import LORA, lora_model, save_adapter
from small_parts import small_model, small_parts

from geochat.apis import load_model
from geochat.engine.checkpoint import save_model

TOOLS = Path(__file__).parents[2] / 'tools' / 'model_converters'


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs a tool in this process."""

    def start(tool, *arguments):
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        runpy.run_path(str(TOOLS / tool), run_name='__main__')

    return start


def test_a_model_is_converted(run, tmp_path, capsys):
    folder = save_model(small_model(), small_parts(), tmp_path / 'model')
    run('convert.py', folder, tmp_path / 'hf', '--to', 'hf', '--shard-size', '0.0001')
    assert 'hf is written' in capsys.readouterr().out
    assert len(list((tmp_path / 'hf').glob('*.safetensors'))) > 1


def test_an_adapter_is_merged(run, tmp_path):
    parts = small_parts()
    parts['llm']['lora'] = LORA
    folder = save_model(lora_model(), parts, tmp_path / 'model')
    run('merge_lora.py', folder, tmp_path / 'merged')
    assert not any('lora' in name for name in load_model(tmp_path / 'merged').state_dict())


@pytest.mark.parametrize(('tool', 'more'), [('convert.py', ('--to', 'hf')), ('merge_lora.py', ())])
def test_a_folder_of_peft_takes_its_base(run, tmp_path, tool, more):
    base = save_model(small_model(), small_parts(), tmp_path / 'base')
    save_adapter(lora_model(), tmp_path / 'adapter')
    with pytest.raises(SystemExit, match=r'as its base \(--base\)$'):
        run(tool, tmp_path / 'adapter', tmp_path / 'target', *more)
    run(tool, tmp_path / 'adapter', tmp_path / 'target', '--base', base, *more)
    assert (tmp_path / 'target' / 'model.safetensors').is_file()


@pytest.mark.parametrize('tool', ['convert.py', 'merge_lora.py'])
def test_what_is_wrong_is_said_in_one_line(run, tmp_path, tool):
    more = ('--to', 'hf') if tool == 'convert.py' else ()
    with pytest.raises(SystemExit, match=r"^error: there are no weights at '.*nowhere'$"):
        run(tool, tmp_path / 'nowhere', tmp_path / 'target', *more)
