"""Tell what a box language costs: ``python tools/analysis_tools/codec_ceiling.py CONFIG --benchmarks NAME``."""

import argparse
import json
import sys
from pathlib import Path

from geochat.command_line import add_config_options, run_tool


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Write the true boxes of benchmarks in box languages, read them back and score them as answers: '
        'what a model scores that knows every box. No model is needed.'
    )
    parser.add_argument('config', metavar='CONFIG', help='Python config, such as configs/geochat_7b.py')
    parser.add_argument('--benchmarks', nargs='+', required=True, metavar='NAME', help='benchmarks with true boxes')
    parser.add_argument('--codecs', nargs='+', metavar='NAME', help='names of box codecs, such as geochat; all if none')
    parser.add_argument('--json', metavar='FILE', help='also write the figures to this file')
    add_config_options(parser)
    return parser.parse_args()


def ceiling(args: argparse.Namespace) -> None:
    """Print the table."""
    from geochat.engine.benchmark import build_benchmarks
    from geochat.engine.codec_ceiling import ceiling_table, ceilings, codec_names
    from geochat.engine.config import load_config
    from geochat.engine.files import replace_text

    cfg = load_config(args.config, args.cfg_options)
    benchmarks = build_benchmarks(cfg.get('benchmarks') or {}, cfg.task_prompts, cfg.box_codec, args.benchmarks)
    figures = ceilings(benchmarks, args.codecs or codec_names(), lambda words: print(words, file=sys.stderr))
    print(ceiling_table(figures))
    if args.json:
        replace_text(Path(args.json), json.dumps(figures, indent=2))


def main() -> None:
    """Tell."""
    args = parse_args()
    run_tool(lambda: ceiling(args))


if __name__ == '__main__':
    main()
