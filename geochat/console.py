"""The console command ``geochat``."""

import argparse

from geochat import __version__
from geochat.command_line import CommandParser, run_tool
from geochat.commands import ask, batch, chat, demo, serve, test, train

COMMANDS = (train, test, chat, ask, batch, serve, demo)
"""Modules of :mod:`geochat.commands`, in the order of the help."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command and all its parts."""
    parser = argparse.ArgumentParser(
        prog='geochat', description='Train, test and ask grounded vision-language models of remote sensing.'
    )
    parser.add_argument('--version', action='version', version=f'geochat {__version__}')
    parts = parser.add_subparsers(metavar='COMMAND', required=True, parser_class=CommandParser)
    for command in COMMANDS:
        name = command.__name__.rpartition('.')[2]
        part = parts.add_parser(name, help=command.DESCRIPTION, description=command.DESCRIPTION)
        command.add_arguments(part)
        part.set_defaults(run=command.run)
    return parser


def main() -> None:
    """Do what the command line says."""
    args = build_parser().parse_args()
    run_tool(lambda: args.run(args))
