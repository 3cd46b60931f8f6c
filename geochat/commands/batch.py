"""``geochat batch QUESTIONS --out ANSWERS``: answer a file of questions, going on where an earlier run ended."""

import argparse
import sys
from typing import TYPE_CHECKING, NoReturn

from geochat.commands.asking import BATCH_SIZE, add_model_arguments, build_inferencer

if TYPE_CHECKING:
    from geochat.apis.batch import BatchSummary

DESCRIPTION = 'Answer a file of questions. Called again after an interruption, it goes on.'

SHOWN_ERRORS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument('questions', help='JSON lines with "image", and "text", "question", "phrase", ...')
    parser.add_argument('--out', required=True, metavar='FILE', help='where the answers are written, a line each')
    parser.add_argument('--images', default='.', metavar='DIR', help='folder that names of pictures are relative to')
    parser.add_argument(
        '--batch-size',
        type=int,
        default=BATCH_SIZE,
        metavar='N',
        help='answers written or asked of a server at a time (%(default)s)',
    )
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Answer the questions, and tell what became of them; exit code 1 if some could not be answered."""
    from geochat.apis.batch import answer_file, read_questions
    from geochat.engine import ConfigError

    if args.batch_size < 1:
        raise ConfigError(f'--batch-size is at least 1, not {args.batch_size}')
    read_questions(args.questions)  # a slip in the file is told before the model is loaded
    try:
        summary = answer_file(build_inferencer(args, args.batch_size), args.questions, args.out, args.images)
    except KeyboardInterrupt:
        print('interrupted: the same command goes on from here', file=sys.stderr)
        sys.exit(130)
    print(
        f'{summary.answered} answers in {args.out}, {summary.taken_over} of them of an earlier run, '
        f'{summary.malformed} malformed'
    )
    if summary.errors:
        _tell_errors(summary, args.out)


def _tell_errors(summary: 'BatchSummary', out: str) -> NoReturn:
    """Tell why some questions have no answer, and end so that a script sees it."""
    for name, error in list(summary.errors.items())[:SHOWN_ERRORS]:
        print(f'  {name}: {error}')
    if len(summary.errors) > SHOWN_ERRORS:
        print(f'  and {len(summary.errors) - SHOWN_ERRORS} more')
    sys.stdout.flush()  # what follows is the last line wherever both streams go to one file
    total = summary.answered + len(summary.errors)
    sys.exit(
        f'error: {len(summary.errors)} of {total} questions could not be answered; "error" in their lines of {out} '
        'says why, and the same command asks them again'
    )
