"""The text of an answer while it is being written: what is settled of it, and where it is to stop."""

import re
from collections.abc import Sequence
from typing import Any

DAMAGED = '\ufffd'
"""What the first bytes of a character are decoded as before its last has come."""


class AnswerText:
    """Reads an answer's tokens as they come.

    Args:
        tokenizer: The tokenizer that decodes them.
        stop: Texts that end the answer; they are no part of it.
        box: Regular expression of a box that ends the answer and is part of it; None for no such box.

    Attributes:
        end: How many characters of the text are the answer, once it was stopped; None before.
        stopped_by: ``'stop'`` or ``'box'``, once it was stopped; None before.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = (), box: str | None = None):
        self.tokenizer, self.stop, self.box = tokenizer, tuple(stop), box
        self.end: int | None = None
        self.stopped_by: str | None = None
        self._text = ''
        self._seen = self._read = self._context = self._taken = 0

    def read(self, ids: Sequence[int]) -> None:
        """Read the tokens that have come since, all of the answer being given."""
        # One that did not complete a character is not looked at again: there may be hundreds, or some that say nothing.
        for count in range(self._seen + 1, len(ids) + 1):
            if self.end is None:
                self._read_to(ids, count)
        self._seen = len(ids)

    def _read_to(self, ids: Sequence[int], count: int) -> None:
        # A token's characters depend on the one before it (a space at the beginning), and on no others.
        before = self._decode(ids[self._context : self._read])
        now = self._decode(ids[self._context : count])
        if now.endswith(DAMAGED) or len(now) <= len(before):
            return
        old, self._text = len(self._text), self._text + now[len(before) :]
        self._context, self._read = self._read, count
        self._find_end(old)

    def _decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def _find_end(self, old: int) -> None:
        ends = []
        for stop in self.stop:
            place = self._text.find(stop, max(0, old - len(stop) + 1))
            if place >= 0:
                ends.append((place, 'stop'))
        match = re.search(self.box, self._text) if self.box is not None else None
        if match:
            ends.append((match.end(), 'box'))
        if ends:
            self.end, self.stopped_by = min(ends)

    def take(self, ids: Sequence[int], ended: bool) -> str:
        """Return what is settled of the text and was not taken before.

        Args:
            ids: All tokens of the answer.
            ended: True if nothing more comes; until then, what a stop may take back is held back, and white space at
                the end.
        """
        self.read(ids)
        if self.end is not None:
            text = self._text[: self.end]
        else:
            text = self._decode(ids) if ended else self._text[: len(self._text) - self._held_back(self._text)]
        text = text.rstrip()
        self._taken = max(self._taken, len(text) - len(text.lstrip()))
        piece, self._taken = text[self._taken :], max(self._taken, len(text))
        return piece

    def _held_back(self, text: str) -> int:
        """How many characters at the end of a text a stop may begin with."""
        longest = max(map(len, self.stop), default=1) - 1
        sizes = range(min(longest, len(text)), 0, -1)
        return next((size for size in sizes if any(stop.startswith(text[-size:]) for stop in self.stop)), 0)

    def finished(self, ids: Sequence[int]) -> str:
        """Return the whole text of an answer that has ended, without white space around it."""
        return (self._decode(ids) if self.end is None else self._text[: self.end]).strip()
