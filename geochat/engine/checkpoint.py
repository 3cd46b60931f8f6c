"""Where weights come from and where they go: one rule for every kind of file, and the model folder that a run leaves.

Weights are loaded by name into the bare model before any strategy wraps it. A model folder holds ``config.json`` (the
parts, by registered name), ``model.safetensors`` and the tokenizer: JSON and tensors, nothing that could run.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process

from geochat.converters.adapter import check_adapter, peft_settings
from geochat.converters.model_folder import FILES_ELSEWHERE, FORMAT, read_folder_config
from geochat.converters.sources import WeightSource, find_source
from geochat.engine.files import replaced_folder, written
from geochat.models.adapters import lora_layers
from geochat.models.partitioned import gathered
from geochat.models.weights import LoadReport, load_weights, stream_weights
from geochat.registry import CHAT_TEMPLATES, PART_REGISTRIES, Registry


def load_checkpoint(model: torch.nn.Module, path: str | Path) -> LoadReport:
    """Load weights into a bare model, before anything wraps it.

    A path is a ``.pth``, ``.bin`` or ``.safetensors`` file; a model folder; a DeepSpeed checkpoint; a folder of the
    original GeoChat or LLaVA-1.5, or of Hugging Face's LLaVA; a file of the projector alone; a folder of a PEFT
    adapter. The last two are laid over the weights that the parts of the model name.

    Returns:
        What was loaded and interpolated.

    Raises:
        FileNotFoundError: If there is nothing at the path.
        geochat.models.weights.WeightsError: If a file is damaged or holds code, or the weights do not fit the model.
    """
    source = find_source(path)
    elsewhere = source.config.get('weights_elsewhere', ())
    if not source.whole:
        _load_under(model, source)
    if source.adapter is not None:
        check_adapter(model, source.adapter, source.path)
    _check_same_adapters(model, source.config, source.path)
    interpolated: list[str] = []
    report = load_weights(model, _fitted(model, source.read(), interpolated), source=f'{path} ({source.kind})')
    report.interpolated = interpolated
    if elsewhere:
        return check_laid_over(model, report, elsewhere)
    report.missing = [name for name in report.missing if source.needs(name)]
    return report.check()


def _load_under(model: torch.nn.Module, source: WeightSource) -> None:
    """Load what a source that is not whole is laid over."""
    try:
        load_start(model, source.config.get('base'))
    except FileNotFoundError as error:
        if 'weights_elsewhere' not in source.config:
            raise
        raise FileNotFoundError(
            f'{source.path} has only what was trained, and the rest is not where its config.json says: {error}'
        ) from error


def _check_same_adapters(model: torch.nn.Module, config: Mapping[str, Any], folder: Path) -> None:
    """Check that a model's adapters, if it has any, compute what those of a model folder were trained to."""
    lora = config.get('llm', {}).get('lora')
    if lora is not None and any(lora_layers(model)):
        check_adapter(model, peft_settings(lora), folder)


