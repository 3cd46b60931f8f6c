"""A web page to ask a model: ``python tools/demo.py FOLDER`` or ``python tools/demo.py CONFIG CHECKPOINT``."""

from geochat.command_line import run_command
from geochat.commands import demo

if __name__ == '__main__':
    run_command(demo)
