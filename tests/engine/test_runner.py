"""What the runners set up before anything is built."""

import pytest
import torch

from geochat.datasets import pack_samples
from geochat.engine.runner import GeoChatFlexibleRunner, GeoChatRunner


@pytest.fixture(autouse=True)
def restored_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_config_says_how_many_threads_an_operator_takes(toy_runner):
    torch.set_num_threads(2)
    toy_runner(env_cfg={'cpu_threads': 1})
    assert torch.get_num_threads() == 1


def test_a_config_that_says_nothing_leaves_the_threads_alone(toy_runner):
    torch.set_num_threads(2)
    toy_runner()
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize('runner_class', [GeoChatRunner, GeoChatFlexibleRunner])
def test_a_collate_function_is_found_by_its_short_name(runner_class):
    settings = {'type': 'pack_samples', 'share_images': False}
    loader = runner_class.build_dataloader(
        {'dataset': [1, 2], 'sampler': {'type': 'DefaultSampler'}, 'batch_size': 2, 'collate_fn': settings}
    )
    assert loader.collate_fn.func is pack_samples
    assert loader.collate_fn.keywords == {'share_images': False}
    assert settings == {'type': 'pack_samples', 'share_images': False}
