"""Exact intersection over union of rotated boxes, float64, many pairs at a time."""

from collections.abc import Callable, Sequence

import numpy as np

from geochat.structures.polygons import box_corners

_PAIRS = 2**16
"""Pairs that are worked on at a time: some ten MB, which stay near the processor."""

_TABLE_ENTRIES = 2**20
"""Entries of tables that are made at a time: some hundred MB. A table of its own may have more."""

Overlaps = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A function of boxes (N, 5) and (N, 5) that gives each one's overlap (N,) with its partner, as :func:`rotated_iou`."""


def enclosing_boxes(boxes: np.ndarray) -> np.ndarray:
    """Return the upright boxes that enclose rotated ones, in the same form: (N, 5), the angle 0."""
    cos, sin = np.abs(np.cos(boxes[:, 4])), np.abs(np.sin(boxes[:, 4]))
    w, h = boxes[:, 2], boxes[:, 3]
    return np.column_stack([boxes[:, :2], w * cos + h * sin, w * sin + h * cos, np.zeros(len(boxes))])


def have_area(boxes: np.ndarray) -> np.ndarray:
    """Tell which boxes (..., 5) are finite with sides above 0; others overlap nothing, themselves included."""
    return np.isfinite(boxes).all(axis=-1) & (boxes[..., 2:4] > 0).all(axis=-1)


