"""What compiling DeepSpeed's operators needs, and the locks that killed compilations leave."""

import contextlib
import logging
import os
import shutil
import time
from pathlib import Path

from geochat.installation import InstallationError

logger = logging.getLogger(__name__)

STALE_AFTER_S = 600
"""A build of DeepSpeed's operators takes one or two minutes; a lock this much older belongs to a process that died."""


class BuildToolsError(InstallationError):
    """DeepSpeed cannot compile its operators; the message says what to do."""


def check_build_tools(user: str) -> None:
    """Refuse to start where DeepSpeed's operators cannot be compiled.

    A ninja that pip installed beside this interpreter is found even when its folder is not on ``PATH``.

    Args:
        user: What needs the operator, for the message.

    Raises:
        BuildToolsError: If ninja or a C++ compiler is missing.
    """
    _put_ninja_on_path()
    compiler = os.environ.get('CXX', 'g++')
    missing = [name for name in ('ninja', compiler) if shutil.which(name) is None]
    if missing:
        raise BuildToolsError(
            f'{user} needs an operator of DeepSpeed, which is compiled when it is first used, and '
            f'{" and ".join(missing)} is missing. Install ninja with "pip install ninja", g++ with the package manager '
            'of the system (Debian, Ubuntu: "apt install g++"), or use torch.optim.AdamW, which needs neither'
        )


def _put_ninja_on_path() -> None:
    if shutil.which('ninja'):
        return
    try:
        import ninja
    except ImportError:
        return
    os.environ['PATH'] = os.pathsep.join((ninja.BIN_DIR, os.environ.get('PATH', '')))


def extensions_folder() -> Path:
    """Return the folder in which PyTorch builds extensions; ``TORCH_EXTENSIONS_DIR`` moves it."""
    from torch.utils.cpp_extension import get_default_build_root

    return Path(os.environ.get('TORCH_EXTENSIONS_DIR') or get_default_build_root())


def wait_for_builds(poll_s: float = 1.0) -> None:
    """Wait, and say so, while another process compiles; refuse where a killed one left its lock.

    PyTorch alone would wait for such a lock for ever, without a word.

    Args:
        poll_s: Seconds between two looks at the lock.

    Raises:
        BuildToolsError: If a lock is older than any build takes; the message names it.
    """
    said = set()
    while lock := _oldest_lock():
        path, age = lock
        if age > STALE_AFTER_S:
            raise BuildToolsError(
                f'{path} is {age / 60:.0f} minutes old: a build that was killed left it, and DeepSpeed would wait for '
                f'it for ever. If no other process is compiling, delete it: rm {path}'
            )
        if path not in said:
            said.add(path)
            logger.warning(
                'Waiting for another process that compiles an operator of DeepSpeed. If there is none, '
                'a killed start left its lock: delete it with "rm %s"',
                path,
            )
        time.sleep(poll_s)


def _oldest_lock() -> tuple[Path, float] | None:
    """Return the oldest lock of a build and its age in seconds."""
    folder = extensions_folder()
    ages = {}
    for lock in (*folder.glob('*/lock'), *folder.glob('*/*/lock')):
        with contextlib.suppress(FileNotFoundError):  # its owner just finished
            ages[lock] = time.time() - lock.stat().st_mtime
    return max(ages.items(), key=lambda item: item[1]) if ages else None
