"""Rotated boxes as their corners, and polygons as rotated boxes."""

from collections.abc import Sequence

import numpy as np
import shapely

_CORNERS = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])


def box_corners(boxes: np.ndarray) -> np.ndarray:
    """Return the corners of rotated boxes.

    Args:
        boxes: (N, 5): cx, cy, w, h, angle in radians, clockwise on screen (y down).

    Returns:
        (N, 4, 2), clockwise on screen; the first is the top left corner of the box before it is turned.
    """
    offsets = _CORNERS * boxes[:, None, 2:4]
    cos, sin = np.cos(boxes[:, 4, None]), np.sin(boxes[:, 4, None])
    x, y = offsets[..., 0], offsets[..., 1]
    return boxes[:, None, :2] + np.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)


def polygons_to_boxes(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """Return the rectangle of least area around each polygon: the polygon itself, where it is a rectangle.

    One side of that rectangle lies along an edge of the convex hull (Freeman and Shapira, 1975), so every edge is
    tried.

    Args:
        polygons: N arrays (K, 2) of corners in pixels, in any order of turning; K may differ.

    Returns:
        float64 array (N, 5): cx, cy, w, h in pixels, angle in radians in [0, pi / 2), clockwise on screen; w runs along
        the angle.

    Raises:
        ValueError: If a polygon has no corners or a corner is not finite.
    """
    corners = [_checked_corners(polygon) for polygon in polygons]
    blocks = [_least_rectangles(corners[start : start + _BLOCK]) for start in range(0, len(corners), _BLOCK)]
    return np.concatenate([np.zeros((0, 5)), *blocks])


_BLOCK = 256
"""Polygons that are worked on at a time: they take memory by their number and by the square of their corners'."""


def _checked_corners(polygon: np.ndarray) -> np.ndarray:
    corners = np.asarray(polygon, dtype=np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or not len(corners) or not np.isfinite(corners).all():
        raise ValueError(f'a polygon is a list of finite corners (x, y), not {corners.tolist()}')
    return corners


def _least_rectangles(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """Return the boxes (N, 5) of N polygons, by trying each edge of each hull."""
    hulls = _hulls(polygons)
    edges = np.roll(hulls, -1, axis=1) - hulls
    angles = np.arctan2(edges[..., 1], edges[..., 0]) % (np.pi / 2)  # (polygons, edges)
    angles[angles == np.pi / 2] = 0.0  # the remainder of a tiny negative angle is rounded up to the divisor
    cos, sin = np.cos(angles)[..., None], np.sin(angles)[..., None]
    x, y = hulls[:, None, :, 0], hulls[:, None, :, 1]
    extents = np.stack([x * cos + y * sin, y * cos - x * sin], axis=-1)  # (polygons, edges, corners, 2)
    low, high = extents.min(axis=2), extents.max(axis=2)
    areas = np.prod(high - low, axis=-1)
    # Around a triangle the rectangles along its sides are often equal: the first is taken, whatever the last digit.
    is_least = areas <= areas.min(axis=1, keepdims=True) * (1 + 1e-9)
    best = (np.arange(len(hulls)), np.argmax(is_least, axis=1))
    (along, across), cos, sin = ((low + high)[best] / 2).T, cos[best][:, 0], sin[best][:, 0]
    centers = np.stack([along * cos - across * sin, along * sin + across * cos], axis=1)
    return np.column_stack([centers, (high - low)[best], angles[best]])


def _hulls(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """Return the corners of the convex hulls: (N, K, 2); one with fewer than K corners has its first once more."""
    owners = np.repeat(np.arange(len(polygons)), [len(corners) for corners in polygons])
    points = shapely.points(np.concatenate(polygons))
    hulls = shapely.convex_hull(shapely.multipoints(points, indices=owners))
    coordinates, owners = shapely.get_coordinates(hulls, return_index=True)
    counts = np.bincount(owners, minlength=len(polygons))
    first = np.cumsum(counts) - counts
    padded = np.repeat(coordinates[first][:, None], counts.max(), axis=1)
    padded[owners, np.arange(len(owners)) - first[owners]] = coordinates
    return padded
