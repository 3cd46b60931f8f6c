"""Where weights can come from: every kind of file and folder, told apart by what is in it, under one set of names."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from geochat.converters.adapter import adapter_weights, is_adapter_folder, read_adapter_config
from geochat.converters.deepspeed import deepspeed_folder, deepspeed_weights
from geochat.converters.huggingface import huggingface_parts, huggingface_weights, is_huggingface
from geochat.converters.model_folder import FORMAT, model_folder_parts, read_folder_config
from geochat.converters.original import is_original, original_parts, original_weights, projector_weights
from geochat.models.weights import WeightsError, has_weights, is_adapter, stream_weights

PROJECTOR_FILE = 'mm_projector.bin'
"""What LLaVA's first stage leaves."""


@dataclass(frozen=True)
class WeightSource:
    """Weights in a file or folder.

    Attributes:
        path: The file or folder.
        kind: What messages call it.
        read: Gives names of this project and tensors, one after the other; a second call begins anew.
        needs: Tells whether the source must have a tensor of the model, by its name.
        whole: False if the source lacks what the model's parts or another file must give first.
        config: Content of its ``config.json``; empty without one.
        adapter: Settings of the adapter, for an adapter folder.
    """

    path: Path
    kind: str
    read: Callable[[], Iterator[tuple[str, torch.Tensor]]]
    needs: Callable[[str], bool] = lambda name: True
    whole: bool = True
    config: Mapping[str, Any] = field(default_factory=dict)
    adapter: Mapping[str, Any] | None = None


def find_source(path: str | Path) -> WeightSource:
    """Tell what kind of weights a path holds. What the file or folder is called does not matter.

    Raises:
        FileNotFoundError: If there is nothing there, or no weights.
        WeightsError: If the weights are of a model that is none of this project's.
    """
    place = Path(path)
    if place.is_file():
        return _file_source(place)
    if not place.is_dir():
        raise FileNotFoundError(f'there are no weights at {str(path)!r}')
    if is_adapter_folder(place):
        return WeightSource(
            place,
            'PEFT adapter',
            lambda: adapter_weights(place),
            needs=is_adapter,
            whole=False,
            adapter=read_adapter_config(place),
        )
    if not has_weights(place) and (engine := deepspeed_folder(place)) is not None:
        return WeightSource(place, 'DeepSpeed checkpoint', lambda: deepspeed_weights(engine))
    if not has_weights(place) and (place / PROJECTOR_FILE).is_file():
        return _projector_source(place / PROJECTOR_FILE)
    return _folder_source(place)


def _file_source(file: Path) -> WeightSource:
    if all('projector.' in name for name, _ in stream_weights(file)):
        return _projector_source(file)
    return WeightSource(file, 'weights', lambda: stream_weights(file))


def _projector_source(file: Path) -> WeightSource:
    return WeightSource(
        file,
        'projector',
        lambda: projector_weights(file),
        needs=lambda name: name.startswith('projector.'),
        whole=False,
    )


def _folder_source(folder: Path) -> WeightSource:
    config = read_folder_config(folder) if (folder / 'config.json').is_file() else {}
    if is_original(config):
        return WeightSource(folder, 'original GeoChat', lambda: original_weights(config, folder), config=config)
    if is_huggingface(config):
        return WeightSource(folder, 'Hugging Face LLaVA', lambda: huggingface_weights(config, folder), config=config)
    if config and config.get('format') != FORMAT:
        raise WeightsError(
            f'{folder / "config.json"} is of a {config.get("model_type", "model of another kind")!r}, not of a GeoChat '
            'or LLaVA: weights of one part are named in that part\'s "pretrained"'
        )
    return WeightSource(
        folder, 'model folder', lambda: stream_weights(folder), whole='weights_elsewhere' not in config, config=config
    )


def read_parts(folder: str | Path) -> dict[str, Any]:
    """Read a model's parts from a model folder of ours, an original GeoChat or LLaVA-1.5 folder, or Hugging Face's.

    Returns:
        Settings of the parts, as a config has them: all five, or vision encoder, projector and LLM.

    Raises:
        ValueError: If the folder is of no such kind.
        KeyError: If a part's name is not registered.
    """
    place = Path(folder)
    config = read_folder_config(place)
    if is_original(config):
        return original_parts(config, place)
    if is_huggingface(config):
        return huggingface_parts(config, place)
    if config.get('format') != FORMAT:
        raise ValueError(
            f'{place / "config.json"} is neither a model folder of this project nor an original GeoChat or a LLaVA'
        )
    return model_folder_parts(config, place)
