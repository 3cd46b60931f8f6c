"""What holds for every test: no network, the same examples every time, no compiled operators of mmcv unless there."""

import importlib.util
import os
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault('HF_HUB_OFFLINE', '1')
# Small tensors gain nothing from a second thread, and on a busy machine threads wait for each other most of the time.
os.environ.setdefault('OMP_NUM_THREADS', '1')

# A busy machine must not fail a test, and a test that fails must fail again.
hypothesis.settings.register_profile('geochat', deadline=None, derandomize=True)
hypothesis.settings.load_profile('geochat')


def has_mmcv_operators() -> bool:
    """Look for mmcv's extension module without importing mmcv."""
    spec = importlib.util.find_spec('mmcv')
    return spec is not None and any(Path(spec.origin).parent.glob('_ext*'))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``mmcv_ops`` where mmcv was installed as pure Python."""
    marked = [item for item in items if item.get_closest_marker('mmcv_ops')]
    if marked and not has_mmcv_operators():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason='mmcv has no compiled operators here (see .ci/run)'))
