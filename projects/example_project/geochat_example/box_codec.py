"""A box language of centre, sides and angle."""

import re
from collections.abc import Sequence

import numpy as np

from geochat.box_codecs import BoxCodec
from geochat.box_codecs.base import check_boxes, check_image_size
from geochat.registry import BOX_CODECS
from geochat.structures import Diagnostic, GroundedText

UNIT = 1000

_GROUP = re.compile(r'\(([-0-9, ]*)\)')
_BOX = re.compile(r'\s*(-?[0-9]{1,6}),\s*(-?[0-9]{1,6}),\s*([0-9]{1,6}),\s*([0-9]{1,6}),\s*([0-9]{1,3})\s*')


@BOX_CODECS.register_module(name=['CentreBoxCodec', 'example_centre'])
class CentreBoxCodec(BoxCodec):
    """Boxes as ``(cx,cy,w,h,degrees)``: lengths in thousandths of the picture's longer side, clockwise degrees 0-179.

    One unit serves both axes, so a turned box has the same shape in the text as in the picture. Phrases are not read.
    """

    pattern = r'\((-?[0-9]{1,6},){2}([0-9]{1,6},){2}[0-9]{1,3}\)'
    separator = r'\s*'

    def encode(self, boxes: np.ndarray, image_size: tuple[int, int], labels: Sequence[str] | None = None) -> str:
        """Write boxes (N, 5), pixels and radians, each after its label; see :class:`geochat.box_codecs.BoxCodec`."""
        unit = max(check_image_size(image_size)) / UNIT
        boxes = check_boxes(boxes)
        lengths = np.rint(boxes[:, :4] / unit)
        degrees = np.rint(np.rad2deg(boxes[:, 4])) % 180
        rows = np.column_stack([lengths, degrees]).astype(int)
        texts = ['({},{},{},{},{})'.format(*row) for row in rows]
        if labels is None:
            return ''.join(texts)
        return ' '.join(f'{label} {text}' for label, text in zip(labels, texts, strict=True))

    def decode(self, text: str, image_size: tuple[int, int]) -> GroundedText:
        """Read the boxes of any text; numbers in parentheses that are no box are told as ``not_a_box``."""
        unit = max(check_image_size(image_size)) / UNIT
        rows, spans, diagnostics = [], [], []
        for group in _GROUP.finditer(text):
            match = _BOX.fullmatch(group[1])
            if match:
                rows.append([float(number) for number in match.groups()])
                spans.append(group.span())
            else:
                message = 'a box is five whole numbers: cx, cy, w, h, degrees'
                diagnostics.append(Diagnostic('not_a_box', group.span(), message, left_out=True))
        numbers = np.array(rows, dtype=np.float64).reshape(-1, 5)
        boxes = np.column_stack([numbers[:, :4] * unit, np.deg2rad(numbers[:, 4])])
        spans = np.array(spans, dtype=np.int64).reshape(-1, 2)
        return GroundedText(text, boxes, spans, diagnostics=tuple(diagnostics))

    def precision(self, image_size: tuple[int, int]) -> float:
        """Return the largest error of an edge in pixels: half a unit of the centre, and half of that of a side."""
        return 0.75 * max(check_image_size(image_size)) / UNIT
