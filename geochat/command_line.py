"""What the tools have in common: their arguments, and one line of answer to what the user can mend."""

import argparse
import io
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what builds a run: config, work directory, launcher and changes of the config."""
    parser.add_argument('config', help='Python config, such as configs/geochat_tiny.py')
    parser.add_argument(
        '--work-dir', metavar='DIR', help='where the run writes; work_dirs/NAME_OF_THE_CONFIG if not given'
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes were started; pytorch for torchrun, tools/dist_train.sh and deepspeed',
    )
    add_config_options(parser)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY=VALUE',
        help='changes of the config, such as train_dataloader.batch_size=8 box_codec.type=geochat',
    )


class CommandParser(argparse.ArgumentParser):
    """Parser of a command: its options may stand between its positional arguments, in any order."""

    _is_mixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:
        """Parse the arguments; one that the command does not know is an error with the command's own usage."""
        if self._is_mixing:  # argparse parses options and positional arguments by this method, one after the other
            return super().parse_known_args(args, namespace)
        self._is_mixing = True
        try:
            namespace, unknown = self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_mixing = False
        if unknown:
            self.error(f'unrecognized arguments: {" ".join(unknown)}')
        return namespace, unknown


def run_command(command: ModuleType) -> None:
    """Run a module of :mod:`geochat.commands` as a script of its own."""
    parser = CommandParser(description=command.DESCRIPTION)
    command.add_arguments(parser)
    args = parser.parse_args()
    run_tool(lambda: command.run(args))


def run_tool(work: Callable[[], None]) -> None:
    """Check the installation and do the work.

    What the user can mend is answered with one line and exit code 1, a training that a signal ended with what was
    saved and exit code 143 (SIGTERM) or 130 (Ctrl-C).
    """
    from geochat.installation import InstallationError, check_installation

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')  # what a terminal cannot show must not end the program
    try:
        check_installation()
    except InstallationError as error:
        sys.exit(f'error: {error}')
    from geochat.engine.interruption import TrainingInterrupted  # not before: it imports what has been checked

    try:
        work()
    except TrainingInterrupted as end:
        from geochat.engine.distributed import close_process_group

        close_process_group()
        print(end, file=sys.stderr)
        sys.exit(end.exit_code)
    except (OSError, RuntimeError, ValueError) as error:
        if not isinstance(error, _mendable()):
            raise
        sys.exit(f'error: {error}')


def _mendable() -> tuple[type[Exception], ...]:
    """Return the errors that say what to do; imported only when there is an error, since torch comes with them."""
    from geochat.apis import InputError
    from geochat.datasets import DataError
    from geochat.engine import ConfigError
    from geochat.installation import InstallationError
    from geochat.models.weights import WeightsError

    return ConfigError, DataError, InputError, InstallationError, OSError, WeightsError


def choose_accelerator() -> None:
    """Tell DeepSpeed, before it is imported, to use the CPU where there is no GPU; it would warn of it otherwise."""
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault('DS_ACCELERATOR', 'cpu')
