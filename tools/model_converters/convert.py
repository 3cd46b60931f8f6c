"""Write a model in another layout: ``python tools/model_converters/convert.py SOURCE TARGET --to hf``."""

import argparse
import os
import sys


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Write a model in another layout: the original GeoChat, a model folder of this project, or a LLaVA '
        'folder of Hugging Face, which transformers, vLLM and SGLang load without this project. Adapters are merged.'
    )
    parser.add_argument('source', help='folder of a model in any of these layouts; which it is, is found out')
    parser.add_argument('target', help='folder to write; it must not be there')
    parser.add_argument('--to', choices=['original', 'geochat', 'hf'], required=True, help='layout of the target')
    parser.add_argument('--base', help='for a folder of PEFT: the model that the adapter was trained over, any layout')
    parser.add_argument(
        '--shard-size', type=float, default=5, metavar='GB', help='most of a file of weights, in GB of 10^9 bytes'
    )
    return parser.parse_args()


def main() -> None:
    """Convert; what the user can mend is answered with one line and exit code 1."""
    args = parse_args()
    os.environ.setdefault('DS_ACCELERATOR', 'cpu')
    from geochat.converters.convert import convert

    try:
        convert(args.source, args.target, args.to, args.base, shard_bytes=int(args.shard_size * 1e9))
    except (KeyError, OSError, TypeError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(f'{args.target} is written')


if __name__ == '__main__':
    main()
