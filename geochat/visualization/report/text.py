"""A model's words made safe to show."""

import html
import re

_UNSHOWABLE = re.compile(r'[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]')
"""Control characters and halves of surrogate pairs, which no page may hold."""


def plain(text: str) -> str:
    """Return a text with a mark in place of each character that a page may not hold."""
    return _UNSHOWABLE.sub('\ufffd', text)


def escaped(value: object, longest: int | None = None) -> str:
    """Return a value as HTML text that is read as words whatever it holds.

    Args:
        value: Anything; it is shown as ``str`` gives it.
        longest: Most characters; what is longer ends in an ellipsis. None cuts nothing.
    """
    text = plain(str(value))
    if longest is not None and len(text) > longest:
        text = f'{text[: longest - 1]}\u2026'
    return html.escape(text)
