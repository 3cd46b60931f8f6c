"""Boxes as geographic programs write polygons: WKT and GeoJSON, in pixels of the picture."""

import re
from collections.abc import Iterator, Sequence

from geochat.box_codecs.grids import PixelGrid
from geochat.box_codecs.json_objects import STRING, escape, unescape
from geochat.box_codecs.numeric import Candidate, NumericBoxCodec, escape_pattern
from geochat.box_codecs.policy import is_number
from geochat.box_codecs.shapes import Corners
from geochat.registry import BOX_CODECS

_RING = re.compile(r'(POLYGON\s*)?\(\s*\(\s*(?:\(\s*)?([^()]*)(\)\s*\)?)?', re.IGNORECASE)
_COORDINATES = re.compile(
    r'(?:\{\s*"type"\s*:\s*"Feature"\s*,\s*(?:"properties"\s*:\s*(?:\{([^{}]*)\}|null)\s*,\s*)?"geometry"\s*:\s*)?'
    r'(?:\{\s*"type"\s*:\s*"Polygon"\s*,\s*)?"coordinates"\s*:\s*(\[[\[\]\s,0-9+\-.]*)(\s*\})?'
    r'(?:\s*,\s*"properties"\s*:\s*\{([^{}]*)\})?(\s*\})?'
)
_LABEL = re.compile(rf'"(?:label|name|class)"\s*:\s*{STRING}')
_OUTER_RING = re.compile(r'\[\s*\[((?:\s*\[[^\[\]]*\]\s*,?)*)\s*\]')
_POINT = re.compile(r'\[([^\[\]]*)\]')


class PolygonCodec(NumericBoxCodec):
    """A language of polygons in pixels with one decimal: x to the right and y down, as on the picture.

    What is written is the ring of a box's corners, clockwise on screen, the first one once more at its end. What is
    read is the rectangle of least area around a polygon's outer ring.

    Args:
        decimals: Digits after the point that are written; any number of them is read.
    """

    def __init__(self, decimals: int = 1):
        super().__init__(PixelGrid(decimals=decimals), Corners(counts=range(6, 10**6, 2), closed=True))


@BOX_CODECS.register_module(name=['WKTBoxCodec', 'wkt'])
class WKTBoxCodec(PolygonCodec):
    """Boxes as well-known text: ``POLYGON ((x y, x y, x y, x y, x y))``. The rings of a MULTIPOLYGON are read, too."""

    first = 'POLYGON (('
    last = '))'
    joint = ', '
    separator = r'[\s,()]*'
    opening = r'((MULTIPOLYGON|GEOMETRYCOLLECTION)\s*\(\s*)?\(*'
    closing = r'\)*'

    def pieces(self) -> list[str]:
        """Return what is written around and between the numbers of a box."""
        return [self.first, *[' ', ', '] * (self.shape.written // 2 - 1), ' ', self.last]

    def candidates(self, text: str) -> Iterator[Candidate]:
        """Find rings: the word POLYGON with what follows, or two brackets around pairs of numbers."""
        for match in _RING.finditer(text):
            points = [point.split() for point in match[2].split(',')]
            fields = [field for point in points for field in point]
            if not match[1] and (len(fields) < 4 or not all(map(is_number, fields))):
                continue  # brackets of ordinary text
            if not match[3]:
                yield Candidate((match.start(), match.end(2)), (), broken='unclosed')
            else:
                uneven = any(len(point) != 2 for point in points)
                yield Candidate(match.span(), fields, broken='syntax' if uneven else None)


@BOX_CODECS.register_module(name=['GeoJSONBoxCodec', 'geojson'])
class GeoJSONBoxCodec(PolygonCodec):
    """Boxes as a GeoJSON collection of polygons (RFC 7946's syntax; coordinates are pixels, not degrees).

    A label is the property ``label``; ``name`` and ``class`` are read, too.
    """

    first = '{"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [[['
    last = ']]]}}'
    joint = ', '
    list_marks = ('{"type": "FeatureCollection", "features": [', ']}')
    separator = r'\s*,?\s*'
    opening = r'(\{\s*"type"\s*:\s*"FeatureCollection"\s*,\s*)?("features"\s*:\s*)?(\[\s*)?'
    closing = r'(\s*\])?(\s*\})?'

    def __init__(self, decimals: int = 1):
        super().__init__(decimals)
        self.pattern = self.pattern.replace(escape_pattern('{}'), r'\{("label": "([^"\\\n{}]|\\.)*")?\}', 1)

    def pieces(self) -> list[str]:
        """Return what is written around and between the numbers of a box."""
        return [self.first, *[', ', '], ['] * (self.shape.written // 2 - 1), ', ', self.last]

    def candidates(self, text: str) -> Iterator[Candidate]:
        """Find the key ``coordinates`` with its lists, and the feature around it."""
        for match in _COORDINATES.finditer(text):
            label = None
            for group in (1, 4):
                found = _LABEL.search(text, *match.span(group)) if match[group] else None
                label = found.span(1) if found else label
            ring = _OUTER_RING.match(match[2])
            is_open = match[2].count('[') != match[2].count(']')
            if ring is None:
                span = (match.start(), match.end(2))
                yield Candidate(span, _POINT.findall(match[2]), broken='unclosed' if is_open else 'syntax', label=label)
                continue
            points = [point.split(',') for point in _POINT.findall(ring[1])]
            yield Candidate(
                match.span(),
                [field.strip() for point in points for field in point],
                broken='syntax' if any(len(point) != 2 for point in points) else None,
                odd=('unclosed_complete',) if is_open else (),
                label=label,
            )

    def label_text(self, written: str) -> str:
        """Return a label without JSON's escapes."""
        return unescape(written)

    def write_labelled(self, boxes: Sequence[str], labels: Sequence[str]) -> str:
        """Write each label into its feature's properties."""
        return self.write_list(
            [box.replace('{}', f'{{"label": {escape(label)}}}', 1) for box, label in zip(boxes, labels, strict=True)]
        )