def rotated_iou(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each box with its partner.

    A box that is not finite, or has a side that is not positive, overlaps nothing, itself included.

    Args:
        boxes1: (N, 5): cx, cy, w, h in one unit, angle in radians, clockwise on screen.
        boxes2: (N, 5), likewise.

    Returns:
        float64 array (N,), between 0 and 1.

    Raises:
        ValueError: If the shapes are not (N, 5) and equal.
    """
    boxes1, boxes2 = _checked(boxes1), _checked(boxes2)
    if boxes1.shape != boxes2.shape:
        raise ValueError(f'boxes are compared in pairs, not {len(boxes1)} with {len(boxes2)}')
    iou = np.zeros(len(boxes1))
    near = np.nonzero(_may_touch(boxes1, boxes2))[0]
    for start in range(0, len(near), _PAIRS):
        part = near[start : start + _PAIRS]
        iou[part] = _iou_of_near_boxes(boxes1[part], boxes2[part])
    return iou


def pairwise_rotated_iou(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Return the intersection over union of every box of one set with every box of another.

    Args:
        boxes1: (N, 5), as for :func:`rotated_iou`.
        boxes2: (M, 5), likewise.

    Returns:
        float64 array (N, M), between 0 and 1.

    Raises:
        ValueError: If the shapes are not (N, 5) and (M, 5).
    """
    return overlap_tables([boxes1], [boxes2])[0]


def overlap_tables(
    sets1: Sequence[np.ndarray], sets2: Sequence[np.ndarray], overlaps: Overlaps = rotated_iou
) -> list[np.ndarray]:
    """Return the overlaps of every box of one set with every box of another, for many pairs of sets together.

    That is far quicker than one call a pair of sets, where these are small.

    Args:
        sets1: Boxes (N, 5) of each pair of sets; N differs.
        sets2: Boxes (M, 5) of each pair of sets; M differs.
        overlaps: What is worked out of a pair of boxes.

    Returns:
        float64 arrays (N, M), one a pair of sets.

    Raises:
        ValueError: If there are not as many of both, or a shape is another.
    """
    sets1, sets2 = [_checked(boxes) for boxes in sets1], [_checked(boxes) for boxes in sets2]
    if len(sets1) != len(sets2):
        raise ValueError(f'sets of boxes are compared in pairs, not {len(sets1)} with {len(sets2)}')
    shapes = [(len(boxes1), len(boxes2)) for boxes1, boxes2 in zip(sets1, sets2, strict=True)]
    ends = np.cumsum([0, *(rows * columns for rows, columns in shapes)])
    values = np.zeros(ends[-1])
    start = 0
    while start < len(shapes):
        stop = max(int(np.searchsorted(ends, ends[start] + _TABLE_ENTRIES, side='right')) - 1, start + 1)
        values[ends[start] : ends[stop]] = _overlaps_of_all(sets1[start:stop], sets2[start:stop], overlaps)
        start = stop
    return [values[ends[i] : ends[i + 1]].reshape(shape) for i, shape in enumerate(shapes)]


def _overlaps_of_all(sets1: Sequence[np.ndarray], sets2: Sequence[np.ndarray], overlaps: Overlaps) -> np.ndarray:
    """Return the tables of pairs of sets, row by row, one behind the other."""
    counts1, counts2 = (np.array([len(boxes) for boxes in sets], dtype=np.int64) for sets in (sets1, sets2))
    pairs = counts1 * counts2
    # Place of each pair in its own table; from it row and column, and from these rows of all boxes.
    place = np.arange(pairs.sum()) - np.repeat(np.cumsum(pairs) - pairs, pairs)
    columns = np.repeat(counts2, pairs)
    rows1 = np.repeat(np.cumsum(counts1) - counts1, pairs) + place // np.maximum(columns, 1)
    rows2 = np.repeat(np.cumsum(counts2) - counts2, pairs) + place % np.maximum(columns, 1)
    return overlaps(np.concatenate(sets1)[rows1], np.concatenate(sets2)[rows2])


def _checked(boxes: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 5:
        raise ValueError(f'boxes are an array (N, 5) of cx, cy, w, h, angle, not of shape {boxes.shape}')
    return boxes


def _may_touch(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Tell whether the circles around two boxes overlap; False where a box has no area."""
    with np.errstate(invalid='ignore', over='ignore'):
        distances = np.hypot(boxes1[:, 0] - boxes2[:, 0], boxes1[:, 1] - boxes2[:, 1])
        radii = (np.hypot(boxes1[:, 2], boxes1[:, 3]) + np.hypot(boxes2[:, 2], boxes2[:, 3])) / 2
        return have_area(boxes1) & have_area(boxes2) & (distances < radii)


def _iou_of_near_boxes(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    # Each pair is seen from its second box: that one upright about the origin, with sides of at most 1. So a small box
    # far from the origin loses no digits.
    scale = np.maximum(boxes1[:, 2:4].max(axis=1), boxes2[:, 2:4].max(axis=1))[:, None]
    cos, sin = np.cos(boxes2[:, 4]), np.sin(boxes2[:, 4])
    x, y = ((boxes1[:, :2] - boxes2[:, :2]) / scale).T
    sides1, sides2 = boxes1[:, 2:4] / scale, boxes2[:, 2:4] / scale
    turned = np.column_stack([x * cos + y * sin, y * cos - x * sin, sides1, boxes1[:, 4] - boxes2[:, 4]])
    intersection = _area_within(box_corners(turned), sides2 / 2)
    union = sides1.prod(axis=1) + sides2.prod(axis=1) - intersection
    # A side that is nothing beside the longest one leaves an area of 0.
    return np.clip(np.divide(intersection, union, out=np.zeros_like(union), where=union > 0), 0, 1)


def _area_within(corners: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Return the area that a polygon has in common with an upright rectangle about the origin.

    A vertical line meets the polygon between two of its edges; what of that lies in the rectangle is the difference of
    the edges' heights, each held between the rectangle's lower and upper side. The area is the integral of that along
    x: a sum over the edges, whose signs follow from their directions, and each a sum of trapezoids. Nothing is told
    apart, so that edges that coincide do no harm.

    Args:
        corners: (N, 4, 2), clockwise on screen.
        halves: (N, 2): half of the rectangle's width and of its height.

    Returns:
        (N,).
    """
    limit_x, limit_y = halves[:, :1], halves[:, 1:]
    x0, y0 = corners[..., 0], corners[..., 1]
    dx, dy = np.roll(x0, -1, axis=1) - x0, np.roll(y0, -1, axis=1) - y0
    # Shares of the way along an edge where it enters and leaves the rectangle's range of x, then of y. Where an edge
    # does not move along an axis, any share is right.
    start, end = _crossings(x0, dx, limit_x)
    first, second = (np.clip(share, start, end) for share in _crossings(y0, dy, limit_y))
    area = np.zeros(x0.shape)
    height = np.clip(y0 + start * dy, -limit_y, limit_y)
    for before, after in ((start, first), (first, second), (second, end)):
        next_height = np.clip(y0 + after * dy, -limit_y, limit_y)
        area += (height + next_height) / 2 * (after - before) * dx
        height = next_height
    return -area.sum(axis=1)


def _crossings(values: np.ndarray, steps: np.ndarray, limit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares of the way, in [0, 1], between which ``values + share * steps`` is within ± limit."""
    still = np.abs(steps) < 1e-300
    steps = np.where(still, 1.0, steps)
    one, other = (-limit - values) / steps, (limit - values) / steps
    low, high = np.minimum(one, other), np.maximum(one, other)
    low, high = np.where(still, 0, low), np.where(still, 1, high)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)
