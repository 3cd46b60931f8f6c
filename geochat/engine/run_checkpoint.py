"""Checkpoints of a run: folders that are written whole or not at all, found again, and gone on from exactly.

``iter_N`` is a model folder of what was trained until optimizer step N. Beside the weights it has ``training_state``
(optimizer, schedules, log, random state of every rank) and ``checkpoint.json``, which is written last.
"""

import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import all_gather_object, get_rank, is_main_process
from mmengine.logging import print_log

from geochat.engine.checkpoint import parts_elsewhere, write_model
from geochat.engine.config import ConfigError
from geochat.engine.files import UNFINISHED, WriteError, failing_together, replaced_folder, written
from geochat.engine.loops.step import bare_model
from geochat.engine.randomness import random_state
from geochat.models.partitioned import whole_shape
from geochat.models.weights import WeightsError
from geochat.registry import PART_REGISTRIES

if TYPE_CHECKING:
    from mmengine.runner import FlexibleRunner, Runner

MANIFEST = 'checkpoint.json'
STATE = 'training_state'
LAST = 'last_checkpoint'
"""Name of the file that names the checkpoint to go on from."""

_NAME = re.compile(r'iter_(\d+)')


def run_parts(cfg: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the settings of the five parts of a linked config; None if its model is not made of them."""
    if not all(name in cfg for name in PART_REGISTRIES):
        return None
    return {name: cfg[name] for name in PART_REGISTRIES}


def run_elsewhere(cfg: Mapping[str, Any]) -> set[str]:
    """Return the parts whose untrained weights a run's checkpoints leave out, since other files hold them."""
    parts = run_parts(cfg)
    return set() if parts is None else parts_elsewhere(parts, cfg.get('load_from'))


def save_run(runner: 'Runner | FlexibleRunner', metrics: Mapping[str, float]) -> Path:
    """Write the checkpoint ``iter_N`` of the step that was just made; every rank must call it.

    Args:
        runner: The runner, in its training loop.
        metrics: What a validation of this very step found; empty if there was none.

    Returns:
        The folder. A kill at any moment leaves all others as they are, and this one whole or not there.

    Raises:
        WriteError: If a file cannot be written; the message names it.
    """
    folder = Path(runner.work_dir) / f'iter_{runner.iter}'
    try:
        with replaced_folder(folder) as new:
            _write(runner, new, metrics)
    except WriteError as error:
        raise WriteError(
            f'{error}\nThere is no checkpoint of step {runner.iter}, the earlier ones are whole: make room and go on '
            'with --resume'
        ) from error
    return folder


def _write(runner: 'Runner | FlexibleRunner', folder: Path, metrics: Mapping[str, float]) -> None:
    model, cfg = bare_model(runner.model), runner.cfg
    extra = {
        'meta': {'epoch': runner.epoch, 'iter': runner.iter, 'cfg': cfg.pretty_text},
        'message_hub': runner.message_hub.state_dict(),
        'random': all_gather_object(random_state()),
    }
    if hasattr(runner, 'strategy'):
        with failing_together():  # the strategy lets its ranks wait for each other
            write_model(model, run_parts(cfg), folder, whole=False, base=cfg.get('load_from'))
        with failing_together(), written(folder / STATE):
            runner.strategy.save_checkpoint(str(folder / STATE), extra_ckpt=extra)
    else:
        _write_plain(runner, model, folder, extra)
    if is_main_process():
        sizes = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob('*') if path.is_file()}
        content = {
            'loop': runner.train_loop.state_dict(),
            'metrics': dict(metrics),
            'trained': _trained(model),
            'state_of': _state_kind(runner),
            'files': sizes,
        }
        with written(folder / MANIFEST) as path:
            path.write_text(json.dumps(content, indent=2), encoding='utf-8')


def _write_plain(runner: 'Runner', model: torch.nn.Module, folder: Path, extra: dict[str, Any]) -> None:
    """Write weights and state without a strategy; hooks may add to the state, as MMEngine has it."""
    state = {**extra, 'state_dict': model.state_dict(), 'optimizer': runner.optim_wrapper.state_dict()}
    if runner.param_schedulers is not None:
        state['param_schedulers'] = [scheduler.state_dict() for scheduler in runner.param_schedulers]
    runner.call_hook('before_save_checkpoint', checkpoint=state)
    # A hook may have put other weights there, such as averaged ones: those are what a user of the model wants.
    weights = state.pop('state_dict')
    write_model(model, run_parts(runner.cfg), folder, False, runner.cfg.get('load_from'), weights)
    if is_main_process():
        with written(folder / STATE) as path, path.open('wb') as file:
            torch.save(state, file)


def _trained(model: torch.nn.Module) -> dict[str, list[int]]:
    """Names and shapes of what is trained: what an optimizer's state belongs to."""
    return {name: list(whole_shape(weight)) for name, weight in model.named_parameters() if weight.requires_grad}


def _state_kind(runner: 'Runner | FlexibleRunner') -> str:
    """Say who writes and reads the training state."""
    strategy = getattr(runner, 'strategy', None)
    return 'no strategy' if strategy is None else getattr(strategy, 'state_kind', type(strategy).__name__)


