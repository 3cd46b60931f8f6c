"""Back ends of curves whose packages are missing are known before the training begins."""

import importlib.util

import pytest
from mmengine.config import Config

from geochat.engine.backends import check_backends
from geochat.installation import InstallationError


@pytest.fixture
def without_packages(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)


def config(*names):
    return Config({'visualizer': {'type': 'Visualizer', 'vis_backends': [{'type': name} for name in names]}})


def test_tensorboard_is_left_out_with_a_warning(without_packages, caplog):
    cfg = config('LocalVisBackend', 'mmengine.visualization.TensorboardVisBackend')
    check_backends(cfg)
    assert [backend.type for backend in cfg.visualizer.vis_backends] == ['LocalVisBackend']
    assert 'pip install tensorboard' in caplog.text


def test_what_was_asked_for_is_refused(without_packages):
    with pytest.raises(InstallationError, match='WandbVisBackend needs the package wandb: pip install wandb'):
        check_backends(config('WandbVisBackend'))


def test_a_config_without_back_ends_passes():
    cfg = Config({'work_dir': 'x'})
    check_backends(cfg)
    assert 'visualizer' not in cfg
