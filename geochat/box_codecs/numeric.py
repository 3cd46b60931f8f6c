"""What box languages of numbers have in common: boxes found, checked and put on the picture, phrases and labels."""

import re
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest

import numpy as np

from geochat.box_codecs.base import BoxCodec, check_boxes, check_image_size
from geochat.box_codecs.grids import Grid
from geochat.box_codecs.policy import READ_ALL_THE_SAME, UNCLOSED_PHRASE, Finding, left_out, read_numbers
from geochat.box_codecs.shapes import Shape
from geochat.structures import Diagnostic, GroundedText, Phrase

Span = tuple[int, int]


@dataclass(frozen=True)
class Candidate:
    """A box of a text, or an attempt at one.

    Attributes:
        span: Its characters ``[start, end)``.
        fields: What stands where numbers should, without white space around it.
        broken: Why it cannot be read even if its fields are in order: ``'unclosed'``, ``'syntax'``, or None.
        odd: Codes of what is wrong with it although it can be read.
        label: Characters of its label, for languages that write labels without phrase marks.
    """

    span: Span
    fields: Sequence[str]
    broken: str | None = None
    odd: tuple[str, ...] = ()
    label: Span | None = None


class NumericBoxCodec(BoxCodec):
    """A box language whose boxes are numbers on a grid.

    A language says how a box of numbers is written (:attr:`first`, :attr:`between`, :attr:`last`) and finds the boxes
    of a text (:meth:`candidates`). Numbers, malformed boxes, phrases and labels are the same for all.

    Args:
        grid: How the numbers lie on the picture.
        shape: Which numbers a box has.

    Attributes:
        first: What is written before the first number of a box.
        between: What is written between two numbers.
        last: What is written after the last number.
        joint: What is written between two boxes.
        list_marks: What is written before and after a list of boxes.
        phrase_joint: What is written between a phrase and its boxes, and before the next phrase.
    """

    first: str
    between: str
    last: str
    joint: str = ''
    list_marks: tuple[str, str] = ('', '')
    phrase_joint: str = ' '

    def __init__(self, grid: Grid, shape: Shape):
        self.grid = grid
        self.shape = shape
        pieces = [escape_pattern(piece) for piece in self.pieces()]
        self.pattern = _alternate(pieces, shape.pattern(grid))

    def pieces(self) -> list[str]:
        """Return what is written around and between the numbers of a box: one more than there are numbers."""
        return [self.first, *[self.between] * (self.shape.written - 1), self.last]

    @abstractmethod
    def candidates(self, text: str) -> Iterable[Candidate]:
        """Find the boxes of a text and what tries to be one, in their order. Takes time in proportion to the text."""

    def encode(self, boxes: np.ndarray, image_size: tuple[int, int], labels: Sequence[str] | None = None) -> str:
        """Write boxes (N, 5), pixels and radians, as text; see :class:`BoxCodec`.

        Raises:
            ValueError: If a box cannot be written, because it is not finite, has a negative side, or lies beyond a
                thousand million steps of the grid; or if there are not as many labels as boxes.
        """
        size = check_image_size(image_size)
        boxes = check_boxes(boxes)
        if labels is not None and len(labels) != len(boxes):
            raise ValueError(f'{len(labels)} labels were given with {len(boxes)} boxes')
        if not len(boxes):
            return ''
        rows = self.shape.to_numbers(boxes, self.grid, size)
        readable = self.grid.within_limit(rows)
        if not readable.all():
            row = int(np.argmin(readable))
            raise ValueError(f'box {row} is too far away for a picture of {image_size}: {boxes[row].tolist()}')
        pieces = self.pieces()
        texts = [_alternate(pieces, self.shape.write(row, self.grid)) for row in rows.tolist()]
        return self.write_list(texts) if labels is None else self.write_labelled(texts, labels)

    def write_list(self, boxes: Sequence[str]) -> str:
        """Write boxes, at least one, one after the other."""
        return self.list_marks[0] + self.joint.join(boxes) + self.list_marks[1]

    def write_labelled(self, boxes: Sequence[str], labels: Sequence[str]) -> str:
        """Write each label before its boxes; neighbours of one label share it."""
        before, after = self.phrase_marks or ('', '')
        groups = groupby(zip(labels, boxes, strict=True), key=lambda pair: pair[0])
        return self.phrase_joint.join(
            f'{before}{label}{after}{self.phrase_joint}{self.write_list([box for _, box in group])}'
            for label, group in groups
        )

    def decode(self, text: str, image_size: tuple[int, int]) -> GroundedText:
        """Read the boxes and phrases of any text; see :class:`BoxCodec`. The policy table has a row a diagnostic."""
        size = check_image_size(image_size)
        rows, spans, labels, diagnostics = [], [], [], []
        for candidate in self.candidates(text):
            numbers, findings = self._read(candidate)
            diagnostics += [Diagnostic(code, candidate.span, words, numbers is None) for code, words in findings]
            if numbers is not None:
                rows.append(numbers)
                spans.append(candidate.span)
                labels.append(candidate.label)
        boxes = self.shape.to_boxes(rows, self.grid, size) if rows else np.zeros((0, 5))
        diagnostics += [
            Diagnostic('degenerate', spans[row], READ_ALL_THE_SAME['degenerate'])
            for row in np.flatnonzero((boxes[:, 2:4] == 0).any(axis=1))
        ]
        spans = np.array(spans, dtype=np.int64).reshape(-1, 2)
        if self.phrase_marks is None:
            phrases, unclosed = self._labels(text, labels), []
        else:
            phrases, unclosed = _read_phrases(text, spans, self.phrase_marks)
        diagnostics = sorted([*diagnostics, *unclosed], key=lambda diagnostic: diagnostic.span)
        return GroundedText(text, boxes, spans, phrases, tuple(diagnostics))

    def precision(self, image_size: tuple[int, int]) -> float:
        """Return the largest rounding error of an edge in pixels; see :class:`BoxCodec`."""
        return self.grid.precision(check_image_size(image_size)) * self.shape.edge_error

    def label_text(self, written: str) -> str:
        """Return a label from the characters that stand for it."""
        return written

    def _read(self, candidate: Candidate) -> tuple[list[float] | None, list[Finding]]:
        if candidate.broken == 'unclosed':
            return None, [left_out('unclosed')]
        numbers, why_not = read_numbers(candidate.fields, self.shape.counts)
        if why_not is None and candidate.broken:
            why_not = left_out(candidate.broken)
        if why_not is not None:
            return None, [why_not]
        numbers, findings = self.shape.check(numbers)
        return numbers, [*((code, READ_ALL_THE_SAME[code]) for code in candidate.odd), *findings]

    def _labels(self, text: str, labels: Sequence[Span | None]) -> tuple[Phrase, ...]:
        """Return the labels of boxes as phrases; neighbours that share the characters of a label are one phrase."""
        groups = groupby(range(len(labels)), key=lambda row: labels[row])
        return tuple(
            Phrase(self.label_text(text[slice(*label)]), label, tuple(rows)) for label, rows in groups if label
        )


