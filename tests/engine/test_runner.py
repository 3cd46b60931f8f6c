"""What the runners set up before anything is built."""

import pytest
import torch


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
