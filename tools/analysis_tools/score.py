"""Score a file of answers without a model: ``python tools/analysis_tools/score.py PREDICTIONS --benchmark NAME``."""

import argparse
import gc

from geochat.command_line import add_config_options, run_tool


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Score the answers in a file, of a run of tools/test.py or of anyone, without the model.'
    )
    parser.add_argument('predictions', help='JSON lines, or a JSON list; docs/test.md has the form')
    parser.add_argument(
        '--benchmark', nargs='+', metavar='NAME', help='what the answers answer; not needed if the lines say so'
    )
    parser.add_argument(
        '--config',
        help='Python config with the benchmarks; if not given, that of the run card beside the answers, or geochat_7b',
    )
    parser.add_argument(
        '--box-codec', metavar='NAME', help='the box language of the answers; of the config if not given'
    )
    parser.add_argument(
        '--fields',
        nargs='+',
        type=field,
        default=[],
        metavar='FIELD=NAME',
        help='what a field is called here, such as answer=output',
    )
    parser.add_argument(
        '--work-dir', metavar='DIR', help='where predictions.jsonl, metrics.json and run_card.json go, if given'
    )
    add_config_options(parser)
    return parser.parse_args()


def field(text: str) -> tuple[str, str]:
    """Read ``FIELD=NAME``."""
    name, equals, called = text.partition('=')
    if not (name and equals and called):
        raise argparse.ArgumentTypeError(f'FIELD=NAME is needed, not {text!r}')
    return name, called


def score(args: argparse.Namespace) -> None:
    """Score, and print a table."""
    from geochat.engine.config import parse_options
    from geochat.engine.results import score_table
    from geochat.engine.scoring import score_predictions

    options = parse_options(args.cfg_options)
    if args.box_codec:
        options = {'box_codec.type': args.box_codec, **options}
    results = score_predictions(
        args.predictions,
        args.config,
        options,
        args.benchmark,
        dict(args.fields),
        args.work_dir,
    )
    print(score_table(results))


def main() -> None:
    """Score."""
    args = parse_args()
    gc.disable()  # to look for cycles among a hundred thousand small objects takes a tenth of the time; there are none
    try:
        run_tool(lambda: score(args))
    finally:
        gc.enable()


if __name__ == '__main__':
    main()
