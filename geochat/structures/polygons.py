"""Rotated boxes as their corners, and polygons as rotated boxes."""

from collections.abc import Sequence

import numpy as np
from shapely import MultiPoint

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
    return np.array([_least_rectangle(np.asarray(corners, dtype=np.float64)) for corners in polygons]).reshape(-1, 5)


def _least_rectangle(corners: np.ndarray) -> np.ndarray:
    if corners.ndim != 2 or corners.shape[1:] != (2,) or not len(corners) or not np.isfinite(corners).all():
        raise ValueError(f'a polygon is a list of finite corners (x, y), not {corners.tolist()}')
    hull = _hull(corners)
    edges = np.diff(hull, axis=0, append=hull[:1])
    angles = np.arctan2(edges[:, 1], edges[:, 0]) % (np.pi / 2)
    angles[angles == np.pi / 2] = 0.0  # the remainder of a tiny negative angle is rounded up to the divisor
    along = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    across = np.stack([-np.sin(angles), np.cos(angles)], axis=1)
    extents = np.stack([hull @ along.T, hull @ across.T], axis=2)  # (corners, angles, 2)
    low, high = extents.min(axis=0), extents.max(axis=0)
    best = np.argmin(np.prod(high - low, axis=1))
    middle = (low[best] + high[best]) / 2
    center = middle[0] * along[best] + middle[1] * across[best]
    return np.array([*center, *(high[best] - low[best]), angles[best]])


def _hull(points: np.ndarray) -> np.ndarray:
    """Return the corners of the convex hull: one for a point, two for a line."""
    hull = MultiPoint(points).convex_hull
    ring = hull.exterior if hull.geom_type == 'Polygon' else hull
    corners = np.array(ring.coords)
    return corners[:-1] if hull.geom_type == 'Polygon' else corners
