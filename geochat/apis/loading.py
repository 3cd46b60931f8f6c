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

DTYPES = ('float32', 'bfloat16', 'float16')

FOLDER_OF_A_RUN = 'model'
"""Where in its work directory a run leaves its model folder."""


@dataclass(frozen=True)
class Assistant:
    """A model and what belongs to it.

    Attributes:
        name: Name of the folder or config that it was loaded from.
        model: The model, in evaluation mode.
        processor: Prepares dialogues and pictures.
        box_codec: Its box language.
        task_prompts: Its task prompt templates by task; GeoChat's for those that its own folder does not name.
    """

    name: str
    model: 'GeoChat'
    processor: 'SampleProcessor'
    box_codec: 'BoxCodec'
    task_prompts: Mapping[str, 'TaskPrompt']


def load_assistant(
    source: str | Path,
    checkpoint: str | Path | None = None,
    cfg_options: Sequence[str] | Mapping[str, Any] = (),
    device: str | None = None,
    dtype: str | None = None,
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

    Raises:
        FileNotFoundError: If there is no such folder or file, or the folder has no tokenizer.
        geochat.engine.ConfigError: If a config comes without weights, a folder with a checkpoint, the folder is of
            another kind, or there is no such device or dtype.
        geochat.models.weights.WeightsError: If the weights are damaged, hold code or do not fit.
    """
    import torch

    from geochat.engine import ConfigError, link_parts, load_config
    from geochat.registry import BOX_CODECS, TASK_PROMPT_TEMPLATES, TRANSFORMS

    place = Path(source)
    is_folder = place.is_dir()
    if is_folder and (checkpoint is not None or cfg_options):
        raise ConfigError(f'{str(source)!r} is a folder: a checkpoint and changes belong to a config')
    if not is_folder and not place.exists() and place.suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise FileNotFoundError(f'there is no model folder and no config {str(source)!r}')
    if not is_folder and checkpoint is None:
        raise ConfigError(f'{str(source)!r} is a config: name its weights too, or a model folder alone')
    parts = _folder_parts(_model_folder(place)) if is_folder else load_config(place, cfg_options).to_dict()
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    _check_device(device)
    if dtype not in (None, *DTYPES):
        raise ConfigError(f'dtype is one of {", ".join(DTYPES)}, not {dtype!r}')
    tasks = load_config(TASKS).to_dict()
    linked = link_parts(
        {
            'box_codec': tasks['box_codec'],
            **parts,
            'task_prompts': {**tasks['task_prompts'], **parts.get('task_prompts', {})},
            'benchmarks': {},  # whose loop is handed the processor
        }
    )
    processor = TRANSFORMS.build(linked['test_cfg']['processor'])  # first: a missing tokenizer is known at once
    model = load_model(_model_folder(place)) if is_folder else _build(parts, _model_folder(Path(checkpoint)))
    return Assistant(
        place.resolve().name if is_folder else place.stem,
        model.to(device, None if dtype is None else getattr(torch, dtype)).eval(),
        processor,
        BOX_CODECS.build(linked['box_codec']),
        {name: TASK_PROMPT_TEMPLATES.build(settings) for name, settings in linked['task_prompts'].items()},
    )


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
