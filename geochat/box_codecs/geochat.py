"""GeoChat's box language: ``{<x1><y1><x2><y2>|<angle>}`` on a grid of per cent."""

import re

import numpy as np

from geochat.box_codecs.base import BoxCodec, check_boxes, check_image_size
from geochat.registry import BOX_CODECS
from geochat.structures import Diagnostic, GroundedText, Phrase

LIMIT = 1e9
"""Largest absolute value that a number of a box text may have; float64 stays exact on the grid up to there."""

LEFT_OUT = {
    'wrong_count': '{} numbers; a box has 4, or 5 with its angle',
    'not_a_number': '{} is not a number',
    'syntax': 'something else than numbers in angle brackets, with a bar before the angle',
    'too_large': 'a number beyond 1e9',
    'unclosed': 'the text ends or another box begins before the box is complete',
}
READ_ALL_THE_SAME = {
    'unclosed_complete': 'all five numbers are there, the closing brace is not',
    'no_bar': 'no bar before the angle',
    'reversed': 'a right or bottom edge before the left or top one; they are exchanged',
    'degenerate': 'a side of length 0',
    'angle_range': 'an angle outside 0 to 90 degrees; taken as it stands',
}
UNCLOSED_PHRASE = 'a phrase that is not closed'

_NUMBER = r'[+-]?[0-9]+(?:\.[0-9]+)?'
_FIELD = rf'<\s*({_NUMBER})\s*>'
_FOUR = rf'\s*{_FIELD}\s*{_FIELD}\s*{_FIELD}\s*{_FIELD}'
_GROUP = re.compile(r'\{([^{}]*)(\}?)')
_CLOSED = re.compile(rf'{_FOUR}\s*(?:(\|?)\s*{_FIELD}\s*)?')
_UNCLOSED = re.compile(rf'{_FOUR}\s*(\|)\s*{_FIELD}(?!\s*(?:\||<\s*[+\-0-9]))')
_UNCLOSED_EXTENT = re.compile(r'[\s<>|0-9+\-.]*')
_ANY_FIELD = re.compile(r'<([^<>]*)>')
_PHRASE = re.compile(r'<p>([^<]*(?:<(?!/?p>)[^<]*)*)(</p>)?')


