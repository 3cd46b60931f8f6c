"""Where labels stand on a picture: beside their boxes, never on one another, on boxes only for want of room."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import shapely

_RINGS = 4
"""How often the places around a box are tried again, each time a label's height farther away."""

_PER_HEIGHT = 0.15
"""What a label's height of distance from its box costs; hiding a whole box costs 2."""

_MOST_HIDDEN = 0.5
"""Cost of hidden boxes from which a label is left out whose phrase another label tells already."""

_CROWD = 24
"""Labels from which those that say the same keep apart: repeating it at every box would hide the ground."""

_CROWD_SPACING = 8
"""Label heights between two that say the same, where there is a crowd."""


class Place(NamedTuple):
    """Where a label stands, in pixels.

    Attributes:
        left: Its left edge.
        top: Its upper edge.
        right: Its right edge.
        bottom: Its lower edge.
        distance: How far it is from the outline of its box; 0 if it touches or covers that.
    """

    left: float
    top: float
    right: float
    bottom: float
    distance: float


def place_labels(
    corners: np.ndarray,
    sizes: Sequence[tuple[float, float]],
    phrases: Sequence[str],
    canvas: tuple[int, int],
    gap: float,
) -> list[Place | None]:
    """Find a place for the label of each box.

    The first label of each phrase comes first. Another one of the same phrase is left out where it would hide boxes,
    stand apart from its own or, in a crowd, near one that says the same: the colour says which it is.

    Args:
        corners: (N, 4, 2) corners of the boxes in pixels.
        sizes: Width and height of each label.
        phrases: What each label says; empty for a box without one.
        canvas: Width and height of the picture.
        gap: Pixels between a label and its box.

    Returns:
        A place for each box; None for one without a label, or for whose label there is no room.
    """
    hidden = _HiddenBoxes(corners, canvas, cell=max(1, round(max((height for _, height in sizes), default=1) / 6)))
    first = {phrase: number for number, phrase in reversed(list(enumerate(phrases))) if phrase}
    order = [*sorted(first.values()), *(n for n, phrase in enumerate(phrases) if phrase and first[phrase] != n)]
    taken = {phrase: np.zeros((0, 4)) for phrase in first}
    places: list[Place | None] = [None] * len(phrases)
    for number in order:
        phrase, size = phrases[number], sizes[number]
        others = np.concatenate(list(taken.values()))
        if first[phrase] == number:
            place = _find_anywhere(corners[number], size, canvas, gap, hidden, others)
        else:
            starts = _around(corners[number], size, gap, rings=1)
            spacing = _CROWD_SPACING * size[1] if len(order) > _CROWD else 0
            avoided = np.concatenate([others, taken[phrase] + spacing * np.array([-1, -1, 1, 1])])
            place = _best(starts, corners[number], size, canvas, hidden, avoided, _MOST_HIDDEN, size[1])
        if place is not None:
            places[number] = place
            taken[phrase] = np.concatenate([taken[phrase], [place[:4]]])
    return places


