"""Where weights come from and where they go: one rule for every kind of file, and the model folder that a run leaves.

Weights are loaded by name into the bare model before any strategy wraps it. A model folder holds ``config.json`` (the
parts, by registered name), ``model.safetensors`` and the tokenizer: JSON and tensors, nothing that could run.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from geochat.converters import is_original, original_parts, original_weights
from geochat.models.weights import LoadReport, WeightsError, load_weights, read_state_dict
from geochat.registry import CHAT_TEMPLATES, PART_REGISTRIES, Registry

FORMAT = 'geochat-parts'
"""What ``config.json`` of a model folder calls itself in ``format``."""

FILES_ELSEWHERE = ('pretrained', 'tokenizer')
"""Settings that name files of the machine a model was made on; a model folder holds what they named."""


def load_checkpoint(model: torch.nn.Module, path: str | Path) -> LoadReport:
    """Load weights into a bare model: a ``.pth`` or safetensors file, a model folder, or an original GeoChat folder.

    Returns:
        What was loaded and interpolated.

    Raises:
        FileNotFoundError: If there is nothing at the path.
        geochat.models.weights.WeightsError: If a file is damaged or holds code, or the weights do not fit the model.
    """
    place = Path(path)
    if any(place.glob('*_model_states.pt')):
        raise WeightsError(
            f'{path} is a DeepSpeed checkpoint: it is for --resume only; load the model folder beside it'
        )
    config = read_folder_config(place) if (place / 'config.json').is_file() else {}
    weights = original_weights(config, place) if is_original(config) else read_state_dict(place)
    fitted = model.vision_encoder.adapt_weights(weights, prefix='vision_encoder.')
    report = load_weights(model, fitted, source=str(path)).check()
    report.interpolated = [name for name in fitted if fitted[name].shape != weights[name].shape]
    return report


def read_folder_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json`` of a folder.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is not a JSON object.
    """
    path = folder / 'config.json'
    if not path.is_file():
        raise FileNotFoundError(f'there is no config.json in {str(folder)!r}')
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error
    if not isinstance(config, dict):
        raise ValueError(f'{path} is not a JSON object')
    return config


def read_parts(folder: str | Path) -> dict[str, Any]:
    """Read a model's parts from a model folder of ours or an original GeoChat or LLaVA-1.5 folder.

    Returns:
        Settings of the parts, as a config has them: all five, or an original's vision encoder, projector and LLM.

    Raises:
        ValueError: If the folder is of neither kind.
        KeyError: If a part's name is not registered.
    """
    place = Path(folder)
    config = read_folder_config(place)
    if is_original(config):
        return original_parts(config, place)
    if config.get('format') != FORMAT:
        raise ValueError(f'{place / "config.json"} is neither a model folder of this project nor an original GeoChat')
    parts = {key: config[key] for key in PART_REGISTRIES if key in config}
    check_part_names(parts)
    parts['llm']['tokenizer'] = str(place)
    return parts


def check_part_names(parts: Mapping[str, Any]) -> None:
    """Refuse a part that is not registered: a file must not name any importable thing and have it called.

    Raises:
        KeyError: Names the part and the nearest registered ones.
    """
    for key, settings in parts.items():
        registry = PART_REGISTRIES[key]
        for part in settings.values() if key == 'task_prompts' else [settings]:
            _registered(registry, part.get('type'))
    if template := parts.get('llm', {}).get('chat_template'):
        _registered(CHAT_TEMPLATES, template.get('type'))


def _registered(registry: Registry, name: Any) -> None:
    if name not in registry.names():
        raise KeyError(f'{name!r} is not a registered {registry.name}; there are {", ".join(sorted(registry.names()))}')


def save_model(model: torch.nn.Module, parts: Mapping[str, Any], folder: str | Path) -> Path:
    """Write a model folder; a kill at any moment leaves the previous one whole.

    Args:
        model: The bare model.
        parts: Settings of the five parts, as the linked config has them.
        folder: Where to; replaced if it is there.

    Returns:
        The folder.
    """
    from safetensors.torch import save_file

    target = Path(folder)
    new, old = (target.with_name(f'.{target.name}.{suffix}') for suffix in ('new', 'old'))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(tensors, new / 'model.safetensors', metadata={'format': 'pt'})
    content = {'format': FORMAT, **{key: _portable(key, value) for key, value in parts.items()}}
    for part in ('vision_encoder', 'llm'):  # what the config.json of a pretrained folder said
        if shape := getattr(getattr(model, part), 'shape', None):
            content[part]['config'] = shape
    (new / 'config.json').write_text(json.dumps(content, indent=2), encoding='utf-8')
    model.llm.tokenizer.save_pretrained(str(new))
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    return target


def _portable(key: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A part's settings with registered names for types, and without names of files elsewhere."""
    if key == 'task_prompts':
        return {task: _named(PART_REGISTRIES[key], prompt) for task, prompt in settings.items()}
    portable = _named(
        PART_REGISTRIES[key], {name: value for name, value in settings.items() if name not in FILES_ELSEWHERE}
    )
    if template := portable.get('chat_template'):
        portable['chat_template'] = _named(CHAT_TEMPLATES, template)
    return portable


def _named(registry: Registry, settings: Mapping[str, Any]) -> dict[str, Any]:
    target = registry.resolve(settings['type'])
    names = (name for name, member in registry.names().items() if member is target)
    # A class that a config imported without registering it trains and tests by its path; load_model will refuse it.
    return {**settings, 'type': next(names, settings['type'])}