def _fitted(
    model: torch.nn.Module, weights: Iterable[tuple[str, torch.Tensor]], interpolated: list[str]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Fit weights to the model's picture size as they come, and note the names of those that were resized."""
    shapes = {}

    def noted() -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in weights:
            shapes[name] = tensor.shape
            yield name, tensor

    for name, tensor in model.vision_encoder.adapt_weights(noted(), prefix='vision_encoder.'):
        if tensor.shape != shapes.pop(name, tensor.shape):
            interpolated.append(name)
        yield name, tensor


def load_start(model: torch.nn.Module, base: str | Path | None) -> LoadReport | None:
    """Load into a bare model what a training starts from: a file or folder, or the weights that the parts name.

    Returns:
        What was loaded from ``base``; None without it.
    """
    if base is None:
        model.init_weights()
        return None
    return load_checkpoint(model, base)


def save_model(
    model: torch.nn.Module,
    parts: Mapping[str, Any],
    folder: str | Path,
    whole: bool = True,
    base: str | None = None,
) -> Path:
    """Write a model folder; a kill at any moment leaves the previous one whole.

    Every rank must call this: where ZeRO-3 has spread the weights, they are brought together one at a time.

    Args:
        model: The bare model.
        parts: Settings of the five parts, as the linked config has them.
        folder: Where to; replaced if it is there.
        whole: False leaves out the weights that were not trained and that another file holds: those of a part with
            ``pretrained``, or of ``base``. The projector is always written.
        base: What the training started from (``load_from``).

    Returns:
        The folder.

    Raises:
        geochat.engine.files.WriteError: If a file cannot be written; the message names it.
    """
    target = Path(folder)
    with replaced_folder(target) as new:
        write_model(model, parts, new, whole, base)
    return target


def write_model(
    model: torch.nn.Module,
    parts: Mapping[str, Any] | None,
    folder: Path,
    whole: bool,
    base: str | None,
    state_dict: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write the files of a model folder into a folder that is there; see :func:`save_model`.

    Args:
        model: The bare model.
        parts: Settings of the five parts; None for a model that is not made of them, of which all weights are written.
        folder: Where to.
        whole: See :func:`save_model`.
        base: See :func:`save_model`.
        state_dict: The weights to write, under the model's names; None takes the model's own.
    """
    from safetensors.torch import save_file

    elsewhere = set() if whole or parts is None else parts_elsewhere(parts, base)
    weights = model.state_dict(keep_vars=True) if state_dict is None else state_dict
    tensors = gather_tensors({name: weights[name] for name in names_to_save(model, elsewhere)})
    if not is_main_process():
        return
    with written(folder / 'model.safetensors') as path:
        save_file(tensors, path, metadata={'format': 'pt'})
    if parts is None:
        return
    content = {'format': FORMAT, **{key: _portable(key, value, keep=key in elsewhere) for key, value in parts.items()}}
    for part in ('vision_encoder', 'llm'):  # what the config.json of a pretrained folder said
        if shape := getattr(getattr(model, part), 'shape', None):
            content[part]['config'] = shape
    if elsewhere:
        content.update(weights_elsewhere=sorted(elsewhere), base=base)
    with written(folder / 'config.json') as path:
        path.write_text(json.dumps(content, indent=2), encoding='utf-8')
    with written(folder / 'tokenizer.json'):
        model.llm.save_tokenizer(folder)


def parts_elsewhere(parts: Mapping[str, Any], base: str | None) -> set[str]:
    """Return the parts whose untrained weights can be read from other files again."""
    names = ('vision_encoder', 'llm')
    return {name for name in names if base is not None or parts[name].get('pretrained') is not None}


def names_to_save(model: torch.nn.Module, elsewhere: Collection[str]) -> list[str]:
    """Return the names of a model's tensors that are saved.

    Args:
        model: The bare model.
        elsewhere: Parts of which only what is trained is saved, since other files hold the rest.
    """
    buffers = {id(buffer) for buffer in model.buffers()}
    trained = {name.partition('.')[0] for name, weight in model.named_parameters() if weight.requires_grad}

    def is_saved(name: str, tensor: torch.Tensor) -> bool:
        part = name.partition('.')[0]
        # A quantised weight's scales are neither parameters nor buffers; they belong to what is frozen.
        return part not in elsewhere or tensor.requires_grad or (part in trained and id(tensor) in buffers)

    return [name for name, tensor in model.state_dict(keep_vars=True).items() if is_saved(name, tensor)]


def gather_tensors(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy tensors to the main process's memory; every rank must call this, the others get none.

    Returns:
        Tensors by the names that they have without adapters around them.
    """
    tensors = {}
    for name, tensor in weights.items():
        with gathered(tensor):
            if is_main_process():
                # Two names can share one tensor, which safetensors refuses: each gets a copy.
                tensors[name.replace('.base_layer.', '.')] = tensor.detach().cpu().contiguous().clone()
    return tensors


def load_saved_weights(model: torch.nn.Module, folder: Path, elsewhere: Collection[str]) -> LoadReport:
    """Load into a bare model the weights of a run's checkpoint, over what the run started from.

    Args:
        model: The model, with the weights of the parts in ``elsewhere`` already in it.
        folder: The checkpoint.
        elsewhere: See :func:`names_to_save`.

    Raises:
        geochat.models.weights.WeightsError: If the weights do not fit the model, or are not those that it trains.
    """
    if (folder / 'config.json').is_file():
        _check_same_adapters(model, read_folder_config(folder), folder)
    report = load_weights(model, stream_weights(folder), source=str(folder))
    return check_saved(model, report, elsewhere)


def check_saved(model: torch.nn.Module, report: LoadReport, elsewhere: Collection[str]) -> LoadReport:
    """Check a report of weights that need not be whole; see :func:`load_saved_weights`."""
    needed = {name.replace('.base_layer.', '.') for name in names_to_save(model, elsewhere)}
    report.missing = sorted(needed - set(report.loaded) - set(report.misshapen))
    return report.check()


def check_laid_over(model: torch.nn.Module, report: LoadReport, elsewhere: Collection[str]) -> LoadReport:
    """Check a report of a model folder that lies over other weights, and may come from an earlier stage of training.

    That stage may have trained less: a part of which the folder holds nothing is what the other weights made it, and
    adapters start new if the folder has none. (A run's own checkpoint must have all: :func:`load_saved_weights`.)
    """
    untouched = set(elsewhere) - {name.partition('.')[0] for name in report.loaded}
    has_adapters = any('.lora_' in name for name in report.loaded)
    needed = {name.replace('.base_layer.', '.') for name in names_to_save(model, elsewhere)}
    report.missing = sorted(
        name
        for name in needed - set(report.loaded) - set(report.misshapen)
        if name.partition('.')[0] not in untouched and (has_adapters or '.lora_' not in name)
    )
    return report.check()


def _portable(key: str, settings: Mapping[str, Any], keep: bool) -> dict[str, Any]:
    """A part's settings with registered names for types, and without names of files elsewhere.

    Its ``pretrained`` is kept if ``keep`` says that the folder lacks weights which are there.
    """
    if key == 'task_prompts':
        return {task: _named(PART_REGISTRIES[key], prompt) for task, prompt in settings.items()}
    dropped = [name for name in FILES_ELSEWHERE if not (keep and name == 'pretrained')]
    portable = _named(PART_REGISTRIES[key], {name: value for name, value in settings.items() if name not in dropped})
    if template := portable.get('chat_template'):
        portable['chat_template'] = _named(CHAT_TEMPLATES, template)
    return portable


def _named(registry: Registry, settings: Mapping[str, Any]) -> dict[str, Any]:
    target = registry.resolve(settings['type'])
    names = (name for name, member in registry.names().items() if member is target)
    # A class that a config imported without registering it trains and tests by its path; load_model will refuse it.
    return {**settings, 'type': next(names, settings['type'])}
