"""Test a model, or score its answers again: ``python tools/test.py CONFIG CHECKPOINT``."""

from geochat.command_line import run_command
from geochat.commands import test


def main() -> None:
    """Test, score or list."""
    run_command(test)


if __name__ == '__main__':
    main()