def resume_run(runner: 'Runner | FlexibleRunner', folder: Path) -> None:
    """Put optimizer, schedules, log, position and random numbers back; the weights are loaded when a model is built.

    Raises:
        ConfigError: If the config trains other weights or other data than the checkpoint's, or with another strategy.
        geochat.models.weights.WeightsError: If a file is damaged; the message names it.
    """
    manifest = read_manifest(folder)
    if (before := manifest['state_of']) != (now := _state_kind(runner)):
        raise ConfigError(
            f'--resume: {folder / STATE} is of a training with {before}, and this config has {now}, which cannot read '
            'it: go back to that, or start anew from the weights with load_from'
        )
    _check_trained(folder, manifest['trained'], _trained(bare_model(runner.model)))
    runner.train_loop.load_state_dict(manifest['loop'])
    if hasattr(runner, 'strategy'):
        state = _read(folder, lambda path: runner.strategy.resume(str(path)))
    else:
        state = _read(folder, lambda path: torch.load(path, map_location='cpu', weights_only=False))
        _resume_plain(runner, state)
    runner.message_hub.load_state_dict(state['message_hub'])
    runner.train_loop.random_state = state['random'][get_rank()]
    runner.logger.info(f'Resumed from {folder}')


def _read(folder: Path, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    path = folder / STATE
    try:
        return read(path)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # damaged files make their readers raise nearly anything
        reason = ' '.join(str(error).split())[:200]
        raise WeightsError(f'{path} cannot be read, it is damaged: {type(error).__name__}: {reason}') from error


def _check_trained(folder: Path, before: Mapping[str, list[int]], now: Mapping[str, list[int]]) -> None:
    if before == now:
        return
    different = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    raise ConfigError(
        f'--resume: {folder} is of another model: it trained {len(before)} tensors and this config trains {len(now)}; '
        f'{len(different)} differ, such as {different[0]}'
    )


def _resume_plain(runner: 'Runner', state: dict[str, Any]) -> None:
    runner.optim_wrapper.load_state_dict(state['optimizer'])
    for scheduler, saved in zip(runner.param_schedulers or (), state.get('param_schedulers', ()), strict=True):
        scheduler.load_state_dict(saved)
    model = bare_model(runner.model)
    weights = model.state_dict()
    state['state_dict'] = dict(weights)
    runner.call_hook('after_load_checkpoint', checkpoint=state)
    changed = {name: tensor for name, tensor in state['state_dict'].items() if tensor is not weights[name]}
    model.load_state_dict(changed, strict=False)


def checkpoints(work_dir: Path) -> dict[int, Path]:
    """Return the checkpoint folders of a work directory by their step, the newest first, whole or not."""
    found = {}
    for path in work_dir.glob('iter_*'):
        if path.is_dir() and (name := _NAME.fullmatch(path.name)):
            found[int(name[1])] = path
    return dict(sorted(found.items(), reverse=True))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read ``checkpoint.json`` of a checkpoint that is whole.

    Raises:
        WeightsError: If the checkpoint is not whole; the message names the file and says why.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        files = content['files'].items()
    except FileNotFoundError as error:
        raise WeightsError(f'it has no {MANIFEST}') from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f'{path} is damaged: {error}') from error
    for name, size in files:
        file = folder / name
        if not file.is_file():
            raise WeightsError(f'{file} is missing')
        if file.stat().st_size != size:
            raise WeightsError(f'{file} has {file.stat().st_size} bytes of {size}')
    return content


def find_checkpoint(work_dir: str | Path) -> Path:
    """Return the checkpoint to go on from: the one that ``last_checkpoint`` names, if it is whole.

    Otherwise the newest before it that is whole; those passed over are warned of.

    Raises:
        ConfigError: If there is none; a new start must be asked for.
    """
    folder, faults = _find_whole(Path(work_dir))
    for fault in faults:
        print_log(f'{fault}; passed over', logger='current', level=logging.WARNING)
    return folder


def check_resumable(work_dir: str | Path) -> None:
    """Refuse to resume where :func:`find_checkpoint` will find nothing, before anything is built.

    Raises:
        ConfigError: If there is no whole checkpoint.
    """
    _find_whole(Path(work_dir))


def _find_whole(work_dir: Path) -> tuple[Path, list[str]]:
    """Return the checkpoint to go on from, and what is wrong with those that would have come before it."""
    found, faults = checkpoints(work_dir), []
    last = _named_step(work_dir)
    if last is not None and last not in found:
        faults.append(f'{work_dir / LAST} names iter_{last}, which is not there')
    faults += [f'{path} was being written when the run ended' for path in work_dir.glob(f'iter_*{UNFINISHED}')]
    # The named one and those before it, the newest first; only then those after it, which are of another future.
    for step in sorted(found, key=lambda step: (last is not None and step > last, -step)):
        try:
            read_manifest(found[step])
        except WeightsError as error:
            faults.append(f'{found[step]} is not a whole checkpoint: {error}')
        else:
            return found[step], faults
    listed = ''.join(f'\n  {fault}' for fault in faults)
    raise ConfigError(f'--resume: there is no checkpoint in {str(work_dir)!r} to go on from{listed}')


def _named_step(work_dir: Path) -> int | None:
    record = work_dir / LAST
    name = _NAME.fullmatch(Path(record.read_text(encoding='utf-8').strip()).name) if record.is_file() else None
    return None if name is None else int(name[1])
