"""A model with all that is needed to ask it: how its dialogues are written, its pictures prepared, its answers read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geochat.apis.models import build_model, load_model

if TYPE_CHECKING:
    from geochat.box_codecs import BoxCodec
    from geochat.datasets import SampleProcessor
    from geochat.models import GeoChat
    from geochat.prompts import TaskPrompt

TASKS = Path(__file__).parents[1] / 'configs' / '_base_' / 'models' / 'geochat_tasks.py'
"""GeoChat's tasks and box language, for folders that name none."""

QUANTIZATION = {'4bit': 'nf4', '8bit': 'int8'}
"""What of :func:`~geochat.models.adapters.quantize_linear_layers` a user's word stands for."""

DTYPES = ('float32', 'bfloat16', 'float16')

FOLDER_OF_A_RUN = 'model'
"""Where in its work directory a run leaves its model folder."""


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """How a model is asked, and its answers are read.

    Attributes:
        name: Name of the folder or config that says so.
        box_codec: The model's box language.
        task_prompts: Its task prompt templates by task; GeoChat's for those that its own folder does not name.
    """

    name: str
    box_codec: 'BoxCodec'
    task_prompts: Mapping[str, 'TaskPrompt']


@dataclass(frozen=True, kw_only=True)
class Assistant(Conventions):
    """A model and what belongs to it.

    Attributes:
        model: The model, in evaluation mode.
        processor: Prepares dialogues and pictures.
    """

    model: 'GeoChat'
    processor: 'SampleProcessor'


def load_assistant(
    source: str | Path,
    checkpoint: str | Path | None = None,
    cfg_options: Sequence[str] | Mapping[str, Any] = (),
    device: str | None = None,
    dtype: str | None = None,
    quantization: str | None = None,
    device_map: str | Mapping[str, int | str] | None = None,
) -> Assistant:
    """Load a model with what belongs to it.

    Args:
        source: A model folder (ours, of the original GeoChat or LLaVA-1.5, or of Hugging Face's LLaVA), the work
            directory of a run that has left one, or a config file. What a folder is called does not matter.
        checkpoint: The weights, for a config: whatever :func:`~geochat.engine.checkpoint.load_checkpoint` takes, or the
            work directory of a run.
        cfg_options: Changes of the config.
        device: Such as ``'cuda:1'``; None takes a GPU if there is one.
        dtype: Of the weights, such as ``'bfloat16'``; None leaves them as the folder or config says.
        quantization: ``'8bit'`` or ``'4bit'`` keeps the weights of the LLM's linear layers but the head so, by
            bitsandbytes; it computes in ``dtype``.
        device_map: Spreads the layers over several devices: ``'auto'``, or a device for each module; see
            :func:`~geochat.models.devices.spread_over_devices`.

    Raises:
        FileNotFoundError: If there is no such folder or file, or the folder has no tokenizer.
        geochat.engine.ConfigError: If a config comes without weights, a folder with a checkpoint, the folder is of
            another kind, there is no such device or dtype, or the settings do not go together.
        geochat.installation.InstallationError: If ``quantization`` is asked for and bitsandbytes is missing.
        geochat.models.weights.WeightsError: If the weights are damaged, hold code or do not fit.
    """
    import torch

    from geochat.engine import ConfigError, link_parts
    from geochat.registry import TRANSFORMS

    place = Path(source)
    is_folder = place.is_dir()
    parts = _parts(place, cfg_options, checkpoint)
    if not is_folder and checkpoint is None:
        raise ConfigError(f'{str(source)!r} is a config: name its weights too, or a model folder alone')
    _check_placing(device, dtype, quantization, device_map)
    linked = link_parts({**_with_tasks(parts), 'benchmarks': {}})  # whose loop is handed the processor
    processor = TRANSFORMS.build(linked['test_cfg']['processor'])  # first: a missing tokenizer is known at once
    model = load_model(_model_folder(place)) if is_folder else _build(parts, _model_folder(Path(checkpoint)))
    model = model if dtype is None else model.to(getattr(torch, dtype))
    return Assistant(
        model=_placed(model, device, quantization, device_map).eval(),
        processor=processor,
        **_conventions(linked, _name(place)),
    )