@BOX_CODECS.register_module(name=['GeoChatBoxCodec', 'geochat'])
class GeoChatBoxCodec(BoxCodec):
    """Rotated boxes as GeoChat writes them.

    A box is written as the rectangle *before* it is turned about its centre: the left, top, right and bottom edge in
    whole per cent of the picture's width and height, and the angle in whole degrees. A turned box near the edge, or a
    long one, has numbers below 0 or above 100. The angle is folded to 0 to 90 degrees; each quarter turn taken off
    exchanges width and height, in pixels, because per cent of width and of height are different lengths on a picture
    that is not square. For the same reason a box is turned in pixels when it is read.

    Each edge is rounded by itself. So the edges and the centre come back within half a per cent, the angle within half
    a degree, a side within one per cent, and a side shorter than half a per cent may come back as 0.

    Reading also takes boxes without an angle (``{<x1><y1><x2><y2>}``), white space between the parts, and decimals.
    ``docs/box_codecs.md`` has the table of what happens to malformed boxes.

    Args:
        sense: Which way a positive angle in the text turns on screen. GeoChat's data are clockwise; its demo draws
            them counter-clockwise.
        delim: Whether several boxes are written with ``<delim>`` between them. Both forms are read in any case.

    Raises:
        ValueError: If ``sense`` is none of the two.
    """

    pattern = r'\{(<(0|-?[1-9][0-9]{0,9})>){4}\|<(90|[1-8]?[0-9])>\}'
    separator = r'\s*(<delim>)?\s*'

    def __init__(self, sense: str = 'clockwise', delim: bool = False):
        if sense not in ('clockwise', 'counter_clockwise'):
            raise ValueError(f"sense is 'clockwise' or 'counter_clockwise', not {sense!r}")
        self.sign = 1 if sense == 'clockwise' else -1
        self.delim = delim

    def encode(self, boxes: np.ndarray, image_size: tuple[int, int]) -> str:
        """Write boxes (N, 5), pixels and radians, as text; see :class:`BoxCodec`.

        Raises:
            ValueError: If a box cannot be written, because it is not finite, has a negative side, or lies beyond a
                thousand million per cent of the picture.
        """
        size = np.array(check_image_size(image_size))
        boxes = check_boxes(boxes)
        # Rounding comes before folding, so that an angle a hair below 0 or above 90 keeps its sides as they are.
        degrees = np.rint(self.sign * np.rad2deg(boxes[:, 4]))
        turns = np.where((degrees >= 0) & (degrees <= 90), 0, degrees // 90)
        sides = np.where((turns % 2 == 1)[:, None], boxes[:, 3:1:-1], boxes[:, 2:4])
        edges = np.hstack([boxes[:, :2] - sides / 2, boxes[:, :2] + sides / 2]) * 100 / np.tile(size, 2)
        if (np.abs(edges) > LIMIT).any():
            row = int(np.argmax((np.abs(edges) > LIMIT).any(axis=1)))
            raise ValueError(f'box {row} is too far away for a picture of {image_size}: {boxes[row].tolist()}')
        numbers = np.column_stack([np.floor(edges + 0.5), degrees - 90 * turns]).astype(np.int64)
        texts = ['{{<{}><{}><{}><{}>|<{}>}}'.format(*row) for row in numbers]
        return ('<delim>' if self.delim else '').join(texts)

    def decode(self, text: str, image_size: tuple[int, int]) -> GroundedText:
        """Read the boxes and phrases of any text; see :class:`BoxCodec`. The policy table has a row a diagnostic."""
        size = check_image_size(image_size)
        rows, spans, diagnostics = [], [], []
        for group in _GROUP.finditer(text):
            numbers, end, found = _read_group(group[1], closed=bool(group[2]))
            span = (group.start(), group.start() + end)
            diagnostics += [Diagnostic(code, span, message, numbers is None) for code, message in found]
            if numbers is not None:
                rows.append(numbers)
                spans.append(span)
        spans = np.array(spans, dtype=np.int64).reshape(-1, 2)
        phrases, unclosed = _read_phrases(text, spans)
        diagnostics = sorted([*diagnostics, *unclosed], key=lambda diagnostic: diagnostic.span)
        return GroundedText(text, self._to_pixels(rows, size), spans, phrases, tuple(diagnostics))

    def _to_pixels(self, rows: list[list[float]], size: tuple[float, float]) -> np.ndarray:
        """Turn rows x1, y1, x2, y2, degrees of the text into boxes (N, 5)."""
        numbers = np.array(rows, dtype=np.float64).reshape(-1, 5)
        corners = numbers[:, :4].reshape(-1, 2, 2) * np.array(size) / 100
        centres, sides = corners.mean(axis=1), corners[:, 1] - corners[:, 0]
        return np.column_stack([centres, sides, self.sign * np.deg2rad(numbers[:, 4])])


Finding = tuple[str, str]


def _read_group(content: str, closed: bool) -> tuple[list[float] | None, int, list[Finding]]:
    """Read what follows an opening brace.

    Args:
        content: The characters after the brace, up to the next brace or the end of the text.
        closed: Whether a closing brace comes next.

    Returns:
        The numbers x1, y1, x2, y2, degrees, or None if there is no box to read; how many characters it takes, braces
        included; and the diagnostics' codes and messages.
    """
    if not closed:
        return _read_unclosed(content)
    end = len(content) + 2
    match = _CLOSED.fullmatch(content)
    if match is None:
        return None, end, _why_unreadable(content)
    numbers, findings = _check_numbers([match[1], match[2], match[3], match[4], match[6] or '0'])
    if match[6] is not None and not match[5]:
        findings.append(('no_bar', READ_ALL_THE_SAME['no_bar']))
    return numbers, end, findings


def _read_unclosed(content: str) -> tuple[list[float] | None, int, list[Finding]]:
    match = _UNCLOSED.match(content)
    if match is not None:
        numbers, findings = _check_numbers([match[1], match[2], match[3], match[4], match[6]])
        code = 'unclosed_complete'
        return numbers, match.end() + 1, [(code, READ_ALL_THE_SAME[code]), *findings]
    extent = _UNCLOSED_EXTENT.match(content)[0].rstrip()
    findings = [('unclosed', LEFT_OUT['unclosed'])] if extent.lstrip().startswith('<') else []
    return None, len(extent) + 1, findings


def _why_unreadable(content: str) -> list[Finding]:
    """Say what is wrong with a closed group; nothing if it does not even try to be a box."""
    fields = [field.strip() for field in _ANY_FIELD.findall(content)]
    if not fields:
        return []
    for field in fields:
        if not re.fullmatch(_NUMBER, field):
            return [('not_a_number', LEFT_OUT['not_a_number'].format(repr(field[:20])))]
    if len(fields) not in (4, 5):
        return [('wrong_count', LEFT_OUT['wrong_count'].format(len(fields)))]
    return [('syntax', LEFT_OUT['syntax'])]


def _check_numbers(texts: list[str]) -> tuple[list[float] | None, list[Finding]]:
    """Return the numbers of a box that is well written, with the corners in order, and what is odd about them."""
    x1, y1, x2, y2, degrees = numbers = [float(text) for text in texts]
    if max(map(abs, numbers)) > LIMIT:
        return None, [('too_large', LEFT_OUT['too_large'])]
    odd = {
        'reversed': x1 > x2 or y1 > y2,
        'degenerate': x1 == x2 or y1 == y2,
        'angle_range': not 0 <= degrees <= 90,
    }
    findings = [(code, READ_ALL_THE_SAME[code]) for code, is_odd in odd.items() if is_odd]
    return [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2), degrees], findings


def _read_phrases(text: str, spans: np.ndarray) -> tuple[tuple[Phrase, ...], list[Diagnostic]]:
    """Return the marked phrases, each with the boxes from its mark to the next phrase, and phrases left open."""
    phrases, unclosed = [], []
    marks = list(_PHRASE.finditer(text))
    closed = [match for match in marks if match[2]]
    bounds = np.searchsorted(spans[:, 0], [match.start() for match in closed] + [len(text)])
    for index, match in enumerate(closed):
        words = match[1].strip()
        start = match.start(1) + len(match[1]) - len(match[1].lstrip())
        boxes = tuple(range(bounds[index], bounds[index + 1]))
        phrases.append(Phrase(words, (start, start + len(words)), boxes))
    for match in marks:
        if not match[2]:
            span = (match.start(), match.start() + len('<p>'))
            unclosed.append(Diagnostic('unclosed_phrase', span, UNCLOSED_PHRASE))
    return tuple(phrases), unclosed
