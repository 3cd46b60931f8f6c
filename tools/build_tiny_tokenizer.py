"""Build the quick start's tokenizer: ``python tools/build_tiny_tokenizer.py``."""

import argparse
from pathlib import Path


def main() -> None:
    """Build the tokenizer and write it."""
    parser = argparse.ArgumentParser(description='Build the tokenizer of the quick start.')
    parser.add_argument('--out', type=Path, default=Path('geochat/data/tiny/tokenizer'), help='folder to write to')
    args = parser.parse_args()

    from geochat.datasets.scenes.vocabulary import save_tokenizer

    save_tokenizer(args.out)
    print(f'wrote the tokenizer to {args.out}')


if __name__ == '__main__':
    main()
