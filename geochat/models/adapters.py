"""Adapters for fine-tuning with few weights: LoRA and DoRA by PEFT, over whole or quantised base weights (QLoRA)."""

import functools
import importlib.util
import logging
from collections.abc import Iterator

import torch
from torch import nn

from geochat.installation import InstallationError
from geochat.models.partitioned import is_spread

ADAPTER = 'default'
"""PEFT's name of the one adapter that a layer has."""

KINDS = ('nf4', 'fp4', 'int8')
"""How weights may be quantised."""

OUTLIERS = 6.0
"""Activations above this are computed with in whole precision beside 8 bits; the value of the paper."""


def add_lora(
    model: nn.Module,
    r: int = 64,
    alpha: int = 16,
    dropout: float = 0.05,
    targets: str | None = None,
    dora: bool = False,
) -> None:
    """Put LoRA or DoRA adapters into a causal LM, in place. Defaults are GeoChat's.

    Args:
        model: The causal LM.
        r: Rank.
        alpha: Scale; the update is multiplied by ``alpha / r``.
        dropout: Dropout before the adapter.
        targets: Regular expression of full module paths; None takes every linear layer but the head. Paths are full so
            that a like-named layer elsewhere cannot be hit.
        dora: True trains the length of each weight's rows apart from their direction (Liu et al. 2024, DoRA).

    Raises:
        ValueError: If no layer's path fits ``targets``, or ZeRO-3 has spread the weights whose lengths DoRA needs.
    """
    from peft import LoraConfig, inject_adapter_in_model

    if dora and any(is_spread(weight) for weight in model.parameters()):
        raise ValueError('DoRA does not work under ZeRO-3: set strategy.zero_stage to 2, or dora=False')
    settings = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets or linear_layers(model),
        use_dora=dora,
        task_type='CAUSAL_LM',
    )
    inject_adapter_in_model(settings, model)


def linear_layers(model: nn.Module) -> list[str]:
    """Full paths of a causal LM's linear layers but its head, in order; of a layer with an adapter the one under it."""
    head = model.get_output_embeddings()
    layers = ((name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear))
    return [name for name, layer in layers if layer is not head and '.lora_' not in name]


def lora_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield path and layer of everything that PEFT has put an adapter around."""
    from peft.tuners.lora import LoraLayer

    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            yield name, layer


@torch.no_grad()
def start_magnitudes(model: nn.Module) -> None:
    """Set the row lengths of new DoRA adapters to those of the weights under them, so that they change nothing yet.

    PEFT takes the lengths when it puts the adapters in, which is before the weights are loaded.
    """
    if not any('.lora_magnitude_vector.' in name for name, _ in model.named_parameters()):
        return
    for _, layer in lora_layers(model):
        if ADAPTER in layer.lora_magnitude_vector:
            target = layer.lora_magnitude_vector[ADAPTER].weight
            weight = layer.get_base_layer().weight
            target.copy_(torch.linalg.norm(weight.float(), dim=1))


def quantize_linear_layers(model: nn.Module, kind: str = 'nf4', double_quantization: bool = True) -> None:
    """Let a causal LM keep the weights of its linear layers but the head in 4 or 8 bits.

    4 bits are those of QLoRA (Dettmers et al. 2023), 8 those of LLM.int8() (Dettmers et al. 2022). Weights are loaded
    as they are. bitsandbytes quantises them when the model moves to its device.

    Args:
        model: The causal LM, in the dtype it computes in.
        kind: ``'nf4'``, ``'fp4'`` or ``'int8'``.
        double_quantization: Of 4 bits, quantise the scales of the blocks, too.

    Raises:
        InstallationError: If bitsandbytes is not installed.
        ValueError: If the kind is unknown, ZeRO-3 has spread the weights, or they are quantised already.
    """
    if importlib.util.find_spec('bitsandbytes') is None:
        raise InstallationError(
            'weights in 4 or 8 bits need the package bitsandbytes: pip install bitsandbytes '
            '(or leave the quantization out, and train LoRA over whole weights)'
        )
    if any(is_spread(weight) for weight in model.parameters()):
        raise ValueError('llm.quantization does not work under ZeRO-3: set strategy.zero_stage to 2')
    if kind not in KINDS:
        raise ValueError(f'quantization.kind is one of {", ".join(KINDS)}, not {kind!r}')
    if is_quantized(model):
        raise ValueError('the weights are quantised already')
    for path in linear_layers(model):
        layer = model.get_submodule(path)
        packed = _in_8_bits(layer) if kind == 'int8' else _in_4_bits(layer, kind, double_quantization)
        packed.bias = layer.bias
        model.set_submodule(path, packed)
    # What PEFT looks for before it takes its adapters for such layers.
    setattr(model, 'is_loaded_in_8bit' if kind == 'int8' else 'is_loaded_in_4bit', True)


def is_quantized(model: nn.Module) -> bool:
    """Tell whether a causal LM's weights are in 4 or 8 bits."""
    return getattr(model, 'is_loaded_in_4bit', False) or getattr(model, 'is_loaded_in_8bit', False)


def _in_4_bits(layer: nn.Linear, kind: str, double_quantization: bool) -> nn.Linear:
    from bitsandbytes.nn import Linear4bit, Params4bit

    settings = {'compress_statistics': double_quantization, 'quant_type': kind}
    bias = layer.bias is not None
    packed = Linear4bit(
        layer.in_features, layer.out_features, bias, compute_dtype=layer.weight.dtype, device='meta', **settings
    )
    packed.weight = Params4bit(layer.weight.data, requires_grad=False, module=packed, **settings)
    return packed


@functools.cache
def _silence_casts() -> None:
    """Leave out bitsandbytes' line about its half precision, which comes for each layer of each token."""
    logger = logging.getLogger('bitsandbytes.autograd._functions')
    logger.addFilter(lambda record: 'inputs will be cast' not in str(record.msg))


def _in_8_bits(layer: nn.Linear) -> nn.Linear:
    from bitsandbytes.nn import Int8Params, Linear8bitLt

    _silence_casts()
    bias = layer.bias is not None
    packed = Linear8bitLt(
        layer.in_features, layer.out_features, bias, has_fp16_weights=False, threshold=OUTLIERS, device='meta'
    )
    packed.weight = Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False)
    return packed
