"""Conversion of whole models: original GeoChat, model folders of this project, Hugging Face's LLaVA, in any direction.

Weights pass through one at a time, so that a model needs far less memory than it takes. Adapters are merged on the way.
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from geochat.converters.adapter import peft_settings
from geochat.converters.huggingface import to_huggingface, write_huggingface_files
from geochat.converters.merge import Merger
from geochat.converters.model_folder import FILES_ELSEWHERE, FORMAT
from geochat.converters.original import (
    is_original,
    original_config,
    original_name,
    original_weights,
    write_original_files,
)
from geochat.converters.shards import SHARD_BYTES, write_shards
from geochat.converters.sources import find_source, read_parts
from geochat.converters.tokenizer_files import copy_tokenizer
from geochat.engine.files import UNFINISHED, delete_folder, replaced_folder
from geochat.models.vision_encoders.clip import stream_clip
from geochat.models.weights import (
    WeightsError,
    is_adapter,
    is_constant,
    load_weights,
    stream_weights,
    unwrapped_name,
)
from geochat.registry import MODELS

Stream = Iterator[tuple[str, torch.Tensor]]

LAYOUTS = ('geochat', 'original', 'hf')
"""What a model can be converted to: a model folder of this project, the original's, Hugging Face's LLaVA."""

TRAINING_SETTINGS = (
    'attention',
    'compile',
    'gradient_checkpointing',
    'liger',
    'lora',
    'quantization',
    'start_values',
)
"""Settings of a part that were for its training and its machine; a model that travels leaves them behind."""


@dataclass(frozen=True)
class WholeModel:
    """A model on disk, ready to be written in another layout.

    Attributes:
        folder: Where its tokenizer is.
        parts: Settings of the parts, without adapters and 4-bit weights.
        read: Gives all its weights under this project's names, as they are in the files; a second call begins anew.
        merge: Returns a weight with the model's adapter in it.
        original: Content of the original's ``config.json``, if the model came from there and was not trained since.
    """

    folder: Path
    parts: dict[str, Any]
    read: Callable[[], Stream]
    merge: Callable[[str, torch.Tensor], torch.Tensor] = lambda name, tensor: tensor
    original: Mapping[str, Any] | None = None


def convert(
    source: str | Path, target: str | Path, to: str, base: str | Path | None = None, shard_bytes: int = SHARD_BYTES
) -> Path:
    """Write a model in another layout.

    Args:
        source: A model folder of this project, of the original GeoChat or LLaVA-1.5, or of Hugging Face's LLaVA; or a
            folder of a PEFT adapter.
        target: The folder to write. It must not be there; it appears when it is whole.
        to: One of :data:`LAYOUTS`.
        base: The model that an adapter was trained over, for an adapter folder.
        shard_bytes: Most bytes of a file of weights.

    Returns:
        The target.

    Raises:
        FileExistsError: If the target is there already.
        ValueError: If the layout is unknown, or cannot hold such a model.
        geochat.models.weights.WeightsError: If the weights are damaged, or not those of the model.
        OSError: If a file cannot be written; it is named.
    """
    if to not in LAYOUTS:
        raise ValueError(f'a model is converted to one of {", ".join(LAYOUTS)}, not to {to!r}')
    goal = Path(target)
    if goal.exists():
        raise FileExistsError(f'{str(target)!r} is there already: name another folder, or delete it')
    model = open_model(source, base)
    layout = {'geochat': _to_geochat, 'original': _to_original, 'hf': _to_huggingface}[to]
    try:
        with replaced_folder(goal) as folder:
            renamed = layout(model, folder)
            plan = renamed((name, torch.empty_like(tensor, device='meta')) for name, tensor in model.read())
            weights = renamed((name, model.merge(name, tensor)) for name, tensor in model.read())
            write_shards(plan, weights, folder, shard_bytes)
    except BaseException:
        delete_folder(goal.with_name(goal.name + UNFINISHED))
        raise
    return goal


def open_model(source: str | Path, base: str | Path | None = None) -> WholeModel:
    """Find all parts and weights of a model, wherever they are, and check that they belong together.

    Raises:
        ValueError: If the source is no model.
        geochat.models.weights.WeightsError: If the weights are not those of the model.
    """
    place = Path(source)
    found = find_source(place)
    if found.adapter is not None:
        if base is None:
            raise ValueError(
                f'{str(source)!r} is an adapter: name the model that it was trained over as its base (--base)'
            )
        under = open_model(base)
        read = _laid_over(under.read, found.read)
        model = _merged(under.folder, under.parts, read, found.adapter, str(source))
    else:
        parts = read_parts(place)
        read = found.read
        if is_original(found.config):
            read = lambda: original_weights(found.config, place, constants=True)  # noqa: E731
        elif found.config.get('format') == FORMAT:
            read = lambda: stream_weights(place, constants=True)  # noqa: E731
        if not found.whole:
            read = _laid_over(_start(parts, found.config.get('base')), read)
        lora = parts['llm'].get('lora')
        for part in ('vision_encoder', 'llm'):
            parts[part] = {key: value for key, value in parts[part].items() if key not in TRAINING_SETTINGS}
        original = found.config if is_original(found.config) else found.config.get('original')
        model = WholeModel(place, parts, _unwrapped(read), original=original)
        if lora is not None:
            model = _merged(place, parts, read, peft_settings(lora), str(source))
    _check(model, str(source))
    return model


def _merged(
    folder: Path, parts: dict[str, Any], read: Callable[[], Stream], settings: Mapping[str, Any], source: str
) -> WholeModel:
    merger = Merger(read(), settings, source)
    names = {unwrapped_name(name) for name, _ in read()}
    if lost := sorted(set(merger.adapters) - names):
        raise WeightsError(f'{source}: an adapter has no weight to be merged into: {lost[0]!r}')
    return WholeModel(folder, parts, _unwrapped(read), merger)


def _unwrapped(read: Callable[[], Stream]) -> Callable[[], Stream]:
    def stream() -> Stream:
        return ((unwrapped_name(name), tensor) for name, tensor in read() if not is_adapter(name))

    return stream


def _laid_over(start: Callable[[], Stream], over: Callable[[], Stream]) -> Callable[[], Stream]:
    """Give the weights of a start, and in the place of some of them what was trained."""

    def stream() -> Stream:
        trained = {unwrapped_name(name) for name, _ in over()}
        yield from ((name, tensor) for name, tensor in start() if name not in trained)
        yield from over()

    return stream


def _start(parts: Mapping[str, Any], base: str | None) -> Callable[[], Stream]:
    """Give what a training started from: ``base``, over what the parts name if that is not whole either."""
    if base is None:
        return _pretrained(parts)
    source = find_source(base)
    if source.whole:
        return source.read
    return _laid_over(_start(parts, source.config.get('base')), source.read)


def _pretrained(parts: Mapping[str, Any]) -> Callable[[], Stream]:
    """Give the weights that the parts' ``pretrained`` name."""

    def stream() -> Stream:
        if folder := parts['vision_encoder'].get('pretrained'):
            yield from ((f'vision_encoder.model.{name}', tensor) for name, tensor in stream_clip(folder))
        if folder := parts['llm'].get('pretrained'):
            yield from ((f'llm.model.{name}', tensor) for name, tensor in stream_weights(folder))

    return stream


