"""A package outside this repository brings parts: found by entry point, by import in a config and by variable.

The package is written into an empty folder. The tiny model trains a few steps with its projector and its box codec and
is tested, in processes of their own, as a user would start them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_parts import small_parts

from geochat.plugins import load_plugins
from geochat.registry import PART_REGISTRIES

ROOT = Path(__file__).parents[1]

PARTS = '''
"""Parts of a stranger."""

import re

import numpy as np
import torch
from torch import nn

from geochat.box_codecs import BoxCodec
from geochat.models import VisionEncoder
from geochat.registry import BOX_CODECS, PROJECTORS, VISION_ENCODERS
from geochat.structures import GroundedText


@PROJECTORS.register_module()
class StrangersProjector(nn.Sequential):
    def __init__(self, in_features, out_features, width=8):
        super().__init__(nn.Linear(in_features, width), nn.GELU(), nn.Linear(width, out_features))


@BOX_CODECS.register_module(name=['StrangersCodec', 'strangers'])
class StrangersCodec(BoxCodec):
    """Whole pixels and degrees, as in [box 10 20 30 40 45]."""

    pattern = r'\\[box( -?[0-9]{1,6}){5}\\]'
    separator = r' ?'

    def __init__(self, mark='box'):
        self.mark = mark

    def encode(self, boxes, image_size, labels=None):
        rows = [[*map(round, box[:4].tolist()), round(np.rad2deg(box[4]))] for box in np.reshape(boxes, (-1, 5))]
        return ' '.join('[' + ' '.join(map(str, [self.mark, *row])) + ']' for row in rows)

    def decode(self, text, image_size):
        found = list(re.finditer(r'\\[' + self.mark + r'((?: -?[0-9]{1,6}){5})\\]', text))
        boxes = np.array([match[1].split() for match in found], dtype=float).reshape(-1, 5)
        boxes[:, 4] = np.deg2rad(boxes[:, 4])
        return GroundedText(text, boxes, np.array([match.span() for match in found], dtype=int).reshape(-1, 2))

    def precision(self, image_size):
        return 0.75


@VISION_ENCODERS.register_module()
class StrangersEncoder(VisionEncoder):
    """One linear map a patch."""

    def __init__(self, side=56, patch_size=28, hidden_size=12):
        super().__init__()
        self.image_size, self.patch_size, self.hidden_size = side, patch_size, hidden_size
        self.patches = nn.Conv2d(3, hidden_size, patch_size, patch_size)

    @classmethod
    def image_transform(cls, settings):
        return {'size': settings.get('side', 56), 'mean': (0.5, 0.5, 0.5), 'std': (0.5, 0.5, 0.5)}

    def forward(self, pixels):
        return self.patches(pixels).flatten(2).transpose(1, 2)

    def num_tokens(self, size):
        return (size // self.patch_size) ** 2
'''

CONFIG = '''
"""The tiny model with a stranger's parts."""

from mmengine.config import read_base

with read_base():
    from geochat.configs.geochat_tiny import *

from strangers_parts import StrangersCodec, StrangersProjector

