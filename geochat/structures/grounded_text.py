"""Text with the boxes and phrases that a box codec found in it."""

import re
from collections.abc import Mapping
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
    def box_labels(self) -> tuple[str, ...]:
        """The phrase that each box belongs to; empty for a box without one."""
        labels = [''] * len(self.boxes)
        for phrase in self.phrases:
            for index in phrase.box_indices:
                labels[index] = phrase.text
        return tuple(labels)

    @property
    def words(self) -> str:
        """The text without boxes, readable or not, without marks such as ``<p>``, and without the brackets of lists."""
        return _words([self.text[start:stop] for start, stop in self._between_boxes()])

    @property
    def pieces(self) -> list[tuple[str, Phrase | None]]:
        """The words cut at the ends of phrases: each piece with its phrase, None for the words between phrases."""
        between = self._between_boxes()
        phrases = [phrase for phrase in self.phrases if self._is_in_words(phrase, between)]
        # Two characters that the text does not have mark the phrases while it becomes words.
        unused = (c for c in map(chr, range(0xE000, 0xE000 + len(set(self.text)) + 2)) if c not in self.text)
        opening, closing = next(unused), next(unused)
        marks: dict[int, str] = {}
        for phrase in phrases:
            start, stop = phrase.span
            marks[start] = marks.get(start, '') + opening
            marks[stop] = closing + marks.get(stop, '')
        marked = _words([self._with_marks(start, stop, marks) for start, stop in between])
        before, *parts = re.split(f'{opening}|{closing}', re.sub(f'({opening}) +| +({closing})', r'\1\2', marked))
        pieces = [(before, None)]
        for phrase, inside, after in zip(phrases, parts[::2], parts[1::2], strict=True):
            pieces += [(inside, phrase), (after, None)]
        return [(text, phrase) for text, phrase in pieces if text]

    def _between_boxes(self) -> list[tuple[int, int]]:
        """Return the characters ``[start, end)`` before, between and after the boxes, readable or not."""
        unread = [diagnostic.span for diagnostic in self.diagnostics if diagnostic.left_out]
        between, end = [], 0
        for start, stop in sorted([*map(tuple, self.spans.tolist()), *unread]):
            between.append((end, start))
            end = max(end, stop)
        return [*between, (end, len(self.text))]

    def _is_in_words(self, phrase: Phrase, between: list[tuple[int, int]]) -> bool:
        start, stop = phrase.span
        return any(low <= start < stop <= high for low, high in between) and bool(_words([self.text[start:stop]]))

    def _with_marks(self, start: int, stop: int, marks: Mapping[int, str]) -> str:
        pieces, end = [], start
        for place in sorted(place for place in marks if start <= place <= stop):
            pieces += [self.text[end:place], marks[place]]
            end = place
        return ''.join([*pieces, self.text[end:stop]])


def _words(between: list[str]) -> str:
    """Return the words of a text of which the pieces between boxes are given."""
    text = ' '.join(_without_brackets([_TAG.sub(' ', piece) for piece in between])).split()
    return re.sub(r' (?=[.,;:!?])', '', ' '.join(text))


def _without_brackets(pieces: list[str]) -> list[str]:
    """Return the pieces of a text between boxes without the brackets around boxes and what parts those of a list."""
    pieces = [pieces[0], *(piece.lstrip('] \t\n') for piece in pieces[1:])]
    pieces = [*(piece.rstrip('[ \t\n') for piece in pieces[:-1]), pieces[-1]]
    pieces[1:-1] = ['' if not piece.strip('[], \t\n') else piece for piece in pieces[1:-1]]
    return pieces
