"""A model on several devices, each layer where there is room for it: by accelerate's hooks, which move what flows."""

import tempfile
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from geochat.models.geochat import GeoChat

Device = int | str

STAYING = ['past_key_values', 'prefixes']
"""What layers are given that is not moved to them: keys and values lie where they belong already."""

MAX_SHOWN = 300
"""Most characters of an error of accelerate's, which may name every weight."""


def spread_over_devices(model: 'GeoChat', device_map: str | Mapping[str, Device]) -> 'GeoChat':
    """Put a model's layers on several devices, in place; for inference.

    Keys and values of pictures and answers lie where the layer that made them is. What does not fit on the GPUs may
    wait in the machine's memory (``'cpu'``) or on its disk (``'disk'``) and is fetched for each step, which is slow.

    Args:
        model: The model, in the dtype it computes in.
        device_map: ``'auto'`` fills all GPUs alike; or the device of each module by its path (``'vision_encoder'``,
            ``'llm.model.model.layers.0'``): a GPU's number, ``'cpu'`` or ``'disk'``.
            ``''`` is all that is not named.

    Raises:
        ValueError: If a module is not named or does not exist, there is no such device, or the LLM's embeddings are on
            the disk.
    """
    from accelerate import dispatch_model
    from accelerate.utils import check_device_map

    places = _automatic_map(model) if device_map == 'auto' else device_map
    if not isinstance(places, Mapping):
        raise ValueError(f"device_map is 'auto', or the device of each module, not {device_map!r}")
    known = dict(model.named_modules())
    if unknown := [path for path in places if path not in known]:
        raise ValueError(f'device_map: the model has no module {unknown[0]!r}')
    if '' in places and 'disk' in places.values():  # which accelerate does not sort out
        raise ValueError("device_map: where a module is on the disk, every one is named, and none is ''")
    folder = None
    if 'disk' in places.values():
        waiting = tempfile.TemporaryDirectory(prefix='geochat-weights-', ignore_cleanup_errors=True)
        weakref.finalize(model, waiting.cleanup)
        folder = waiting.name
    try:
        check_device_map(model, dict(places))
        dispatch_model(model, dict(places), offload_dir=folder, skip_keys=STAYING, force_hooks=True)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ValueError(f'device_map cannot be followed: {str(error).splitlines()[0][:MAX_SHOWN]}') from error
    if next(model.llm.parameters()).device.type == 'meta':
        raise ValueError("device_map: the LLM's embeddings have to be on a GPU, or on 'cpu' where there is none")
    return model


def _automatic_map(model: 'GeoChat') -> dict[str, Device]:
    from accelerate import infer_auto_device_map
    from accelerate.utils import get_balanced_memory

    whole = sorted({name for part in model.modules() for name in getattr(part, '_no_split_modules', None) or ()})
    memory = get_balanced_memory(model, no_split_module_classes=whole)
    return infer_auto_device_map(model, max_memory=memory, no_split_module_classes=whole)


def whole_state_dict(model: nn.Module) -> dict[str, Any]:
    """Return a model's state, those weights included that wait in memory or on the disk until they are needed."""
    state = model.state_dict()
    if not any(isinstance(value, torch.Tensor) and value.device.type == 'meta' for value in state.values()):
        return state
    from accelerate.utils.modeling import get_state_dict_offloaded_model

    return get_state_dict_offloaded_model(model)