projector = dict(type=StrangersProjector, width=6)
box_codec = dict(type=StrangersCodec, mark='at')
'''

FEW_STEPS = (
    'data_preparation.0.num_train=24',
    'data_preparation.0.num_val=4',
    'data_preparation.0.num_test=6',
    'train_cfg.max_iters=3',
    'train_cfg.max_epochs=None',
    'benchmarks.refer.max_new_tokens=4',
    'benchmarks.identify.max_new_tokens=4',
    'test_cfg.names=[refer,identify]',
)


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    """Write the stranger's package into an empty folder, not installed."""
    folder = tmp_path_factory.mktemp('site')
    (folder / 'strangers_parts.py').write_text(PARTS)
    (folder / 'strangers_config.py').write_text(CONFIG)
    return folder


@pytest.fixture(scope='module')
def installed(tmp_path_factory, site) -> Path:
    """Write what pip leaves of an installation, in another folder: the metadata with the entry point."""
    folder = tmp_path_factory.mktemp('installed')
    info = folder / 'strangers_parts-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: strangers_parts\nVersion: 1.0\n')
    (info / 'entry_points.txt').write_text('[geochat.plugins]\nstrangers = strangers_parts\n')
    return folder


def run(tool: str, *arguments: str, folder: Path, path: tuple[Path, ...], **variables: str) -> str:
    """Run a tool in a folder of its own and return what it printed; it must end well."""
    process = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / tool), *arguments],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, (*path, ROOT))), 'OMP_NUM_THREADS': '1', **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.returncode == 0, process.stdout[-5000:]
    return process.stdout


def predictions(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / 'predictions.jsonl').read_text().splitlines()]


def check_run(folder: Path, output: str, mark: str) -> None:
    """The parts are in what is learnt, asked and saved."""
    assert f'[{mark} ' in output, 'the first training sample is not in the language of the codec'
    assert '{<' not in output, 'a box of the built-in codec is left'
    asked = [row['prompt'] for row in predictions(folder) if row['benchmark'] == 'identify']
    assert len(asked) == 6
    assert all(f'[{mark} ' in prompt and '{<' not in prompt for prompt in asked)
    parts = json.loads((folder / 'model' / 'config.json').read_text())
    assert parts['projector']['type'] == 'StrangersProjector'
    assert parts['box_codec'] == {'type': 'StrangersCodec', 'mark': mark}


@pytest.fixture(scope='module')
def run_by_entry_point(tmp_path_factory, site, installed) -> tuple[Path, str]:
    """Train and test with the package installed and its parts named on the command line."""
    folder = tmp_path_factory.mktemp('by_entry_point')
    named = ('projector.type=StrangersProjector', 'projector.width=6', 'box_codec.type=strangers', 'box_codec.mark=at')
    options = ('--cfg-options', *named, *FEW_STEPS)
    config = str(ROOT / 'configs' / 'geochat_tiny.py')
    output = run('train.py', config, '--work-dir', 'run', *options, folder=folder, path=(site, installed))
    return folder / 'run', output


@pytest.mark.slow
def test_the_tiny_model_trains_and_tests_with_an_installed_package(run_by_entry_point):
    folder, output = run_by_entry_point
    check_run(folder, output, mark='at')


@pytest.mark.slow
def test_the_tiny_model_trains_and_tests_with_a_package_imported_in_a_config(run_by_entry_point, site, tmp_path):
    """The same parts found another way give the same run, to the letter."""
    config = str(site / 'strangers_config.py')
    options = ('--cfg-options', *FEW_STEPS)
    output = run('train.py', config, '--work-dir', 'run', *options, folder=tmp_path, path=(site,))
    check_run(tmp_path / 'run', output, mark='at')
    assert predictions(tmp_path / 'run') == predictions(run_by_entry_point[0])


@pytest.mark.slow
def test_a_dumped_config_tests_the_saved_model_to_the_same_answers(run_by_entry_point, site, installed):
    """``tools/test.py`` with what the run left behind; the parts come from the dumped config alone."""
    folder, _ = run_by_entry_point
    config = str(folder / 'geochat_tiny.py')
    run('test.py', config, 'run/model', '--work-dir', 'again', folder=folder.parent, path=(site, installed))
    assert predictions(folder.parent / 'again') == predictions(folder)
    assert (
        json.loads((folder.parent / 'again' / 'metrics.json').read_text())['results']
        == (json.loads((folder / 'metrics.json').read_text())['results'])
    )


@pytest.fixture
def named_in_the_environment(site, monkeypatch):
    """The third way: the module's name in a variable, here in this process."""
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv('GEOCHAT_PLUGINS', 'strangers_parts')
    load_plugins.cache_clear()
    load_plugins()
    yield
    load_plugins.cache_clear()
    sys.modules.pop('strangers_parts')
    for registry in PART_REGISTRIES.values():
        for name in [name for name, part in registry.module_dict.items() if part.__module__ == 'strangers_parts']:
            registry.module_dict.pop(name)


def every_value(settings, key: str) -> list:
    """Return the values of a key anywhere in a config."""
    found = []
    if isinstance(settings, dict):
        found += [settings[key]] if key in settings else []
        found += [value for entry in settings.values() for value in every_value(entry, key)]
    elif isinstance(settings, list | tuple):
        found += [value for entry in settings for value in every_value(entry, key)]
    return found


def test_one_option_changes_the_box_codec_everywhere(named_in_the_environment):
    from geochat.engine import link_parts, load_config

    cfg = link_parts(load_config(ROOT / 'configs' / 'geochat_tiny.py', ['box_codec.type=StrangersCodec'])).to_dict()
    places = every_value(cfg, 'box_codec')
    assert len(places) >= 3  # at the top, in the data and in the benchmarks
    assert all(place == {'type': 'StrangersCodec'} for place in places)


def test_one_option_changes_the_vision_encoder_everywhere(named_in_the_environment):
    import torch

    from geochat.apis import build_model
    from geochat.engine import link_parts, load_config

    options = ['vision_encoder.type=StrangersEncoder', 'vision_encoder.side=84']
    cfg = load_config(ROOT / 'configs' / 'geochat_tiny.py', options)
    linked = link_parts(cfg).to_dict()
    assert every_value(linked, 'vision_encoder') == [{'type': 'StrangersEncoder', 'side': 84}] * 2
    assert {transform['size'] for transform in every_value(linked, 'image_transform')} == {84}
    assert {transform['mean'] for transform in every_value(linked, 'image_transform')} == {(0.5, 0.5, 0.5)}
    model = build_model(cfg)
    assert type(model.vision_encoder).__name__ == 'StrangersEncoder'
    assert model.encode_images(torch.zeros(1, 3, 84, 84), torch.tensor([0])).shape == (1, 9, model.llm.hidden_size)


@pytest.mark.parametrize('options', [[], ['box_codec.type=strangers', 'projector.type=StrangersProjector']])
def test_a_dumped_config_links_to_the_same_config(named_in_the_environment, tmp_path, options):
    from geochat.engine import link_parts, load_config

    linked = link_parts(load_config(ROOT / 'configs' / 'geochat_tiny.py', options))
    linked.dump(tmp_path / 'dumped.py')
    again = load_config(tmp_path / 'dumped.py')
    assert again.to_dict() == linked.to_dict()
    assert link_parts(again).to_dict() == linked.to_dict()


def test_a_part_that_nobody_registered_is_saved_for_testing_but_not_for_loading(tmp_path, monkeypatch):
    """A config may import any class; a folder with weights may not, because that would let it call anything."""
    from geochat.apis import build_model, load_model
    from geochat.engine.checkpoint import load_checkpoint, save_model

    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'unregistered_parts.py').write_text(
        'from torch import nn\n\n\nclass Plain(nn.Linear):\n    """A linear map."""\n'
    )
    parts = {**small_parts(), 'projector': {'type': 'unregistered_parts.Plain'}}
    model = build_model(parts)
    folder = save_model(model, {**parts, 'box_codec': {'type': 'geochat'}, 'task_prompts': {}}, tmp_path / 'model')
    load_checkpoint(build_model(parts), folder)
    with pytest.raises(KeyError, match=r"'unregistered_parts\.Plain' is not a registered projector"):
        load_model(folder)
