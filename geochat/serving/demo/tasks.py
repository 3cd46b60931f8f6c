"""The tasks that the page has buttons for, and what their words mean to a user."""

from dataclasses import dataclass
from typing import Any

from geochat.apis import InputError
from geochat.datasets.scenes.layout import BACKGROUNDS


@dataclass(frozen=True)
class Task:
    """A task on the page.

    Attributes:
        title: Its button.
        label: What the text field is for.
        hint: What stands in the field while it is empty.
        words: What is put into an empty field.
        takes_words: False if nothing can be typed.
        has_boxes: True if its answers are boxes, which are then kept well formed.
    """

    title: str
    label: str
    hint: str
    words: str = ''
    takes_words: bool = True
    has_boxes: bool = False


TASKS = {
    'chat': Task('Chat', 'Message', 'Say anything about the picture'),
    'vqa': Task('Short answer', 'Question', 'How many ships are there?'),
    'scene': Task('Scene', 'Classes, with commas between them', 'harbor, airport, forest', ', '.join(BACKGROUNDS)),
    'refer': Task('Refer', 'What to look for', 'the red ship', has_boxes=True),
    'identify': Task('Identify', 'Box', 'Draw a box on the picture', takes_words=False),
    'grounding': Task(
        'Describe with boxes', 'Phrase (optional)', 'Leave it empty for a description of all', has_boxes=True
    ),
}


def query_of(task: str, words: str, box: list[float] | None) -> dict[str, Any]:
    """Return a task's query of what the user typed and drew.

    Raises:
        InputError: If something is missing.
    """
    words = words.strip()
    if task == 'identify':
        if box is None:
            raise InputError('draw a box on the picture first')
        return {'boxes': box}
    if task == 'grounding':
        return {'phrase': words} if words else {}
    if not words:
        raise InputError(f'the field "{TASKS[task].label}" is empty')
    if task == 'scene':
        return {'classes': [name.strip() for name in words.split(',') if name.strip()]}
    return {{'chat': 'text', 'vqa': 'question', 'refer': 'phrase'}[task]: words}
