"""Merge a trained adapter: ``python tools/model_converters/merge_lora.py SOURCE TARGET``."""

import argparse
import os
import sys


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Write a model folder without adapters: those that were trained, LoRA or DoRA, are added to the '
        'weights under them.'
    )
    parser.add_argument('source', help='a model folder or checkpoint of a run with adapters, or a folder of PEFT')
    parser.add_argument('target', help='folder to write; it must not be there')
    parser.add_argument('--base', help='for a folder of PEFT: the model that the adapter was trained over, any layout')
    return parser.parse_args()


def main() -> None:
    """Merge; what the user can mend is answered with one line and exit code 1."""
    args = parse_args()
    os.environ.setdefault('DS_ACCELERATOR', 'cpu')
    from geochat.converters.convert import convert

    try:
        convert(args.source, args.target, 'geochat', base=args.base)
    except (KeyError, OSError, TypeError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(f'{args.target} is written')


if __name__ == '__main__':
    main()
