"""``geochat demo MODEL``: a web page to ask a model about pictures."""

import argparse

from geochat.commands.serving import add_server_arguments, server_settings
from geochat.serving.demo.server import LIMITS, MAX_PICTURE_SIDE, serve_demo

DESCRIPTION = 'Show a web page to ask a model about pictures.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    names = ['max_body_mb', 'max_tokens', 'max_queue', 'read_seconds', 'answer_seconds']
    add_server_arguments(parser, port=7860, batch_size=8, max_side=MAX_PICTURE_SIDE, limits=LIMITS, names=names)
    parser.add_argument(
        '--max-users', type=int, default=32, metavar='N', help='most pages that may be open; 32 if not given'
    )
    parser.add_argument(
        '--share', action='store_true', help="open an address on the Internet as well, through Gradio's servers"
    )


def run(args: argparse.Namespace) -> None:
    """Show the page until a signal ends it.

    Raises:
        geochat.engine.ConfigError: If a limit is not positive.
    """
    from geochat.engine import ConfigError

    if args.max_users < 1:
        raise ConfigError(f'--max-users is at least 1, not {args.max_users}')
    serve_demo(**server_settings(args), max_users=args.max_users, share=args.share)
