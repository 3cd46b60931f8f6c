"""Linking: the five parts that a config names once at its top are handed to everything that needs them."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from geochat.engine.config import ConfigError, as_config, resolve, takes
from geochat.registry import DATA_SAMPLERS, DATASETS, PART_REGISTRIES, VISION_ENCODERS

DATALOADERS = ('train_dataloader', 'val_dataloader')


def link_parts(cfg: Config | Mapping[str, Any]) -> Config:
    """Hand the parts of a config to its model, datasets and benchmarks.

    The model gets ``vision_encoder``, ``projector`` and ``llm``; every dataset that takes them gets ``processor`` (the
    tokenizer and chat template of the LLM, the picture size and colours of the vision encoder) and ``box_codec``; the
    benchmark loop gets these, ``benchmarks`` and ``task_prompts``. A sampler that takes ``batch_size`` gets its data
    loader's. What stood in those places is replaced: each value is said once, and linking again changes nothing.

    Args:
        cfg: A config with the five parts at its top. It is not changed.

    Returns:
        The linked config, of plain values.

    Raises:
        ConfigError: If a part is missing or not registered.
    """
    filename = cfg.filename if isinstance(cfg, Config) else None
    values = copy.deepcopy(cfg.to_dict() if isinstance(cfg, Config) else dict(cfg))
    for part in PART_REGISTRIES:
        if part not in values:
            raise ConfigError(f'the config has no {part!r}; its five parts are {", ".join(PART_REGISTRIES)}')
    _link_model(values)
    shared = {'processor': _processor(values), 'box_codec': values['box_codec']}
    for name in DATALOADERS:
        loader = values.get(name) or {}
        for dataset in _datasets(loader.get('dataset')):
            dataset.update({key: value for key, value in shared.items() if takes(DATASETS, dataset, key)})
        if loader.get('sampler') and takes(DATA_SAMPLERS, loader['sampler'], 'batch_size'):
            loader['sampler']['batch_size'] = loader['batch_size']
    if 'benchmarks' in values:
        _link_benchmarks(values, shared)
    return as_config(values, filename)


def _link_model(values: dict[str, Any]) -> None:
    model = values.setdefault('model', {})
    model.setdefault('type', 'GeoChat')
    model.update({part: values[part] for part in ('vision_encoder', 'projector', 'llm')})


def _processor(values: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the way from dialogues and pictures to model inputs."""
    llm, vision_encoder = values['llm'], values['vision_encoder']
    if 'chat_template' not in llm:
        raise ConfigError('the llm of the config has no chat_template')
    settings = {key: value for key, value in vision_encoder.items() if key != 'type'}
    transform = resolve(VISION_ENCODERS, vision_encoder['type']).image_transform(settings)
    return {
        'type': 'SampleProcessor',
        'tokenizer': llm.get('tokenizer') or llm.get('pretrained'),
        'chat_template': llm['chat_template'],
        'image_transform': {'type': 'PadResizeNormalize', **transform},
        'max_length': values.get('max_length'),
    }


def _datasets(settings: Any) -> Iterator[dict[str, Any]]:
    """Yield the dict of a dataset and those of the datasets it wraps, as ``ConcatDataset`` does."""
    if isinstance(settings, list):
        for entry in settings:
            yield from _datasets(entry)
    elif isinstance(settings, dict):
        yield settings
        yield from _datasets(settings.get('dataset'))
        yield from _datasets(settings.get('datasets'))


def _link_benchmarks(values: dict[str, Any], shared: Mapping[str, Any]) -> None:
    loop = values.setdefault('test_cfg', {})
    loop.setdefault('type', 'BenchmarkLoop')
    loop.update(shared, benchmarks=values['benchmarks'], task_prompts=values['task_prompts'])
