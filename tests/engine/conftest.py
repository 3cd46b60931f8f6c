"""A runner of the toy model in this process."""

import copy

import pytest
from toy_training import toy_config


@pytest.fixture
def toy_runner(tmp_path):
    """Return a function that builds a runner of the toy model; keyword arguments replace parts of its config."""
    from mmengine.config import Config

    from geochat.engine.runner import GeoChatRunner

    count = iter(range(100))

    def build(**changes):
        changes.setdefault('work_dir', str(tmp_path / f'run_{next(count)}'))
        settings = {**copy.deepcopy(toy_config()), **changes}
        name = f'{tmp_path.name}_{next(count)}'  # MMEngine keeps one logger and message hub a name
        return GeoChatRunner.from_cfg(Config({**settings, 'experiment_name': name}))

    return build
