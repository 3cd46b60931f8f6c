"""Test a model, or score its answers again: ``python tools/test.py CONFIG CHECKPOINT``."""

from geochat.command_line import run_command
from geochat.commands import test

if __name__ == '__main__':
    run_command(test)