def escape_pattern(text: str) -> str:
    """Return the regular expression of a text; spaces stay as they are, for grammars that know no escaped ones."""
    return re.escape(text).replace('\\ ', ' ')


def _alternate(pieces: Iterable[str], numbers: Iterable[str]) -> str:
    return ''.join(part for pair in zip_longest(pieces, numbers, fillvalue='') for part in pair)


def _read_phrases(
    text: str, spans: np.ndarray, phrase_marks: tuple[str, str]
) -> tuple[tuple[Phrase, ...], list[Diagnostic]]:
    """Return the marked phrases, each with the boxes from its mark to the next phrase, and phrases left open."""
    before, after = map(re.escape, phrase_marks)
    marks = list(re.finditer(rf'{before}((?:(?!{before}|{after}).)*)({after})?', text, re.DOTALL))
    closed = [match for match in marks if match[2]]
    bounds = np.searchsorted(spans[:, 0], [match.start() for match in closed] + [len(text)])
    phrases = []
    for index, match in enumerate(closed):
        words = match[1].strip()
        start = match.start(1) + len(match[1]) - len(match[1].lstrip())
        boxes = tuple(range(bounds[index], bounds[index + 1]))
        phrases.append(Phrase(words, (start, start + len(words)), boxes))
    unclosed = [
        Diagnostic('unclosed_phrase', (match.start(), match.start() + len(phrase_marks[0])), UNCLOSED_PHRASE)
        for match in marks
        if not match[2]
    ]
    return tuple(phrases), unclosed
