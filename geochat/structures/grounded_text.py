"""Text with the boxes and phrases that a box codec found in it."""

import re
from dataclasses import dataclass, field

import numpy as np

_TAG = re.compile(r'</?[A-Za-z_]+>|<\|[a-z_]+\|>|```(?:json)?')


@dataclass(frozen=True)
class Diagnostic:
    """Something in a model's text that did not read as a well-formed box.

    Attributes:
        code: Row of the codec's policy table, such as ``'wrong_count'`` or ``'degenerate'``.
        span: Characters ``[start, end)`` of the text that it speaks of.
        message: What is wrong, for a person.
        left_out: True if the span is a box that could not be read; False if it was read in spite of what is wrong.
    """

    code: str
    span: tuple[int, int]
    message: str
    left_out: bool = False


@dataclass(frozen=True)
class Phrase:
    """A phrase marked in the text and the boxes that follow it.

    Attributes:
        text: The phrase, without its marks.
        span: Characters ``[start, end)`` of the phrase, without its marks.
        box_indices: Rows of :attr:`GroundedText.boxes` that belong to it.
    """

    text: str
    span: tuple[int, int]
    box_indices: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class GroundedText:
    """A text and what was read from it.

    Attributes:
        text: The text as it was given.
        boxes: float64 array (N, 5): cx, cy, w, h in pixels of the original image, angle in radians, clockwise on
            screen (y down).
        spans: int64 array (N, 2): the characters ``[start, end)`` that each box was read from.
        phrases: Phrases in the order of the text.
        diagnostics: What was malformed, in the order of the text.
    """

    text: str
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 5)))
    spans: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))
    phrases: tuple[Phrase, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def words(self) -> str:
        """The text without boxes, readable or not, without marks such as ``<p>``, and without the brackets of lists."""
        kept, end = [], 0
        unread = [diagnostic.span for diagnostic in self.diagnostics if diagnostic.left_out]
        for start, stop in sorted([*map(tuple, self.spans.tolist()), *unread]):
            kept.append(self.text[end:start])
            end = max(end, stop)
        pieces = [_TAG.sub(' ', piece) for piece in (*kept, self.text[end:])]
        text = ' '.join(_without_brackets(pieces)).split()
        return re.sub(r' (?=[.,;:!?])', '', ' '.join(text))


def _without_brackets(pieces: list[str]) -> list[str]:
    """Return the pieces of a text between boxes without the brackets around boxes and what parts those of a list."""
    pieces = [pieces[0], *(piece.lstrip('] \t\n') for piece in pieces[1:])]
    pieces = [*(piece.rstrip('[ \t\n') for piece in pieces[:-1]), pieces[-1]]
    pieces[1:-1] = ['' if not piece.strip('[], \t\n') else piece for piece in pieces[1:-1]]
    return pieces
