"""A model with all that is needed to ask it: how its dialogues are written, its pictures prepared, its boxes read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geochat.structures import IMAGE_PLACEHOLDER

if TYPE_CHECKING:
    from geochat.box_codecs import BoxCodec
    from geochat.datasets import SampleProcessor
    from geochat.models import GeoChat
    from geochat.prompts import TaskPrompt

DEFAULT_PARTS: dict[str, Any] = {
    'box_codec': {'type': 'GeoChatBoxCodec'},
    'task_prompts': {'refer': {'type': 'ReferPrompt'}},
}
"""Parts that folders of others do not name."""


@dataclass(frozen=True)
class ServedModel:
    """A model and what belongs to it.

    Attributes:
        name: What clients call it.
        model: The model, in evaluation mode.
        processor: Prepares dialogues and pictures.
        box_codec: Its box language.
        refer: Asks where something is, and reads the answer.
    """

    name: str
    model: 'GeoChat'
    processor: 'SampleProcessor'
    box_codec: 'BoxCodec'
    refer: 'TaskPrompt'


def with_pictures(text: str, count: int) -> str:
    """Put a message's pictures before its words, where the model has seen them in training."""
    return f'{IMAGE_PLACEHOLDER}\n' * count + text


def load_served_model(
    model: str | Path,
    checkpoint: str | Path | None = None,
    cfg_options: Sequence[str] = (),
    device: str | None = None,
    name: str | None = None,
) -> ServedModel:
    """Load a model to be served.

    Args:
        model: A model folder (ours, an original GeoChat, a LLaVA), or a config.
        checkpoint: For a config, its weights.
        cfg_options: Changes of the config.
        device: Such as ``'cuda:1'``; by default a GPU if there is one.
        name: What clients call it; by default the name of the folder or config.

    Raises:
        FileNotFoundError: If there is no such config, folder or checkpoint.
        ConfigError: If a config comes without checkpoint, or a folder with one.
        ValueError: If the folder is of another kind.
    """
    import torch

    from geochat.apis.models import build_model, load_model
    from geochat.converters import read_parts
    from geochat.engine import ConfigError, link_parts, load_config
    from geochat.engine.checkpoint import load_checkpoint
    from geochat.registry import BOX_CODECS, TASK_PROMPT_TEMPLATES, TRANSFORMS

    path = Path(model)
    if path.is_dir():
        if checkpoint is not None or cfg_options:
            raise ConfigError(f'{str(model)!r} is a model folder: a checkpoint and --cfg-options belong to a config')
        settings, loaded = read_parts(path), load_model(path)
    else:
        settings = load_config(path, cfg_options).to_dict()
        if checkpoint is None:
            raise ConfigError(f'{str(model)!r} is a config: say where its weights are too, or name a model folder')
        loaded = build_model(settings).eval()
        load_checkpoint(loaded, checkpoint)
    linked = link_parts({**DEFAULT_PARTS, **settings, 'benchmarks': {}})
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    return ServedModel(
        name or (path.resolve().name if path.is_dir() else path.stem),
        loaded.to(device),
        TRANSFORMS.build(linked['test_cfg']['processor']),
        BOX_CODECS.build(linked['box_codec']),
        TASK_PROMPT_TEMPLATES.build(linked['task_prompts']['refer']),
    )
