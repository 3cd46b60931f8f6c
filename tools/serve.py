"""Serve a model over HTTP: ``python tools/serve.py FOLDER`` or ``python tools/serve.py CONFIG CHECKPOINT``."""

from geochat.command_line import run_command
from geochat.commands import serve

if __name__ == '__main__':
    run_command(serve)
