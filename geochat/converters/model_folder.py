"""Model folders of this project: ``config.json`` with the parts by registered name, weights, the tokenizer."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geochat.registry import CHAT_TEMPLATES, PART_REGISTRIES, Registry

FORMAT = 'geochat-parts'
"""What ``config.json`` of a model folder calls itself in ``format``."""

FILES_ELSEWHERE = ('pretrained', 'tokenizer')
"""Settings that name files of the machine a model was made on; a model folder holds what they named."""


def read_folder_config(folder: Path, name: str = 'config.json') -> dict[str, Any]:
    """Read ``config.json`` of a folder, or another file of its kind.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is not a JSON object.
    """
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f'there is no {name} in {str(folder)!r}')
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error
    if not isinstance(config, dict):
        raise ValueError(f'{path} is not a JSON object')
    return config


def model_folder_parts(config: Mapping[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """Read the model's parts from the ``config.json`` of a model folder.

    Raises:
        KeyError: If a part's name is not registered.
    """
    parts = {key: config[key] for key in PART_REGISTRIES if key in config}
    check_part_names(parts)
    parts['llm']['tokenizer'] = str(folder)
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
