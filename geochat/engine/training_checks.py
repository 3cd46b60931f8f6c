"""Refuses settings of a training that contradict each other or this machine, before anything is built."""

from collections.abc import Mapping
from typing import Any

from geochat.engine.config import ConfigError

DERIVED_SETTINGS = {
    'train_batch_size': 'train_dataloader.batch_size and train_cfg.accumulation',
    'train_micro_batch_size_per_gpu': 'train_dataloader.batch_size',
    'gradient_accumulation_steps': 'train_cfg.accumulation',
    'gradient_clipping': 'optim_wrapper.clip_grad.max_norm',
    'bf16': 'optim_wrapper (AmpOptimWrapper, dtype bfloat16)',
    'fp16': 'optim_wrapper (AmpOptimWrapper, dtype float16)',
    'optimizer': 'optim_wrapper.optimizer',
    'scheduler': 'param_scheduler',
}
"""Settings of DeepSpeed that are derived, and where the config says them."""


def check_training(cfg: Mapping[str, Any]) -> None:
    """Check what a config says about batches, accumulation and precision.

    Args:
        cfg: The linked config of a training.

    Raises:
        ConfigError: If a value is said twice and differs or nobody would heed it, or the precision is unknown or not to
            be had on this machine.
    """
    from geochat.engine.optimization import check_precision

    refuse_derived(cfg.get('strategy') or {}, 'strategy')
    for name in ('train_dataloader', 'val_dataloader'):
        _check_batch_size(cfg.get(name) or {}, name)
    optim_wrapper = cfg.get('optim_wrapper') or {}
    if optim_wrapper.get('accumulative_counts', 1) != 1:
        raise ConfigError(
            f'optim_wrapper.accumulative_counts={optim_wrapper["accumulative_counts"]!r} is not used: '
            'the accumulation is said in train_cfg.accumulation'
        )
    _check_partwise(optim_wrapper)
    if str(optim_wrapper.get('type', '')).rpartition('.')[2] == 'AmpOptimWrapper':
        check_precision(optim_wrapper.get('dtype', 'bfloat16'))


def refuse_derived(settings: Mapping[str, Any], place: str) -> None:
    """Refuse settings of DeepSpeed that follow from the rest of the config, so that nothing is said twice.

    Args:
        settings: What the user set.
        place: Where, for the message.

    Raises:
        ConfigError: Names the key, and where its value is said.
    """
    for key in settings:
        if key in DERIVED_SETTINGS:
            raise ConfigError(f'{place}.{key} is derived: set {DERIVED_SETTINGS[key]} instead')


def _check_partwise(optim_wrapper: Mapping[str, Any]) -> None:
    """Refuse settings of parts that MMEngine's own constructor would silently pass over."""
    from geochat.engine.partwise import PARTS

    for part in optim_wrapper.get('paramwise_cfg') or {}:
        if part in PARTS and 'constructor' not in optim_wrapper:
            raise ConfigError(f'optim_wrapper.paramwise_cfg.{part} needs optim_wrapper.constructor=PartwiseConstructor')


def _check_batch_size(loader: Mapping[str, Any], name: str) -> None:
    """Compare a loader's batch size with that of its batch sampler, which MMEngine would silently prefer."""
    size = loader.get('batch_size')
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise ConfigError(f'{name}.batch_size must be a whole number above 0, not {size!r}')
    sampler_size = (loader.get('batch_sampler') or {}).get('batch_size', size)
    if sampler_size != size:
        raise ConfigError(
            f'{name}.batch_size={size!r} and {name}.batch_sampler.batch_size={sampler_size!r} contradict each other: '
            f'leave the latter out'
        )
