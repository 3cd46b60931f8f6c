"""Rewrite the boxes of a text from one box language to another."""

import re

from geochat.box_codecs.base import BoxCodec
from geochat.structures import GroundedText

LONGEST_OPENING = 100
"""Characters before a list of boxes among which its opening mark is looked for."""


def transcode(text: str, source: BoxCodec, target: BoxCodec, image_size: tuple[int, int]) -> str:
    """Rewrite every box of a text, and the marks of its phrases if both languages have some; words stay as they are.

    Boxes that stand in a list, with nothing but ``source``'s separator between them, are written as a list of
    ``target``, with the list's own marks, such as tags around it, in place of ``source``'s. Where a language writes a
    label into each box, as JSON does, ``target`` writes it its own way.

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
    changes = []
    for rows in _lists(grounded, source.separator):
        start, end = grounded.spans[rows.start, 0], grounded.spans[rows.stop - 1, 1]
        boxes, labels = grounded.boxes[rows], _labels_inside(grounded, rows)
        written = target.encode(boxes, image_size) if labels is None else target.encode(boxes, image_size, labels)
        changes.append((*_with_list_marks(text, start, end, source), written))
    changes += _phrase_marks(grounded, source.phrase_marks, target.phrase_marks)
    pieces, done = [], 0
    for start, end, written in sorted(changes):
        pieces += [text[done:start], written]
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


def _labels_inside(grounded: GroundedText, rows: slice) -> list[str] | None:
    """Return the labels that stand within the boxes' own characters; None if a box has none there."""
    labels = {}
    for phrase in grounded.phrases:
        for row in phrase.box_indices:
            start, end = grounded.spans[row]
            if start <= phrase.span[0] and phrase.span[1] <= end:
                labels[row] = phrase.text
    wanted = range(rows.start, rows.stop)
    return [labels[row] for row in wanted] if all(row in labels for row in wanted) else None


def _with_list_marks(text: str, start: int, end: int, source: BoxCodec) -> tuple[int, int]:
    """Return the characters of a list of boxes together with what opens and closes it."""
    window = max(0, start - LONGEST_OPENING)
    before = re.search(rf'(?:{source.opening})\Z', text[window:start])
    after = re.match(source.closing, text[end:])
    return window + before.start() if before else start, end + after.end() if after else end


def _phrase_marks(
    grounded: GroundedText, old: tuple[str, str] | None, new: tuple[str, str] | None
) -> list[tuple[int, int, str]]:
    """Return which characters are marks of phrases, and what takes their place."""
    if old is None or new is None or old == new:
        return []
    changes = []
    for phrase in grounded.phrases:
        before = grounded.text.rindex(old[0], 0, phrase.span[0])
        after = grounded.text.index(old[1], phrase.span[1])
        changes += [(before, before + len(old[0]), new[0]), (after, after + len(old[1]), new[1])]
    return changes
