"""Files that are written whole or not at all, and errors that name the file."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

UNFINISHED, REPLACED = '.unfinished', '.replaced'
"""What the names of folders end in that are being written, or about to be deleted."""


class WriteError(OSError):
    """A file cannot be written; the message names it and says why."""


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """Name the file in whatever goes wrong while a block writes it.

    Raises:
        WriteError: If the block fails. (A full disk makes libraries raise nearly anything.)
    """
    try:
        yield path
    except WriteError:
        raise
    except Exception as error:
        reason = ' '.join(str(error).split())[:200] or type(error).__name__
        raise WriteError(f'{path} cannot be written ({_free_space(path)} free on its disk): {reason}') from error


def _free_space(path: Path) -> str:
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError:
        return 'nothing known to be'
    return f'{free / 1e6:,.1f} MB'


@contextlib.contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Give a new folder to fill, which takes the target's place when the block ends: whole or, if it fails, not at all.

    Every rank must enter it. They go on together, and if one fails all do.

    Args:
        target: The folder; whatever has its name is replaced.

    Raises:
        WriteError: If a file cannot be written.
    """
    from mmengine.dist import is_main_process  # here, as below: torch comes with it, which writing a file does not need

    new = target.with_name(target.name + UNFINISHED)
    _together(lambda: _make_empty(new))
    try:
        with failing_together():
            yield new
    except WriteError:
        if is_main_process():
            shutil.rmtree(new, ignore_errors=True)
        raise
    _together(lambda: _put_in_place(new, target))


def _together(action: Callable[[], None]) -> None:
    """Let the main process do something to the disk; what it fails of, all fail of."""
    from mmengine.dist import is_main_process

    with failing_together():
        if is_main_process():
            try:
                action()
            except OSError as error:
                raise WriteError(f'a folder cannot be written: {error}') from error


@contextlib.contextmanager
def failing_together(*others: type[Exception]) -> Iterator[None]:
    """Let all ranks leave a block together; one that went on alone would wait for the others for ever.

    Args:
        others: Errors of which all shall fail together, as of a :class:`WriteError`.

    Raises:
        WriteError: On every rank, if the block could not write on any; so with the other errors.
    """
    from mmengine.dist import all_gather_object

    kinds = (WriteError, *others)
    failure = report = None
    try:
        yield
    except kinds as error:
        failure = error
        report = next(number for number, kind in enumerate(kinds) if isinstance(error, kind)), str(error)
    reports = [one for one in all_gather_object(report) if one is not None]
    if reports:
        number, text = reports[0]
        raise kinds[number](text) from failure


def _make_empty(folder: Path) -> None:
    delete_folder(folder)
    folder.mkdir(parents=True)


def _put_in_place(new: Path, target: Path) -> None:
    for path in new.rglob('*'):
        _to_disk(path)
    _to_disk(new)
    old = target.with_name(target.name + REPLACED)
    delete_folder(old)
    if target.exists():
        target.rename(old)
    new.rename(target)
    _to_disk(target.parent)
    delete_folder(old)


def _to_disk(path: Path) -> None:
    """Wait until a file or folder is on the disk: a rename must not outlive what it names when the power fails."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def delete_folder(folder: Path) -> None:
    """Delete a folder, or a file of that name, if it is there; nothing that still has its name is ever half deleted."""
    if not folder.exists():
        return
    doomed = folder if folder.name.endswith((UNFINISHED, REPLACED)) else folder.with_name(folder.name + REPLACED)
    if doomed != folder:
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
    if doomed.is_dir():
        shutil.rmtree(doomed)
    else:
        doomed.unlink()


def replace_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all.

    Raises:
        WriteError: If it cannot be written.
    """
    new = path.with_name(path.name + UNFINISHED)
    with written(path):
        new.write_text(text, encoding='utf-8')
        _to_disk(new)
        new.replace(path)
