"""A dialogue about pictures, and the marks that stand for pictures and unsupervised tokens."""

from dataclasses import dataclass
from typing import Literal

IMAGE_PLACEHOLDER = '<image>'
"""Where a picture stands in a message's text (LLaVA's data format)."""

IMAGE_TOKEN_INDEX = -200
"""Where a picture stands among token ids, until its features are spliced in (LLaVA's constant)."""

IGNORE_INDEX = -100
"""Label of a token that carries no loss (PyTorch's default ``ignore_index``)."""


def with_pictures(text: str, count: int) -> str:
    """Put a message's pictures before its words, where the model has seen them in training."""
    return f'{IMAGE_PLACEHOLDER}\n' * count + text


@dataclass(frozen=True)
class Message:
    """What one side says in one turn."""

    role: Literal['user', 'assistant']
    text: str


@dataclass(frozen=True)
class Record:
    """One record of an instruction file.

    Attributes:
        id: The record's name in its file.
        messages: The dialogue, user and assistant in turn, user first.
        images: Names of its pictures, in the order of the image placeholders in the messages; empty if it is text only.
    """

    id: str
    messages: tuple[Message, ...]
    images: tuple[str, ...] = ()