def load_conventions(
    source: str | Path | None = None, cfg_options: Sequence[str] | Mapping[str, Any] = ()
) -> Conventions:
    """Read how a model is asked, without the model.

    Args:
        source: A model folder, the work directory of a run, or a config file; None takes GeoChat's tasks and boxes.
        cfg_options: Changes of the config.

    Raises:
        FileNotFoundError: If there is no such folder or file.
        geochat.engine.ConfigError: If the folder is of another kind.
    """
    place = TASKS if source is None else Path(source)
    return Conventions(**_conventions(_with_tasks(_parts(place, cfg_options)), _name(place)))


def _parts(
    place: Path, cfg_options: Sequence[str] | Mapping[str, Any], checkpoint: str | Path | None = None
) -> dict[str, Any]:
    """Return what a folder or a config says of the parts."""
    from geochat.engine import ConfigError, load_config

    if place.is_dir():
        if cfg_options or checkpoint is not None:
            raise ConfigError(f'{str(place)!r} is a folder: a checkpoint and changes belong to a config')
        return _folder_parts(_model_folder(place))
    if not place.exists() and place.suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise FileNotFoundError(f'there is no model folder and no config {str(place)!r}')
    return load_config(place, cfg_options).to_dict()


def _with_tasks(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Put GeoChat's tasks and box language where the parts name none."""
    from geochat.engine import load_config

    tasks = load_config(TASKS).to_dict()
    prompts = {**tasks['task_prompts'], **parts.get('task_prompts', {})}
    return {'box_codec': tasks['box_codec'], **parts, 'task_prompts': prompts}


def _conventions(parts: Mapping[str, Any], name: str) -> dict[str, Any]:
    from geochat.registry import BOX_CODECS, TASK_PROMPT_TEMPLATES

    prompts = {task: TASK_PROMPT_TEMPLATES.build(settings) for task, settings in parts['task_prompts'].items()}
    return {'name': name, 'box_codec': BOX_CODECS.build(parts['box_codec']), 'task_prompts': prompts}


def _name(place: Path) -> str:
    return place.resolve().name if place.is_dir() else place.stem


def _model_folder(place: Path) -> Path:
    """Return the model folder of a run's work directory; any other path as it is."""
    inner = place / FOLDER_OF_A_RUN
    return inner if not (place / 'config.json').is_file() and (inner / 'config.json').is_file() else place


def _folder_parts(folder: Path) -> dict[str, Any]:
    from geochat.converters import read_parts
    from geochat.engine import ConfigError

    try:
        return read_parts(folder)
    except (KeyError, ValueError) as error:
        raise ConfigError(f'{str(folder)!r} cannot be loaded: {error.args[0]}') from error


def _check_placing(
    device: str | None, dtype: str | None, quantization: str | None, device_map: str | Mapping[str, int | str] | None
) -> None:
    """Refuse what cannot be, before weights are read."""
    from geochat.engine import ConfigError

    if device is not None:
        _check_device(device)
    if dtype not in (None, *DTYPES):
        raise ConfigError(f'dtype is one of {", ".join(DTYPES)}, not {dtype!r}')
    if quantization not in (None, *QUANTIZATION):
        raise ConfigError(f'quantization is one of {", ".join(QUANTIZATION)}, not {quantization!r}')
    if device_map is not None and (device is not None or quantization is not None):
        raise ConfigError('device_map says where every layer is, whole: leave device and quantization out')


def _placed(
    model: 'GeoChat',
    device: str | None,
    quantization: str | None,
    device_map: str | Mapping[str, int | str] | None,
) -> 'GeoChat':
    """Quantise a model and put it where it is to compute."""
    import torch

    from geochat.engine import ConfigError
    from geochat.models.adapters import quantize_linear_layers
    from geochat.models.devices import spread_over_devices

    try:
        if quantization is not None:
            quantize_linear_layers(model.llm.model, QUANTIZATION[quantization])
        if device_map is not None:
            return spread_over_devices(model, device_map)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return model.to(device or ('cuda' if torch.cuda.is_available() else 'cpu'))


def _check_device(device: str) -> None:
    import torch

    from geochat.engine import ConfigError

    try:
        torch.empty(0, device=device)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise ConfigError(f'the device {device!r} cannot be used: {str(error).splitlines()[0]}') from error


def _build(config: Mapping[str, Any], weights: Path) -> 'GeoChat':
    from geochat.engine.checkpoint import load_checkpoint

    model = build_model(config)
    load_checkpoint(model, weights)
    return model