def _check(model: WholeModel, source: str) -> None:
    """Compare names and shapes with those of the model that the parts describe, without any weights in memory."""
    parts = {key: model.parts[key] for key in ('vision_encoder', 'projector', 'llm')}
    with torch.device('meta'):
        empty = MODELS.build({'type': 'GeoChat', **parts})
    weights = (
        (name, torch.empty_like(tensor, device='meta')) for name, tensor in model.read() if not is_constant(name)
    )
    load_weights(empty, empty.vision_encoder.adapt_weights(weights, prefix='vision_encoder.'), source).check()


def _to_geochat(model: WholeModel, folder: Path) -> Callable[[Stream], Stream]:
    content: dict[str, Any] = {'format': FORMAT}
    for key, settings in model.parts.items():
        content[key] = {name: value for name, value in settings.items() if name not in FILES_ELSEWHERE}
    if model.original is not None:
        content['original'] = dict(model.original)
    (folder / 'config.json').write_text(json.dumps(content, indent=2), encoding='utf-8')
    llm = model.parts['llm']
    copy_tokenizer(Path(llm['tokenizer']), folder, llm['config']['vocab_size'])
    return lambda weights: weights


def _to_original(model: WholeModel, folder: Path) -> Callable[[Stream], Stream]:
    config = original_config(model.parts) if model.original is None else model.original
    write_original_files(model.parts, config, folder)
    return lambda weights: ((original_name(name), tensor) for name, tensor in weights)


def _to_huggingface(model: WholeModel, folder: Path) -> Callable[[Stream], Stream]:
    write_huggingface_files(model.parts, folder)
    return functools.partial(to_huggingface, model.parts)
