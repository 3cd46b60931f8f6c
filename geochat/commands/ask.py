"""``geochat ask IMAGE QUESTION``: ask one question about a picture."""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geochat.commands.asking import add_model_arguments, build_inferencer, picture_settings

if TYPE_CHECKING:
    from geochat.apis import Prediction

DESCRIPTION = 'Ask a question about a picture.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument('image', help='file of the picture')
    parser.add_argument('words', nargs='?', metavar='question', help='the question, or the phrase to look for')
    parser.add_argument(
        '--task',
        help='vqa (a short answer), refer (boxes of a phrase), grounding (a description with boxes), caption, '
        "identify, scene, or chat (your own words); else what the arguments tell, 'vqa' for a question",
    )
    parser.add_argument('--classes', nargs='+', metavar='NAME', help='classes to choose from, for the task scene')
    parser.add_argument(
        '--box',
        nargs='+',
        type=float,
        metavar='NUMBER',
        help='box to identify, in pixels: left, top, right, bottom; or cx, cy, w, h and degrees clockwise',
    )
    parser.add_argument('--json', action='store_true', help='print all that is known of the answer as JSON')
    parser.add_argument('--draw', metavar='FILE', help='write the picture with the boxes')
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Ask, and print the answer."""
    from geochat.apis import InputError, read_picture

    task, question = question_of(args)
    # Before the model is loaded, which may take minutes.
    picture = read_picture(args.image, picture_settings(args))
    if args.draw and not Path(args.draw).parent.is_dir():
        raise InputError(f'{args.draw} cannot be written: there is no folder {str(Path(args.draw).parent)!r}')
    [answer] = build_inferencer(args)(picture, [question], task)
    print(json.dumps(answer.to_dict(), ensure_ascii=False, indent=2) if args.json else told(answer))
    if args.draw:
        save_drawing(answer, args.draw)


def question_of(args: argparse.Namespace) -> tuple[str, Any]:
    """Return task and query of the arguments.

    Raises:
        geochat.apis.InputError: If there is nothing to ask.
    """
    from geochat.apis import InputError

    if args.classes:
        return args.task or 'scene', {'classes': args.classes}
    if args.box:
        if len(args.box) not in (4, 5):
            raise InputError(f'--box has 4 or 5 numbers, not {len(args.box)}')
        return args.task or 'identify', {'boxes': box_of(args.box)}
    if args.words is not None:
        return args.task or 'vqa', args.words
    if not args.task:
        raise InputError('say what to ask: a question, --classes, --box or --task')
    return args.task, {}


def box_of(numbers: Sequence[float]) -> list[float]:
    """Return the box of numbers that a user typed, whose angle is in degrees."""
    return [*numbers[:4], *map(math.radians, numbers[4:])]


def told(answer: 'Prediction') -> str:
    """Return an answer for people: its words, and what :func:`details` tells."""
    words = answer.text if answer.grounded is not None and answer.text else answer.answer
    return '\n'.join([words, *details(answer)])


def details(answer: 'Prediction') -> list[str]:
    """Return a line a box of an answer, and one if it was cut off."""
    lines = []
    confidences = answer.box_confidences or [None] * len(answer.boxes)
    for (x, y, width, height, angle), label, sure in zip(answer.boxes, answer.labels, confidences, strict=True):
        place = f'({x:.0f}, {y:.0f}) {width:.0f} x {height:.0f} at {math.degrees(angle):.0f} degrees'
        lines.append(' | '.join([place, *([] if sure is None else [f'{sure:.2f}']), label]))
    if answer.finish == 'length':
        lines.append('(cut off: --max-new-tokens allows no more)')
    return lines


def save_drawing(answer: 'Prediction', path: str) -> None:
    """Write the picture with the boxes.

    Raises:
        geochat.engine.files.WriteError: If it cannot be written, or its name has an unknown ending.
    """
    from geochat.engine.files import written

    with written(Path(path)):
        answer.draw().save(path)
