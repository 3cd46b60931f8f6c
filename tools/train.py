"""Train a model, and test it if the config says so: ``python tools/train.py CONFIG``."""

import argparse
import os
import sys


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Train a model from a config.')
    parser.add_argument('config', help='Python config, such as configs/geochat_tiny.py')
    parser.add_argument('--work-dir', help='where the run writes; work_dirs/NAME_OF_THE_CONFIG if not given')
    parser.add_argument('--resume', action='store_true', help='go on from the latest checkpoint of the work directory')
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision (bfloat16)')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes were started; tools/dist_train.sh starts them with torchrun: pytorch',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY=VALUE',
        help='changes of the config, such as optim_wrapper.optimizer.lr=1e-4 box_codec.type=geochat',
    )
    return parser.parse_args()


def train(args: argparse.Namespace) -> None:
    """Build the run and train, and test where the config has ``test_after_training``."""
    from geochat.engine import build_runner
    from geochat.engine.distributed import close_process_group

    runner = build_runner(
        args.config,
        cfg_options=args.cfg_options,
        work_dir=args.work_dir,
        launcher=args.launcher,
        resume=args.resume,
        amp=args.amp,
    )
    runner.train()
    if runner.cfg.get('test_after_training'):
        runner.test()
    close_process_group()


def main() -> None:
    """Train; what the user can mend is answered with one line and exit code 1, an interruption with 143 or 130."""
    args = parse_args()
    from geochat.installation import InstallationError, check_installation

    try:
        check_installation()
    except InstallationError as error:
        sys.exit(f'error: {error}')
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault('DS_ACCELERATOR', 'cpu')  # otherwise DeepSpeed warns that it found no GPU
    from geochat.datasets import DataError
    from geochat.engine import ConfigError
    from geochat.engine.interruption import TrainingInterrupted
    from geochat.models.weights import WeightsError

    try:
        train(args)
    except TrainingInterrupted as end:
        print(end, file=sys.stderr)
        sys.exit(end.exit_code)
    except (ConfigError, DataError, InstallationError, OSError, WeightsError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
