"""Rewrite the boxes of a text from one box language to another."""

import re

from geochat.box_codecs.base import BoxCodec
from geochat.structures import GroundedText


def transcode(text: str, source: BoxCodec, target: BoxCodec, image_size: tuple[int, int]) -> str:
    """Rewrite every box of a text; the words around the boxes stay as they are.

    Boxes that stand in a list, with nothing but ``source``'s separator between them, are written as a list of
    ``target``.

    Args:
        text: A text with boxes in the language of ``source``.
        source: The codec that reads.
        target: The codec that writes.
        image_size: Width and height of the original image in pixels.

    Returns:
        The text with boxes in the language of ``target``.

    Raises:
        ValueError: If a box of the text cannot be read: left as it stands it would teach a mixture of two languages.
    """
    grounded = source.decode_strict(text, image_size)
    pieces, done = [], 0
    for rows in _lists(grounded, source.separator):
        start, end = grounded.spans[rows.start, 0], grounded.spans[rows.stop - 1, 1]
        pieces += [text[done:start], target.encode(grounded.boxes[rows], image_size)]
        done = end
    return ''.join([*pieces, text[done:]])


def _lists(grounded: GroundedText, separator: str) -> list[slice]:
    """Return the rows of each run of boxes that only separators part."""
    starts = [0]
    for row in range(1, len(grounded.boxes)):
        between = grounded.text[grounded.spans[row - 1, 1] : grounded.spans[row, 0]]
        if not re.fullmatch(separator, between):
            starts.append(row)
    stops = [*starts[1:], len(grounded.boxes)]
    return [slice(start, stop) for start, stop in zip(starts, stops, strict=True) if stop > start]
