"""Records of the LLaVA format, as GeoChat_Instruct has them: checked, and their image tokens brought into place."""

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

from geochat.prompts.chat import check_turns
from geochat.structures import IMAGE_PLACEHOLDER, Message, Record

ROLES = {'human': 'user', 'gpt': 'assistant'}
"""Who speaks, in the data's words and in ours."""

_TASK_MARK = re.compile(r'\s*(\[\w+\])')
_LETTERS_AND_SPACES = (string.ascii_letters + string.whitespace).encode()


def parse_record(value: Any, fallback_id: str) -> Record:
    """Check a record and bring its image placeholders into place.

    ``{"id": ..., "image": NAME or list of names, "conversations": [{"from": "human" | "gpt", "value": TEXT}, ...]}``. A
    turn's only placeholder is moved to its front, on a line of its own, as the original does; several stay where they
    are.

    Args:
        value: What stands in the file.
        fallback_id: Name of a record without an id.

    Raises:
        ValueError: If it is not such a record; the message says what is wrong.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f'a record is an object, not {type(value).__name__}')
    turns = value.get('conversations')
    if not isinstance(turns, list) or not turns:
        raise ValueError("there is no 'conversations', or it is empty")
    messages = tuple(_parse_turn(turn, number) for number, turn in enumerate(turns, 1))
    check_turns(messages)
    for number, message in enumerate(messages, 1):
        if message.role == 'assistant' and not message.text.strip():
            raise ValueError(f'turn {number} is an answer without a word')
    if messages[-1].role == 'user':
        raise ValueError('the last turn is a question that has no answer')
    images = _image_names(value.get('image'))
    _check_placeholders(messages, len(images))
    return Record(str(value.get('id', fallback_id)), messages, images)


def estimate_length(messages: Sequence[Message]) -> int:
    """Estimate how many tokens a dialogue has, without a tokenizer and quickly.

    A token is taken for four letters, or for one character of anything else but spaces (Llama's pieces split numbers
    into digits). Good enough to tell long records from short ones.

    Raises:
        UnicodeEncodeError: If the text has half of a surrogate pair, which no tokenizer takes.
    """
    text = ''.join(message.text for message in messages).encode('utf-8')
    others = len(text.translate(None, _LETTERS_AND_SPACES))
    letters = len(text) - others
    return others + letters // 4


def task_tag(messages: Sequence[Message]) -> str:
    """Return the task mark that a dialogue begins with, such as ``[refer]``; empty if there is none."""
    mark = _TASK_MARK.match(messages[0].text.replace(IMAGE_PLACEHOLDER, ''))
    return mark[1] if mark else ''


def _parse_turn(turn: Any, number: int) -> Message:
    if not isinstance(turn, Mapping) or str(turn.get('from')) not in ROLES or not isinstance(turn.get('value'), str):
        raise ValueError(f'turn {number} needs "from" ("human" or "gpt") and "value" (a text)')
    text = turn['value']
    if text.count(IMAGE_PLACEHOLDER) == 1:
        text = f'{IMAGE_PLACEHOLDER}\n{text.replace(IMAGE_PLACEHOLDER, "").strip()}'.strip()
    return Message(ROLES[turn['from']], text)


def _image_names(value: Any) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value] if value else []
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f"'image' is the name of a picture or a list of names, not {value!r}")
    return tuple(names)


def _check_placeholders(messages: Sequence[Message], num_images: int) -> None:
    for number, message in enumerate(messages, 1):
        if message.role == 'assistant' and IMAGE_PLACEHOLDER in message.text:
            raise ValueError(f'turn {number} is an answer and has an image token {IMAGE_PLACEHOLDER}')
    placeholders = sum(message.text.count(IMAGE_PLACEHOLDER) for message in messages)
    if placeholders > num_images:
        raise ValueError(f'an image token without a picture: {placeholders} tokens, {num_images} pictures')
    if placeholders < num_images:
        raise ValueError(f'a picture without an image token: {num_images} pictures, {placeholders} tokens')
