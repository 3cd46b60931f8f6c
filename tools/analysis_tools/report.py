"""Write a run's report: ``python tools/analysis_tools/report.py RUN_DIR`` gives one page of HTML to look at."""

import argparse

from geochat.command_line import add_config_options, run_tool


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Write the report of a test as one page of HTML: tables, plots, and the best and worst answers.'
    )
    parser.add_argument('run_dir', metavar='RUN_DIR', help='work directory of a test, with its predictions.jsonl')
    parser.add_argument('--output', metavar='FILE', help='the page; RUN_DIR/report.html if not given')
    parser.add_argument(
        '--config', help='config that says where the pictures are; the one in run_card.json if not given'
    )
    parser.add_argument(
        '--cases', type=int, default=4, metavar='N', help='best and worst answers shown of each benchmark (4)'
    )
    add_config_options(parser)
    args = parser.parse_args()
    if args.cases < 0:
        parser.error(f'--cases is 0 or more, not {args.cases}')
    if args.cfg_options and not args.config:
        parser.error('--cfg-options changes the config that --config names')
    return args


def report(args: argparse.Namespace) -> None:
    """Write the page, and say where it is and what is missing in it."""
    from geochat.engine.config import load_config
    from geochat.engine.report import write_report

    config = load_config(args.config, args.cfg_options).to_dict() if args.config else None
    path, notes = write_report(args.run_dir, args.output, config, args.cases, lambda name: print(f'{name} ...'))
    for note in notes:
        print(f'note: {note}')
    print(f'written: {path} ({path.stat().st_size / 1e6:.1f} MB)')


def main() -> None:
    """Report."""
    args = parse_args()
    run_tool(lambda: report(args))


if __name__ == '__main__':
    main()
