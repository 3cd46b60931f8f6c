"""Box languages of numbers in angle brackets and braces: GeoChat's, MiniGPT-v2's and FIT-RS's."""

import re
from collections.abc import Iterator

from geochat.box_codecs.grids import Grid, SquareGrid
from geochat.box_codecs.numeric import Candidate, NumericBoxCodec
from geochat.box_codecs.policy import NUMBER
from geochat.box_codecs.shapes import CentreSides, Shape, TurnedEdges, Upright
from geochat.registry import BOX_CODECS

SENSES = {'clockwise': 1, 'counter_clockwise': -1}
"""Which way a positive angle turns on screen, as a sign."""

_FIELD = rf'<\s*({NUMBER})\s*>'
_FOUR = rf'\s*{_FIELD}\s*{_FIELD}\s*{_FIELD}\s*{_FIELD}'
_NO_MORE = r'(?!\s*(?:\||<\s*[+\-.0-9]))'
_GROUP = re.compile(r'\{([^{}]*)(\}?)')
_FIELDS_AND_BAR = re.compile(r'((?:\s*<[^<>]*>)*)\s*(?:\|((?:\s*<[^<>]*>)*)\s*)?')
_ANY_FIELD = re.compile(r'<([^<>]*)>')
_UNCLOSED_EXTENT = re.compile(r'[\s<>|0-9+\-.]*')


def sense_sign(sense: str) -> int:
    """Return the sign of a sense of turning.

    Raises:
        ValueError: If there is no such sense.
    """
    if sense not in SENSES:
        raise ValueError(f"sense is 'clockwise' or 'counter_clockwise', not {sense!r}")
    return SENSES[sense]


class BraceBoxCodec(NumericBoxCodec):
    """A box language of numbers in angle brackets within braces, with a bar before an angle."""

    first = '{<'
    between = '><'
    last = '>}'
    separator = r'\s*(<delim>)?\s*'
    phrase_marks = ('<p>', '</p>')

    def __init__(self, grid: Grid, shape: Shape):
        super().__init__(grid, shape)
        angle = rf'\s*\|\s*{_FIELD}' if shape.written == 5 else ''
        self._complete = re.compile(_FOUR + angle + _NO_MORE)

    def pieces(self) -> list[str]:
        """Return what is written around and between the numbers of a box."""
        pieces = super().pieces()
        return [*pieces[:4], '>|<', pieces[-1]] if self.shape.written == 5 else pieces

    def candidates(self, text: str) -> Iterator[Candidate]:
        """Find braces with something in angle brackets."""
        for group in _GROUP.finditer(text):
            candidate = self._closed(group) if group[2] else self._unclosed(group)
            if candidate is not None:
                yield candidate

    def _closed(self, group: re.Match) -> Candidate | None:
        fields = [field.strip() for field in _ANY_FIELD.findall(group[1])]
        if not fields:
            return None  # braces of ordinary text
        parts = _FIELDS_AND_BAR.fullmatch(group[1])
        if parts is None or (parts[2] is not None and (parts[1].count('<'), parts[2].count('<')) != (4, 1)):
            return Candidate(group.span(), fields, broken='syntax')
        no_bar = len(fields) == 5 and parts[2] is None
        return Candidate(group.span(), fields, odd=('no_bar',) if no_bar else ())

    def _unclosed(self, group: re.Match) -> Candidate | None:
        start = group.start()
        complete = self._complete.match(group[1])
        if complete is not None:
            return Candidate((start, start + 1 + complete.end()), complete.groups(), odd=('unclosed_complete',))
        extent = _UNCLOSED_EXTENT.match(group[1])[0].rstrip()
        if not extent.lstrip().startswith('<'):
            return None
        return Candidate((start, start + 1 + len(extent)), (), broken='unclosed')


@BOX_CODECS.register_module(name=['GeoChatBoxCodec', 'geochat'])
class GeoChatBoxCodec(BraceBoxCodec):
    """Rotated boxes as GeoChat writes them: ``{<x1><y1><x2><y2>|<angle>}``.

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
        padding: None for per cent of the picture as it is; else of the picture padded to a square, which is all that a
            model sees whose pictures are padded: ``'centre'`` or ``'end'``, see
            :class:`~geochat.box_codecs.grids.SquareGrid`. GeoChat was trained on square pictures, for which it is the
            same.

    Raises:
        ValueError: If there is no such sense or padding.
    """

    def __init__(self, sense: str = 'clockwise', delim: bool = False, padding: str | None = None):
        grid = Grid(100) if padding is None else SquareGrid(100, padding=padding)
        super().__init__(grid, TurnedEdges(sense_sign(sense)))
        self.joint = '<delim>' if delim else ''


@BOX_CODECS.register_module(name=['MiniGPTBoxCodec', 'minigpt'])
class MiniGPTBoxCodec(BraceBoxCodec):
    """Upright boxes as MiniGPT-v2 and SkyEyeGPT write them, ``{<x1><y1><x2><y2>}``, in whole per cent.

    VRSBench's boxes are of this form, too.
    """

    joint = '<delim>'

    def __init__(self):
        super().__init__(Grid(100, bounded=True), Upright())


@BOX_CODECS.register_module(name=['FitRSBoxCodec', 'fitrs'])
class FitRSBoxCodec(BraceBoxCodec):
    """Rotated boxes as FIT-RS and SkySenseGPT write them: ``<rbox>({<cx><cy><w><h>|<angle>}, ...)</rbox>``.

    Centre and sides in per cent of the picture's width (cx, w) and height (cy, h) with two decimals, and the angle of w
    in whole degrees, clockwise on screen, 0 to 90. The tags of a list may be missing when it is read. Phrases are
    marked as GeoChat marks them, from which SkySenseGPT comes; what it published of its data has none.
    """

    joint = ', '
    list_marks = ('<rbox>(', ')</rbox>')
    separator = r'\s*,?\s*'
    opening = r'(<rbox>\s*)?(\(\s*)?'
    closing = r'(\s*\))?(\s*</rbox>)?'
    phrase_marks = ('<p>', '</p>')

    def __init__(self):
        super().__init__(Grid(100, decimals=2), CentreSides(long_side=False, turned_in_pixels=True))
