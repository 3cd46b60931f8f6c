"""``geochat chat IMAGE``: a dialogue about a picture."""

import argparse
import contextlib
from typing import TYPE_CHECKING

from geochat.commands.ask import box_of, details, save_drawing
from geochat.commands.asking import add_model_arguments, build_inferencer

if TYPE_CHECKING:
    from geochat.apis import Dialogue
    from geochat.apis.interpreter import Query

DESCRIPTION = 'Talk about a picture.'

HELP = """\
/TASK WORDS  ask by a task: {tasks}
             (a box by its numbers, as for geochat ask --box; classes with commas between them)
/undo        forget the last turn
/clear       forget all that was said
/draw FILE   write the picture with the boxes of the last answer
/quit        end, as Ctrl-D does"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument('images', nargs='+', metavar='image', help='file of the picture; boxes lie on the first')
    parser.add_argument(
        '--compile', action='store_true', help='compile what a token takes; the first answer waits for that'
    )
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Talk until the user ends it."""
    inferencer = build_inferencer(args, compile=args.compile)
    dialogue = inferencer.chat(args.images)
    print('Say something about the picture; /help lists what else there is.')
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while take_turn(dialogue, input('> ').strip()):
            pass


def take_turn(dialogue: 'Dialogue', line: str) -> bool:
    """Do what a line says; return False if it ends the dialogue."""
    from geochat.apis import InputError

    command, _, rest = line[1:].partition(' ') if line.startswith('/') else ('', '', line)
    if command == 'quit':
        return False
    try:
        if command == 'help':
            print(HELP.format(tasks=', '.join(dialogue.inferencer.tasks)))
        elif command == 'undo':
            dialogue.undo()
        elif command == 'clear':
            dialogue.clear()
        elif command == 'draw':
            _draw(dialogue, rest.strip())
        elif line:
            _say(dialogue, command or 'chat', rest.strip())
    except (InputError, OSError) as error:  # the dialogue goes on
        print(f'error: {error}')
    except KeyboardInterrupt:
        print('\n(given up)')
    return True


def _say(dialogue: 'Dialogue', task: str, words: str) -> None:
    for piece in dialogue.stream(_query(dialogue, task, words), task):
        print(piece, end='', flush=True)
    print()
    for line in details(dialogue.predictions[-1]):
        print(line)


def _query(dialogue: 'Dialogue', task: str, words: str) -> 'Query':
    """Return the query of words, which name classes or are the numbers of a box if the task asks about such."""
    prompts = dialogue.inferencer.assistant.task_prompts
    forms = prompts[task].forms if task in prompts else ()
    if words and frozenset({'classes'}) in forms:
        return {'classes': [name.strip() for name in words.split(',')]}
    if words and frozenset({'boxes'}) in forms:
        with contextlib.suppress(ValueError):  # other words may hold a box in the model's language
            return {'boxes': box_of([float(number) for number in words.replace(',', ' ').split()])}
    return words or {}


def _draw(dialogue: 'Dialogue', path: str) -> None:
    from geochat.apis import InputError

    if not dialogue.predictions:
        raise InputError('there is no answer yet')
    if not path:
        raise InputError('/draw needs the name of a file')
    save_drawing(dialogue.predictions[-1], path)