class _HiddenBoxes:
    """How much of all boxes a rectangle hides: 1 for a whole outline, 1 for all that is inside.

    Args:
        corners: (N, 4, 2) corners in pixels.
        canvas: Width and height of the picture.
        cell: Side in pixels of the squares in which it is counted.
    """

    def __init__(self, corners: np.ndarray, canvas: tuple[int, int], cell: int):
        self.cell = cell
        columns, rows = (-(-side // cell) for side in canvas)
        share = np.zeros((rows, columns))
        for polygon in corners / cell:
            low = np.floor(polygon.min(0)).clip(0, (columns - 1, rows - 1)).astype(int)
            high = np.ceil(polygon.max(0)).clip(low + 1, (columns, rows)).astype(int)
            points = (polygon - low - 0.5).round().clip(-(2**14), 2**14).astype(np.int32)
            part = share[low[1] : high[1], low[0] : high[0]]
            for draw in (_fill, _outline):
                mask = draw(np.zeros(part.shape, np.uint8), points)
                part += mask / max(1, np.count_nonzero(mask))
        self.sums = np.pad(share.cumsum(0).cumsum(1), ((1, 0), (1, 0)))

    def __call__(self, rectangles: np.ndarray) -> np.ndarray:
        """Return what each rectangle (K, 4) of left, top, right, bottom in pixels hides."""
        rows, columns = self.sums.shape
        most = (columns - 1, rows - 1)
        left, top = (rectangles[:, :2] / self.cell).round().clip(0, most).astype(int).T
        right, bottom = (rectangles[:, 2:] / self.cell).round().clip(0, most).astype(int).T
        return self.sums[bottom, right] - self.sums[top, right] - self.sums[bottom, left] + self.sums[top, left]


def _fill(mask: np.ndarray, points: np.ndarray) -> np.ndarray:
    return cv2.fillPoly(mask, [points], 1)


def _outline(mask: np.ndarray, points: np.ndarray) -> np.ndarray:
    return cv2.polylines(mask, [points], True, 1)


def _find_anywhere(
    polygon: np.ndarray,
    size: tuple[float, float],
    canvas: tuple[int, int],
    gap: float,
    hidden: _HiddenBoxes,
    taken: np.ndarray,
) -> Place | None:
    """Return the best free place around a box, or else on the whole picture."""
    starts = _around(polygon, size, gap, _RINGS)
    place = _best(starts, polygon, size, canvas, hidden, taken)
    return place or _best(_everywhere(size, canvas), polygon, size, canvas, hidden, taken)


def _around(polygon: np.ndarray, size: tuple[float, float], gap: float, rings: int) -> np.ndarray:
    """Return the upper left corners (K, 2) of places around a box, in the order in which they are liked."""
    (x0, y0), (x1, y1) = polygon.min(0), polygon.max(0)
    (width, height), half = size, np.divide(size, 2)
    columns = ((x0 + x1 - width) / 2, x0, x1 - width)
    rows = ((y0 + y1 - height) / 2, y0, y1 - height)
    points, outward = _anchors(polygon)
    starts = []
    for ring in range(rings):
        far = gap + ring * 1.2 * height
        starts += [(x, y) for y in (y0 - height - far, y1 + far) for x in columns]
        starts += [(x, y) for x in (x1 + far, x0 - width - far) for y in rows]
        # Beside the sides of a box that is turned there is room nearer than beside the rectangle around it.
        reach = np.abs(outward) @ half + far
        starts += list(points + outward * reach[:, None] - half)
    inside = [(x, y) for y in (y0 + 2 * gap, y1 - height - 2 * gap, rows[0]) for x in (columns[0], x0 + 2 * gap)]
    return np.array([*starts, *inside])


def _anchors(polygon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points (12, 2) on the sides of a box, and the directions (12, 2) that lead outward there."""
    ends = np.roll(polygon, -1, axis=0)
    outward = (polygon + ends) / 2 - polygon.mean(0)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
    shares = np.array([0.5, 0.15, 0.85])[:, None, None]
    return ((1 - shares) * polygon + shares * ends).reshape(-1, 2), np.tile(outward, (len(shares), 1))


def _everywhere(size: tuple[float, float], canvas: tuple[int, int]) -> np.ndarray:
    columns, rows = (np.arange(0, side, size[1] / 2) for side in canvas)
    return np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)


def _best(
    starts: np.ndarray,
    polygon: np.ndarray,
    size: tuple[float, float],
    canvas: tuple[int, int],
    hidden: _HiddenBoxes,
    avoided: np.ndarray,
    most_hidden: float = np.inf,
    farthest: float = np.inf,
) -> Place | None:
    """Return the place of least cost that overlaps nothing avoided, and hides and is apart no more than it may."""
    starts = starts.clip(0, np.maximum(0, np.subtract(canvas, size)))
    places = np.concatenate([starts, starts + size], axis=1)
    places = places[~_overlap_any(places, avoided)]
    hides, distances = hidden(places), shapely.distance(shapely.box(*places.T), shapely.LinearRing(polygon))
    good = np.flatnonzero((hides <= most_hidden) & (distances <= farthest))
    if not len(good):
        return None
    best = good[np.argmin(hides[good] + _PER_HEIGHT * distances[good] / size[1])]
    return Place(*places[best].tolist(), float(distances[best]))


def _overlap_any(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Tell of each place (K, 4) whether it overlaps any of the others (T, 4)."""
    starts = np.maximum(places[:, None, :2], others[None, :, :2])
    ends = np.minimum(places[:, None, 2:], others[None, :, 2:])
    return (starts < ends).all(-1).any(1)
