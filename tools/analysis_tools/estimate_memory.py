"""Tell how much memory a training takes on each GPU: ``python tools/analysis_tools/estimate_memory.py CONFIG``."""

import argparse

from geochat.command_line import add_config_options, choose_accelerator, run_tool


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Tell how much memory a training takes on each GPU, from its config; no GPU is needed.'
    )
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='Python config, such as configs/geochat_7b.py')
    parser.add_argument('--gpus', type=int, nargs='+', default=[1], help='numbers of GPUs, a row for each (1)')
    parser.add_argument('--text-tokens', type=int, default=256, help='tokens of text of a record, padded (256)')
    parser.add_argument('--supervised-tokens', type=int, default=64, help='how many of them carry loss (64)')
    add_config_options(parser)
    return parser.parse_args()


def estimate(args: argparse.Namespace) -> None:
    """Print a table with a row for each config and number of GPUs."""
    choose_accelerator()
    from geochat.engine import load_config
    from geochat.engine.memory import memory_table

    configs = {path: load_config(path, args.cfg_options) for path in args.configs}
    print(memory_table(configs, args.gpus, args.text_tokens, args.supervised_tokens))


def main() -> None:
    """Estimate."""
    args = parse_args()
    run_tool(lambda: estimate(args))


if __name__ == '__main__':
    main()
