"""``geochat test CONFIG CHECKPOINT``: test a model, score its answers again, or list the benchmarks."""

import argparse
import sys

from geochat.command_line import add_run_arguments, choose_accelerator
from geochat.commands.asking import add_backend_arguments, backend_settings

DESCRIPTION = 'Run the benchmarks of a config. With --predictions nothing is written without --work-dir.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_run_arguments(parser)
    parser.add_argument('checkpoint', nargs='?', help='weights: a model folder, or a .pth, .bin or .safetensors file')
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        '--predictions', metavar='FILE', help='score the answers of this predictions.jsonl again, without a model'
    )
    what.add_argument(
        '--list-benchmarks', action='store_true', help='print the benchmarks of the config, and whether they are here'
    )
    add_backend_arguments(parser.add_argument_group('server'), what)
    parser.add_argument(
        '--benchmarks',
        nargs='+',
        metavar='NAME',
        help='which benchmarks; "all" is all whose files are here, as if none is named here or in the config',
    )


def run(args: argparse.Namespace) -> None:
    """Test, score or list.

    Raises:
        geochat.engine.ConfigError: If nothing says whose answers these are, or more than one argument does.
    """
    from geochat.engine import ConfigError

    if bool(args.checkpoint) == bool(args.predictions or args.list_benchmarks or args.backend):
        raise ConfigError('name one of: a checkpoint, --predictions FILE, --list-benchmarks, --backend openai')
    if args.list_benchmarks:
        list_benchmarks(args)
    elif args.predictions:
        score(args)
    else:
        test(args)


def test(args: argparse.Namespace) -> None:
    """Let the model answer, and score the answers."""
    choose_accelerator()
    from geochat.engine import build_runner, parse_options
    from geochat.engine.distributed import close_process_group

    options = parse_options(args.cfg_options)
    if backend := backend_settings(args):
        options['test_cfg.backend'] = {key: value for key, value in backend.items() if value is not None}
    if args.benchmarks:
        options['test_cfg.names'] = chosen_names(args)
    runner = build_runner(
        args.config,
        cfg_options=options,
        work_dir=args.work_dir,
        launcher=args.launcher,
        load_from=args.checkpoint,
        training=False,
    )
    try:
        runner.test()
    except KeyboardInterrupt:
        print(f'\nThe answers so far are in {runner.work_dir}; the same command goes on from there', file=sys.stderr)
        sys.exit(130)
    close_process_group()


def score(args: argparse.Namespace) -> None:
    """Score answers of an earlier run."""
    from geochat.engine.results import score_table
    from geochat.engine.scoring import score_predictions

    results = score_predictions(
        args.predictions, args.config, args.cfg_options, chosen_names(args), work_dir=args.work_dir
    )
    print(score_table(results))


def list_benchmarks(args: argparse.Namespace) -> None:
    """Print what benchmarks the config has."""
    from geochat.engine import load_config
    from geochat.engine.benchmark_list import benchmark_table

    print(benchmark_table(load_config(args.config, args.cfg_options), chosen_names(args)))


def chosen_names(args: argparse.Namespace) -> list[str] | None:
    """Return the benchmarks that are named; None for all."""
    return None if args.benchmarks in (None, ['all']) else args.benchmarks
