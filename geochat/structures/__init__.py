"""What flows between the rooms: dialogues, grounded text, questions and answers. Plain values, no torch."""

from geochat.structures.conversation import (
    IGNORE_INDEX,
    IMAGE_PLACEHOLDER,
    IMAGE_TOKEN_INDEX,
    Message,
    Record,
    with_pictures,
)
from geochat.structures.grounded_text import Diagnostic, GroundedText, Phrase
from geochat.structures.question import Answer, ParsedAnswer, Question

__all__ = [
    'IGNORE_INDEX',
    'IMAGE_PLACEHOLDER',
    'IMAGE_TOKEN_INDEX',
    'Answer',
    'Diagnostic',
    'GroundedText',
    'Message',
    'ParsedAnswer',
    'Phrase',
    'Question',
    'Record',
    'with_pictures',
]
