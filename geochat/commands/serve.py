"""``geochat serve MODEL``: serve a model over HTTP."""

import argparse
import os
from dataclasses import fields

from geochat.command_line import add_config_options
from geochat.commands.asking import add_placing_arguments, placing
from geochat.serving import Limits, serve

DESCRIPTION = "Serve a model over HTTP, as OpenAI's clients speak it."

KEY_VARIABLE = 'GEOCHAT_API_KEY'
"""Environment variable that holds the API key where ``--api-key`` does not."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        'model', help='a model folder (ours, an original GeoChat, a LLaVA), the work directory of a run, or a config'
    )
    parser.add_argument('checkpoint', nargs='?', help='for a config: its weights')
    parser.add_argument('--host', default='127.0.0.1', help='address to listen at; by default this machine only')
    parser.add_argument('--port', type=int, default=8000, help='8000 if not given')
    parser.add_argument('--api-key', help=f'what clients have to send; by default ${KEY_VARIABLE}, if it is set')
    parser.add_argument('--name', help='what clients call the model; by default the name of the folder or config')
    add_placing_arguments(parser)
    parser.add_argument('--batch-size', type=int, default=32, help='most answers that are written at the same time')
    parser.add_argument('--prefix-memory-mb', type=float, default=1024, help='most memory for what is kept of pictures')
    parser.add_argument('--max-picture-side', type=int, default=9000, help="most pixels of a picture's longer side")
    parser.add_argument(
        '--stretch',
        choices=['full', 'minmax', 'percentile'],
        help='how values of more than 8 bits become 8; such pictures are refused if not given',
    )
    for limit in fields(Limits):
        option = f'--{limit.name.replace("_", "-")}'
        parser.add_argument(option, type=limit.type, default=limit.default, help=f'{limit.default} if not given')
    add_config_options(parser)


def run(args: argparse.Namespace) -> None:
    """Serve until a signal ends it.

    Raises:
        geochat.engine.ConfigError: If a limit is not positive.
    """
    from geochat.apis import PictureSettings
    from geochat.engine import ConfigError

    try:
        limits = Limits(**{limit.name: getattr(args, limit.name) for limit in fields(Limits)})
    except ValueError as error:
        raise ConfigError(str(error)) from error
    serve(
        args.model,
        args.checkpoint,
        cfg_options=args.cfg_options,
        host=args.host,
        port=args.port,
        api_key=args.api_key or os.environ.get(KEY_VARIABLE),
        name=args.name,
        **placing(args),
        batch_size=args.batch_size,
        prefix_memory_mb=args.prefix_memory_mb,
        limits=limits,
        pictures=PictureSettings(max_side=args.max_picture_side, stretch=args.stretch),
    )
