"""Checkpoints of a DeepSpeed engine: what ZeRO has spread over files is brought together, one weight at a time.

The files are pickles with objects of DeepSpeed, MMEngine and whoever trained in them. Only tensors and plain containers
are read: every other object is an empty one here, so that no file can run code.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from geochat.models.weights import WeightsError, read_tensors_only

LATEST = 'latest'
"""The file that names the newest of several checkpoints in a folder."""


class Unread:
    """Stands for an object of a file that is none of tensors and plain containers."""

    def __new__(cls, *_: Any, **__: Any) -> 'Unread':
        """Take any arguments, and do nothing with them."""
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Take no state."""


def deepspeed_folder(folder: Path) -> Path | None:
    """Return where a DeepSpeed engine has saved: the folder itself, or the newest checkpoint in it; None if nowhere."""
    if any(folder.glob('*_model_states.pt')):
        return folder
    if (folder / LATEST).is_file():
        newest = folder / Path((folder / LATEST).read_text(encoding='utf-8').strip()).name
        if any(newest.glob('*_model_states.pt')):
            return newest
    return None


def deepspeed_weights(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Read the weights of a DeepSpeed checkpoint of any ZeRO stage.

    With stages 1 and 2 these are the weights that the model computed with, with stage 3 the optimizer's in float32.

    Args:
        folder: As :func:`deepspeed_folder` gives it.

    Raises:
        WeightsError: If a process's file is missing or damaged.
    """
    whole = folder / 'mp_rank_00_model_states.pt'
    if whole.is_file():
        yield from _read(whole)['module'].items()
        return
    models = [_read(file) for file in _files(folder, 'model_states')]
    states = [_read(file)['optimizer_state_dict'] for file in _files(folder, 'optim_states')]
    if len(models) != len(states) or len(states) != states[0]['partition_count']:
        raise WeightsError(
            f'{folder} is of {states[0]["partition_count"]} processes, but has {len(models)} files of weights and '
            f'{len(states)} of the optimizer: one that did not finish, or was not copied whole'
        )
    yield from ((name, tensor) for name, tensor in models[0]['module'].items() if name in models[0]['buffer_names'])
    yield from _frozen(models)
    yield from _trained(models[0], [torch.cat(state['fp32_flat_groups']) for state in states])


def _files(folder: Path, kind: str) -> list[Path]:
    """Return the files of a kind, in the order of the processes that wrote them."""
    files = [(folder / f'zero_pp_rank_{rank}_mp_rank_00_{kind}.pt') for rank in range(len(list(folder.iterdir())))]
    found = [file if file.is_file() else file.with_name(f'bf16_{file.name}') for file in files]
    found = [file for file in found if file.is_file()]
    if not found:
        raise WeightsError(f'{folder} has no file zero_pp_rank_0_mp_rank_00_{kind}.pt')
    return found


def _frozen(models: list[Mapping[str, Any]]) -> Iterator[tuple[str, torch.Tensor]]:
    for name, shape in (models[0].get('frozen_param_shapes') or {}).items():
        yield name, _joined([model['frozen_param_fragments'][name] for model in models], shape)


def _trained(model: Mapping[str, Any], flat: list[torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """Cut the trained weights out of what each process holds of them, end to end and padded to the same length."""
    start, names = 0, {}
    for group in model['param_shapes']:
        for name, shape in group.items():
            stop = start + math.ceil(shape.numel() / len(flat))
            names[name] = (slice(start, stop), shape)
            start = stop
    aliases = {alias: name for alias, name in model['shared_params'].items() if name in names and alias not in names}
    for name, (part, shape) in {**names, **{alias: names[name] for alias, name in aliases.items()}}.items():
        yield name, _joined([values[part] for values in flat], shape)


def _joined(parts: list[torch.Tensor], shape: torch.Size) -> torch.Tensor:
    return torch.cat([part.flatten() for part in parts])[: shape.numel()].view(shape)


def _read(file: Path) -> dict[str, Any]:
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except (ValueError, RuntimeError, EOFError) as error:
        raise WeightsError(f'{file} is not a whole file of torch.save: {error}') from error
    with torch.serialization.safe_globals([(Unread, name) for name in names]):
        return read_tensors_only(file)
