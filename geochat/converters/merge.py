"""Adapters merged into the weights under them, one layer at a time."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from geochat.models.adapters import ADAPTER
from geochat.models.weights import WeightsError, is_adapter


class Merger:
    """Adds trained adapters to weights; PEFT does the arithmetic.

    Args:
        weights: Names and tensors, those of adapters among them; others are passed over.
        settings: ``r``, ``lora_alpha``, ``use_dora`` and ``use_rslora``, as PEFT calls them.
        source: What messages call the weights' origin.

    Raises:
        WeightsError: If there are no adapters, or not all of their weights.
    """

    def __init__(self, weights: Iterable[tuple[str, torch.Tensor]], settings: Mapping[str, Any], source: str):
        self.settings = dict(settings)
        self.adapters: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
        for name, tensor in weights:
            if is_adapter(name):
                layer, _, kind = name.removesuffix(f'.{ADAPTER}.weight').rpartition('.')
                self.adapters[f'{layer}.weight'][kind] = tensor
        kinds = {'lora_A', 'lora_B', *(('lora_magnitude_vector',) if self.settings['use_dora'] else ())}
        if not self.adapters:
            raise WeightsError(f'{source} has no weights of adapters to merge')
        for name, found in self.adapters.items():
            if set(found) != kinds:
                raise WeightsError(f'{source}: the adapter of {name!r} has {sorted(found)}, not {sorted(kinds)}')

    def __call__(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return a weight with its adapter in it, if it has one."""
        found = self.adapters.get(name)
        return tensor if found is None else merge_adapter(tensor, found, self.settings)


def merge_adapter(
    weight: torch.Tensor, adapter: Mapping[str, torch.Tensor], settings: Mapping[str, Any]
) -> torch.Tensor:
    """Return a linear layer's weight with an adapter merged into it.

    Args:
        weight: (out, in); not changed.
        adapter: ``lora_A`` (r, in), ``lora_B`` (out, r) and, for DoRA, ``lora_magnitude_vector`` (out,).
        settings: As for :class:`Merger`.

    Raises:
        WeightsError: If the shapes do not fit each other.
    """
    from peft import LoraConfig, inject_adapter_in_model

    model = nn.Module()
    model.linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device='meta')
    model.linear.weight = nn.Parameter(weight.clone(), requires_grad=False)
    inject_adapter_in_model(LoraConfig(target_modules=['linear'], **settings), model)
    with torch.no_grad():
        for kind, tensor in adapter.items():
            target = getattr(model.linear, kind)[ADAPTER].weight
            if target.shape != tensor.shape:
                raise WeightsError(
                    f'{kind} is {tuple(tensor.shape)}, but rank {settings["r"]} over a weight of '
                    f'{tuple(weight.shape)} takes {tuple(target.shape)}'
                )
            getattr(model.linear, kind)[ADAPTER].weight = nn.Parameter(tensor, requires_grad=False)
        model.linear.merge()
    return model.linear.get_base_layer().weight.data
