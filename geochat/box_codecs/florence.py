"""Box languages of location tokens, ``<loc_0>`` to ``<loc_999>``: Florence-2's boxes, quadrangles and polygons."""

import re
from collections.abc import Iterator, Sequence

from geochat.box_codecs.grids import Grid
from geochat.box_codecs.numeric import Candidate, NumericBoxCodec
from geochat.box_codecs.shapes import Corners, Shape, Upright
from geochat.registry import BOX_CODECS

_RUN = re.compile(r'<loc_[^<>]*>?(?:\s*<loc_[^<>]*>?)*')
_TOKEN = re.compile(r'<loc_([^<>]*)(>?)')
_NOT_A_LABEL = ' \t\r\n.,;:'
_TAGS = re.compile(r'</?(?:poly|s|sep|pad)>')


class FlorenceCodec(NumericBoxCodec):
    """A box language of location tokens: the cell, of a thousand across and a thousand down, that a coordinate lies in.

    A coordinate is rounded down to its cell, and a cell is read as its middle. The text between two runs of tokens is
    the label of the boxes that follow.
    """

    first = '<loc_'
    between = '><loc_'
    last = '>'
    separator = r'\s*'

    def __init__(self, shape: Shape):
        super().__init__(Grid(1000, cells=True, bounded=True), shape)

    def candidates(self, text: str) -> Iterator[Candidate]:
        """Cut every run of tokens into boxes, each with the words before the run as its label."""
        done, label = 0, None
        for run in _RUN.finditer(text):
            # Where there are tags only between two runs, the second has the label of the first.
            label = _label(text, done, run.start()) or (label if text[done : run.start()].strip() else None)
            done = run.end()
            tokens = list(_TOKEN.finditer(run[0]))
            length = self.length(len(tokens))
            for first in range(0, len(tokens), length):
                part = tokens[first : first + length]
                span = (run.start() + part[0].start(), run.start() + part[-1].end())
                is_open = not part[-1][2] or (len(part) < length and done == len(text))
                yield Candidate(
                    span, [token[1].strip() for token in part], 'unclosed' if is_open else None, label=label
                )

    def length(self, tokens: int) -> int:
        """Return how many tokens of a run of so many make a box."""
        return self.shape.written

    def write_labelled(self, boxes: Sequence[str], labels: Sequence[str]) -> str:
        """Write each label right before its boxes; neighbours of one label share it."""
        pieces, last = [], None
        for box, label in zip(boxes, labels, strict=True):
            pieces += [box] if label == last else [label, box]
            last = label
        return ''.join(pieces)


def _label(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Return the words of ``text[start:end]`` after the last tag, without punctuation around them."""
    for tag in _TAGS.finditer(text, start, end):
        if tag.end() < end:
            start = tag.end()
    words = _TAGS.sub('', text[start:end]).rstrip(_NOT_A_LABEL)
    stripped = words.lstrip(_NOT_A_LABEL)
    start += len(words) - len(stripped)
    return (start, start + len(stripped)) if stripped else None


@BOX_CODECS.register_module(name=['FlorenceBoxCodec', 'florence_box'])
class FlorenceBoxCodec(FlorenceCodec):
    """Upright boxes as Florence-2 writes them: ``ship<loc_x1><loc_y1><loc_x2><loc_y2>``."""

    def __init__(self):
        super().__init__(Upright())


@BOX_CODECS.register_module(name=['FlorenceQuadCodec', 'florence_quad'])
class FlorenceQuadCodec(FlorenceCodec):
    """Rotated boxes by their corners, eight tokens, as Florence-2 writes text regions and LMMRotate rotated boxes."""

    def __init__(self):
        super().__init__(Corners())


@BOX_CODECS.register_module(name=['FlorencePolyCodec', 'florence_poly'])
class FlorencePolyCodec(FlorenceCodec):
    """Polygons as Florence-2 writes masks: ``<poly><loc_x1><loc_y1>...</poly>``, ``<sep>`` between parts of a mask.

    What is read is the rectangle of least area around each part, and what is written are the corners of a box. The tags
    may be missing when it is read: every run of tokens is a polygon.
    """

    first = '<poly><loc_'
    last = '></poly>'
    separator = r'\s*(</poly>\s*<poly>|<sep>)?\s*'
    opening = r'(<poly>)?'
    closing = r'(</poly>)?'

    def __init__(self):
        super().__init__(Corners(counts=range(6, 1001, 2)))

    def length(self, tokens: int) -> int:
        """Return the length of the run: a polygon has any number of corners."""
        return tokens
