"""Test a model, or score its answers again: ``python tools/test.py CONFIG CHECKPOINT``."""

import argparse
import os
import sys


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Run the benchmarks of a config.')
    parser.add_argument('config', help='Python config, such as configs/geochat_tiny.py')
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('checkpoint', nargs='?', help='weights: a model folder, or a .pth, .bin or .safetensors file')
    what.add_argument(
        '--predictions', metavar='FILE', help='score the answers of this predictions.jsonl again, without a model'
    )
    parser.add_argument('--benchmarks', nargs='+', metavar='NAME', help='which benchmarks; all if not given')
    parser.add_argument(
        '--work-dir',
        help='where the results go; if not given, work_dirs/NAME_OF_THE_CONFIG, and nowhere with --predictions',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes were started; pytorch for torchrun',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='changes of the config, such as test_cfg.batch_size=16 box_codec.type=geochat',
    )
    return parser.parse_args()


def test(args: argparse.Namespace) -> None:
    """Let the model answer, and score the answers."""
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault('DS_ACCELERATOR', 'cpu')  # otherwise DeepSpeed warns that it found no GPU
    from geochat.engine import build_runner, parse_options
    from geochat.engine.distributed import close_process_group
    from geochat.models.weights import WeightsError

    options = parse_options(args.cfg_options)
    if args.benchmarks:
        options['test_cfg.names'] = args.benchmarks
    try:
        runner = build_runner(
            args.config,
            cfg_options=options,
            work_dir=args.work_dir,
            launcher=args.launcher,
            load_from=args.checkpoint,
            training=False,
        )
    except WeightsError as error:
        sys.exit(f'error: {error}')
    runner.test()
    close_process_group()


def score(args: argparse.Namespace) -> None:
    """Score answers of an earlier run."""
    from geochat.engine.benchmark import score_predictions, score_table

    scored = score_predictions(args.config, args.predictions, args.cfg_options, args.benchmarks, args.work_dir)
    print(score_table(*scored))


def main() -> None:
    """Test or score; what the user can mend is answered with one line and exit code 1."""
    args = parse_args()
    from geochat.engine import ConfigError
    from geochat.installation import InstallationError, check_installation

    try:
        check_installation()
        score(args) if args.predictions else test(args)
    except (ConfigError, InstallationError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
