"""Test a model, or score its answers again: ``python tools/test.py CONFIG CHECKPOINT``."""

import argparse

from geochat.command_line import choose_accelerator, run_parser, run_tool


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = run_parser('Run the benchmarks of a config. With --predictions nothing is written without --work-dir.')
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('checkpoint', nargs='?', help='weights: a model folder, or a .pth, .bin or .safetensors file')
    what.add_argument(
        '--predictions', metavar='FILE', help='score the answers of this predictions.jsonl again, without a model'
    )
    parser.add_argument('--benchmarks', nargs='+', metavar='NAME', help='which benchmarks; all if not given')
    return parser.parse_args()


def test(args: argparse.Namespace) -> None:
    """Let the model answer, and score the answers."""
    choose_accelerator()
    from geochat.engine import build_runner, parse_options
    from geochat.engine.distributed import close_process_group

    options = parse_options(args.cfg_options)
    if args.benchmarks:
        options['test_cfg.names'] = args.benchmarks
    runner = build_runner(
        args.config,
        cfg_options=options,
        work_dir=args.work_dir,
        launcher=args.launcher,
        load_from=args.checkpoint,
        training=False,
    )
    runner.test()
    close_process_group()


def score(args: argparse.Namespace) -> None:
    """Score answers of an earlier run."""
    from geochat.engine.benchmark import score_predictions, score_table

    scored = score_predictions(args.config, args.predictions, args.cfg_options, args.benchmarks, args.work_dir)
    print(score_table(*scored))


def main() -> None:
    """Test or score."""
    args = parse_args()
    run_tool(lambda: score(args) if args.predictions else test(args))


if __name__ == '__main__':
    main()
