"""Pretrain the quick start's vision encoder: ``python tools/pretrain_tiny_encoder.py``.

The encoder that is shipped was made with the default settings on one core.
"""

import argparse
import os
from pathlib import Path


def main() -> None:
    """Pretrain an encoder and write it as a Hugging Face CLIP, with what its features are read by."""
    parser = argparse.ArgumentParser(description='Pretrain the vision encoder of the quick start on one core.')
    parser.add_argument('--out', type=Path, default=Path('geochat/data/tiny/encoder'), help='folder to write to')
    parser.add_argument('--steps', type=int, help='optimizer steps, if not the default')
    parser.add_argument('--seed', type=int, default=0, help='seed of the first weights')
    args = parser.parse_args()

    os.environ.setdefault('OMP_NUM_THREADS', '1')
    import torch
    from safetensors.torch import save_file

    from geochat.datasets.scenes.encoder_pretraining import CODES_FILE, Pretraining, pretrain

    torch.set_num_threads(1)
    settings = Pretraining(seed=args.seed) if args.steps is None else Pretraining(seed=args.seed, steps=args.steps)
    encoder, codes, seconds = pretrain(settings)
    encoder.save_pretrained(args.out)
    save_file(codes.state_dict(), args.out / CODES_FILE)
    print(f'wrote the encoder to {args.out} after {seconds:.0f} s')


if __name__ == '__main__':
    main()
