"""``geochat train CONFIG``: train a model, and test it if the config says so."""

import argparse

from geochat.command_line import add_run_arguments, choose_accelerator

DESCRIPTION = 'Train a model from a config.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_run_arguments(parser)
    parser.add_argument('--resume', action='store_true', help='go on from the latest checkpoint of the work directory')
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision (bfloat16)')


def run(args: argparse.Namespace) -> None:
    """Build the run and train, and test where the config has ``test_after_training``."""
    choose_accelerator()
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
