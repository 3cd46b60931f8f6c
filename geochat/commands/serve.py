"""``geochat serve MODEL``: serve a model over HTTP."""

import argparse
import os
from dataclasses import fields

from geochat.commands.serving import add_server_arguments, server_settings
from geochat.serving import Limits, serve

DESCRIPTION = "Serve a model over HTTP, as OpenAI's clients speak it."

KEY_VARIABLE = 'GEOCHAT_API_KEY'
"""Environment variable that holds the API key where ``--api-key`` does not."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    names = [limit.name for limit in fields(Limits)]
    add_server_arguments(parser, port=8000, batch_size=32, max_side=9000, limits=Limits(), names=names)
    parser.add_argument('--api-key', help=f'what clients have to send; by default ${KEY_VARIABLE}, if it is set')


def run(args: argparse.Namespace) -> None:
    """Serve until a signal ends it.

    Raises:
        geochat.engine.ConfigError: If a limit is not positive.
    """
    serve(**server_settings(args), api_key=args.api_key or os.environ.get(KEY_VARIABLE))
