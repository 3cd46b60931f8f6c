"""Train a model, and test it if the config says so: ``python tools/train.py CONFIG``."""

from geochat.command_line import run_command
from geochat.commands import train


def main() -> None:
    """Train."""
    run_command(train)


if __name__ == '__main__':
    main()
