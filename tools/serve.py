"""Serve a model over HTTP: ``python tools/serve.py FOLDER`` or ``python tools/serve.py CONFIG CHECKPOINT``."""

import argparse

from geochat.command_line import run_tool
from geochat.commands import serve

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=serve.DESCRIPTION)
    serve.add_arguments(parser)
    args = parser.parse_args()
    run_tool(lambda: serve.run(args))
