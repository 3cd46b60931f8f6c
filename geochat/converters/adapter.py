"""PEFT adapter folders: ``adapter_config.json`` and the adapter's weights, trained over one of several models."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geochat.converters import huggingface, original
from geochat.converters.model_folder import read_folder_config
from geochat.models.adapters import ADAPTER, lora_layers
from geochat.models.weights import WeightsError, stream_weights

CONFIG_FILE = 'adapter_config.json'
WEIGHT_FILES = ('adapter_model.safetensors', 'adapter_model.bin')

OTHER_TRAINABLES = 'non_lora_trainables.bin'
"""What LLaVA and GeoChat save beside an adapter: the projector, if it was trained, and a constant of the tower."""

SETTINGS = ('r', 'lora_alpha', 'use_dora', 'use_rslora')

UNSUPPORTED = ('rank_pattern', 'alpha_pattern', 'layer_replication', 'modules_to_save', 'trainable_token_indices')
"""Settings of PEFT that would need more than one rank and scale."""

PEFT_NAME = re.compile(r'(?P<layer>.+)\.(?P<kind>lora_A|lora_B|lora_magnitude_vector)(\.weight)?')


def is_adapter_folder(folder: Path) -> bool:
    """Tell whether a folder is one of PEFT's adapters."""
    return (folder / CONFIG_FILE).is_file()


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Read the settings of an adapter.

    Returns:
        ``r``, ``lora_alpha``, ``use_dora`` and ``use_rslora``.

    Raises:
        ValueError: If it is no LoRA, or has settings that this project has no counterpart of.
    """
    path = folder / CONFIG_FILE
    config = read_folder_config(folder, CONFIG_FILE)
    if config.get('peft_type') != 'LORA':
        raise ValueError(f'{path}: peft_type {config.get("peft_type")!r} is not supported, only "LORA"')
    for key in UNSUPPORTED:
        if config.get(key):
            raise ValueError(f'{path}: {key} is not supported')
    if config.get('bias', 'none') != 'none':
        raise ValueError(f'{path}: bias {config["bias"]!r} is not supported, only "none"')
    return {key: config.get(key, False) for key in SETTINGS}


def peft_settings(lora: Mapping[str, Any]) -> dict[str, Any]:
    """Name the settings of :func:`geochat.models.adapters.add_lora` as PEFT does."""
    return {
        'r': lora.get('r', 64),
        'lora_alpha': lora.get('alpha', 16),
        'use_dora': lora.get('dora', False),
        'use_rslora': False,
    }


def adapter_weights(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Read an adapter's weights, and the projector that the original saves beside it, under this project's names.

    Raises:
        FileNotFoundError: If the weights are not there.
        WeightsError: If a tensor is not an adapter's.
    """
    file = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if file is None:
        raise FileNotFoundError(f'the folder {str(folder)!r} has none of {", ".join(WEIGHT_FILES)}')
    for name, tensor in stream_weights(file):
        match = PEFT_NAME.fullmatch(name.removeprefix('base_model.model.'))
        if match is None:
            raise WeightsError(f'{file}: the tensor {name!r} is not of a LoRA adapter')
        layer = _our_name(f'{match["layer"]}.weight', file).removesuffix('.weight')
        yield f'{layer}.{match["kind"]}.{ADAPTER}.weight', tensor
    if (folder / OTHER_TRAINABLES).is_file():
        for name, tensor in stream_weights(folder / OTHER_TRAINABLES):
            ours = original.our_name(name.removeprefix('base_model.').removeprefix('model.'), folder / OTHER_TRAINABLES)
            if not ours.startswith('vision_encoder.'):  # the interpolated position table, which was never trained
                yield ours, tensor


def _our_name(name: str, source: Path) -> str:
    """Name a layer that was in an original GeoChat, a plain causal LM or Hugging Face's LLaVA."""
    if 'language_model.' in name:
        return huggingface.our_name(name, source)
    return original.our_name(name, source)


def check_adapter(model: nn.Module, settings: Mapping[str, Any], folder: Path) -> None:
    """Check that a model's adapters compute what a folder's were trained to.

    Raises:
        WeightsError: If the model has none, or of another scale or kind; the message says what to set.
    """
    layer = next((layer for _, layer in lora_layers(model)), None)
    wanted = f"the llm's lora=dict(r={settings['r']}, alpha={settings['lora_alpha']}, dora={settings['use_dora']})"
    if layer is None:
        raise WeightsError(f'{str(folder)!r} has adapters, but the model has none: set {wanted}')
    root = settings['r'] ** 0.5 if settings['use_rslora'] else settings['r']
    found = (layer.r[ADAPTER], layer.scaling[ADAPTER], bool(layer.use_dora[ADAPTER]))
    if found != (settings['r'], settings['lora_alpha'] / root, settings['use_dora']):
        raise WeightsError(
            f'{str(folder)!r} has adapters of rank {settings["r"]}, scale {settings["lora_alpha"] / root:g} and '
            f'use_dora {settings["use_dora"]}; the model has {found[0]}, {found[1]:g} and {found[2]}: set {wanted}'
        )
