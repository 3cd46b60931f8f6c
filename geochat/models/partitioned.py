"""Weights that ZeRO-3 has spread over processes: brought together one at a time, never the whole model on one process.

A spread weight is an empty tensor with its share beside it. Everything here works on weights that are not spread, too,
and then costs nothing; every process must take part, with the same weights in the same order.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import nn

_layerwise: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext


def is_spread(weight: torch.Tensor) -> bool:
    """Tell whether ZeRO-3 has spread a weight over the processes."""
    return hasattr(weight, 'ds_id')


def whole_shape(weight: torch.Tensor) -> torch.Size:
    """Return the shape of a weight, spread or not."""
    return weight.ds_shape if is_spread(weight) else weight.shape


@contextlib.contextmanager
def gathered(*weights: torch.Tensor, written: bool = False) -> Iterator[None]:
    """Bring weights together on every process for the length of a block.

    Args:
        weights: The weights.
        written: True if the block writes into them. What process 0 wrote is kept, on every process.
    """
    spread = [weight for weight in weights if is_spread(weight)]
    if not spread:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(spread, modifier_rank=0 if written else None):
        yield


@contextlib.contextmanager
def spread_transformers(layerwise: Callable[[], contextlib.AbstractContextManager]) -> Iterator[None]:
    """Let :func:`build_transformer` spread what it builds in a block.

    Args:
        layerwise: Makes a context in which each layer is spread as soon as it is built.
    """
    global _layerwise
    before, _layerwise = _layerwise, layerwise
    try:
        yield
    finally:
        _layerwise = before


def build_transformer(build: Callable[[], nn.Module], random_weights: bool = True) -> nn.Module:
    """Build a model of transformers; under ZeRO-3 its layers are spread one by one, so that it is never whole.

    What is built without this function, such as projectors and adapters, is spread when the engine starts: small parts
    may set the weights of their layers after these exist.

    Args:
        build: Calls the model's constructor.
        random_weights: True draws the weights that its family starts from; False leaves them as they are, to be
            overwritten.
    """
    from transformers.initialization import no_init_weights

    with contextlib.ExitStack() as stack:
        if not random_weights:
            stack.enter_context(no_init_weights())  # 7 billion draws that are overwritten
        elif _layerwise is not contextlib.nullcontext:
            stack.enter_context(_drawing_layerwise())
        stack.enter_context(_layerwise())
        model = build()
    model.tie_weights()
    return model


@contextlib.contextmanager
def _drawing_layerwise() -> Iterator[None]:
    """Let transformers apply a family's rules for random weights layer by layer: they need whole weights."""
    from transformers import PreTrainedModel

    rules, PreTrainedModel.init_weights = PreTrainedModel.init_weights, lambda model: _draw(model, model)
    try:
        yield
    finally:
        PreTrainedModel.init_weights = rules


@torch.no_grad()
def _draw(module: nn.Module, owner: nn.Module) -> None:
    """Draw random weights, in the order of transformers' own ``initialize_weights``: a seed gives the same weights."""
    from transformers import PreTrainedModel

    for child in module.children():
        _draw(child, child if isinstance(child, PreTrainedModel) else owner)
    touched = [module, *module.children()]  # a layer's rule may reach into the layers in it
    weights = {id(weight): weight for layer in touched for weight in layer.parameters(recurse=False)}
    with gathered(*weights.values(), written=True):
        owner._initialize_weights(module)
