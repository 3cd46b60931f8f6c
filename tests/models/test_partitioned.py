"""Weights that are not spread are handled as they are; drawing layer by layer gives transformers' own weights."""

import contextlib

import torch
from small_parts import small_model

from geochat.models.partitioned import gathered, is_spread, spread_transformers, whole_shape


def test_weights_that_are_not_spread():
    weight = torch.nn.Parameter(torch.zeros(2, 3))
    assert not is_spread(weight)
    assert whole_shape(weight) == (2, 3)
    with gathered(weight, written=True), torch.no_grad():
        weight.fill_(1)
    assert weight.sum() == 6


def test_a_seed_gives_the_same_weights_layer_by_layer():
    entered = []

    @contextlib.contextmanager
    def layerwise():
        entered.append(True)
        yield

    plain = small_model(seed=3).state_dict()
    with spread_transformers(layerwise):
        drawn = small_model(seed=3).state_dict()
    assert len(entered) == 2  # the vision encoder and the LLM
    assert all(torch.equal(drawn[name], tensor) for name, tensor in plain.items())
    small_model(seed=3)
    assert len(entered) == 2
