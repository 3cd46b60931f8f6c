"""What is done to the layers of a transformer one by one: recompute them in the backward pass, compile them."""

from collections.abc import Iterable

from torch import nn


def checkpoint_layers(model: nn.Module) -> None:
    """Recompute the layers of a transformers model in the backward pass instead of storing what they compute."""
    model.gradient_checkpointing_enable({'use_reentrant': False})


def compile_layers(layers: Iterable[nn.Module]) -> None:
    """Compile layers in place by ``torch.compile``, each when it is first used; the names of the weights stay.

    Layer by layer takes a fraction of the time that the whole takes, since equal layers share their code, and the data
    dependent parts (who sees whom, where pictures go) stay outside.
    """
    for layer in layers:
        layer.compile()
