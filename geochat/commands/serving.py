"""What the commands that listen have in common: which model is served, where, and how much is taken."""

import argparse
import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from geochat.command_line import add_config_options
from geochat.commands.asking import add_placing_arguments, placing
from geochat.serving.limits import Limits

LIMIT_HELP = {
    'max_body_mb': 'most MB of a request',
    'max_pictures': 'most pictures of a request',
    'max_tokens': 'most tokens of an answer, and how many it may have if the request does not say',
    'max_choices': 'most answers to one request',
    'max_queue': 'most answers that wait while as many as may are being written',
    'read_seconds': 'most time for a request to arrive',
    'answer_seconds': 'most time from a request to the end of its answers',
}
"""What the help says of each limit."""


MAX_PORT = 65535


def add_server_arguments(
    parser: argparse.ArgumentParser, port: int, batch_size: int, max_side: int, limits: Limits, names: Sequence[str]
) -> None:
    """Add the arguments.

    Args:
        parser: What they are added to.
        port: Default of ``--port``.
        batch_size: Default of ``--batch-size``.
        max_side: Default of ``--max-picture-side``.
        limits: Defaults of the limits.
        names: Names of the limits that there are.
    """
    parser.add_argument(
        'model', help='a model folder (ours, an original GeoChat, a LLaVA), the work directory of a run, or a config'
    )
    parser.add_argument('checkpoint', nargs='?', help='for a config: its weights')
    parser.add_argument('--host', default='127.0.0.1', help='address to listen at; by default this machine only')
    parser.add_argument('--port', type=int, default=port, metavar='N', help=f'{port} if not given')
    parser.add_argument(
        '--host-name',
        action='append',
        default=[],
        dest='host_names',
        metavar='NAME',
        help="a name by which the server is called, besides this machine's own such as localhost; may be given several "
        'times. Where only this machine is answered, no other name is; elsewhere any is until one is given',
    )
    parser.add_argument('--name', help='what the model is called; by default the name of the folder or config')
    add_placing_arguments(parser)
    parser.add_argument(
        '--batch-size',
        type=int,
        default=batch_size,
        metavar='N',
        help=f'most answers that are written at the same time; {batch_size} if not given',
    )
    parser.add_argument(
        '--prefix-memory-mb',
        type=float,
        default=1024,
        metavar='N',
        help='most MB of memory for what is kept of pictures; 1024 if not given',
    )
    parser.add_argument(
        '--max-picture-side',
        type=int,
        default=max_side,
        metavar='N',
        help=f"most pixels of a picture's longer side; {max_side} if not given",
    )
    parser.add_argument(
        '--stretch',
        choices=['full', 'minmax', 'percentile'],
        help='how values of more than 8 bits become 8; such pictures are refused if not given',
    )
    for limit in fields(Limits):
        if limit.name in names:
            default = getattr(limits, limit.name)
            option = f'--{limit.name.replace("_", "-")}'
            told = f'{LIMIT_HELP[limit.name]}; {default} if not given'
            parser.add_argument(option, type=limit.type, default=default, metavar='N', help=told)
    add_config_options(parser)


def server_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the arguments say, as :func:`geochat.serving.serve` takes it.

    Raises:
        geochat.engine.ConfigError: If a limit is not positive, a number not finite, or there is no such port.
    """
    from geochat.apis import PictureSettings
    from geochat.engine import ConfigError

    if not 0 <= args.port <= MAX_PORT:
        raise ConfigError(f'--port is 0 to {MAX_PORT}, not {args.port}')
    for name in ('batch_size', 'max_picture_side'):
        if getattr(args, name) < 1:
            raise ConfigError(f'--{name.replace("_", "-")} is at least 1, not {getattr(args, name)}')
    if not 0 <= args.prefix_memory_mb < math.inf:
        raise ConfigError(f'--prefix-memory-mb is a number from 0, not {args.prefix_memory_mb}')
    names = [limit.name for limit in fields(Limits) if hasattr(args, limit.name)]
    try:
        limits = Limits(**{name: getattr(args, name) for name in names})
    except ValueError as error:
        raise ConfigError(str(error)) from error
    same = ('model', 'checkpoint', 'cfg_options', 'host', 'port', 'host_names', 'name')
    return {
        **{name: getattr(args, name) for name in same},
        **placing(args),
        'batch_size': args.batch_size,
        'prefix_memory_mb': args.prefix_memory_mb,
        'limits': limits,
        'pictures': PictureSettings(max_side=args.max_picture_side, stretch=args.stretch),
    }
