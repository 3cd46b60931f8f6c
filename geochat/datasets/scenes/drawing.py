"""Pixels of a built-in scene, drawn by code at any size."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from PIL import Image

from geochat.datasets.scenes.layout import COLORS, Scene, SceneObject, scene_seed

Color = tuple[int, int, int]
Points = Sequence[tuple[float, float]]

_SUBPIXEL_BITS = 4
_FINEST = 224
"""Pictures are drawn at least this large and at twice their size, then averaged down: edges keep their exact place."""

_SHADOW = (0.010, 0.014)


def draw_scene(scene: Scene, size: int) -> Image.Image:
    """Draw a scene.

    Args:
        scene: What stands where.
        size: Width and height of the picture in pixels.

    Returns:
        An RGB picture, the same on every machine.
    """
    factor = max(2, round(_FINEST / size))
    rng = np.random.default_rng(list(scene_seed(scene.split, scene.index).encode()))
    grain_start = rng.integers(0, _GRAIN_SIZE, size=2)
    canvas = _Canvas(size * factor, rng)
    _BACKGROUND_PAINTERS[scene.background](canvas)
    for item in scene.objects:
        _paint_object(canvas, item)
    pixels = cv2.resize(canvas.pixels, (size, size), interpolation=cv2.INTER_AREA)
    return Image.fromarray(_roughened(pixels, grain_start))


class _Canvas:
    """A square RGB picture that is painted on in units of its side, with the random numbers of its scene."""

    def __init__(self, side: int, rng: np.random.Generator):
        self.side = side
        self.rng = rng
        self.pixels = np.empty((side, side, 3), dtype=np.uint8)

    def fill(self, color: Color, contrast: float, cells: int) -> None:
        """Fill with a colour whose brightness wavers by ``contrast`` on a grid of ``cells`` by ``cells``."""
        waves = self.rng.standard_normal((cells, cells, 1)) * contrast
        grid = np.clip(np.rint(waves + color), 0, 255).astype(np.uint8)
        self.pixels = cv2.resize(grid, (self.side, self.side), interpolation=cv2.INTER_LINEAR)

    def polygon(self, points: Points, color: Color) -> None:
        """Paint a polygon whose corners are in units of the side."""
        self.polygons(np.asarray(points)[None], color)

    def polygons(self, points: np.ndarray, color: Color) -> None:
        """Paint polygons (N, K, 2) that do not overlap, in units of the side, at once."""
        # Pixel i covers [i, i + 1), and OpenCV's whole numbers are pixel centres: hence the half.
        fixed = np.rint((points * self.side - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillPoly(self.pixels, list(fixed), color, cv2.LINE_AA, _SUBPIXEL_BITS)

    def disc(self, x: float, y: float, radius: float, color: Color) -> None:
        """Paint a disc."""
        one = self.side * (1 << _SUBPIXEL_BITS)
        half = 1 << (_SUBPIXEL_BITS - 1)
        centre = (round(x * one) - half, round(y * one) - half)
        cv2.circle(self.pixels, centre, round(radius * one), color, cv2.FILLED, cv2.LINE_8, _SUBPIXEL_BITS)

    def strip(self, x: float, y: float, direction: float, length: float, width: float, color: Color) -> None:
        """Paint a rectangle about (x, y) whose length lies along ``direction`` (radians, clockwise)."""
        self.polygon(_turned(_rectangle(-length / 2, length / 2, -width / 2, width / 2), x, y, direction), color)

    def jitter(self, color: Color, amount: int) -> Color:
        """Return a colour near the given one."""
        return tuple(int(np.clip(value + self.rng.integers(-amount, amount + 1), 0, 255)) for value in color)


_GRAIN_SIZE = 512


@functools.cache
def _grain() -> np.ndarray:
    """Return noise to add to pictures, the same for all channels: int16 array (512, 512, 3)."""
    noise = np.rint(np.random.default_rng(0).standard_normal((_GRAIN_SIZE, _GRAIN_SIZE, 1)) * 5)
    return np.repeat(noise.astype(np.int16), 3, axis=2)


def _roughened(pixels: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Add fine noise to a picture, from a place of the grain on, so that no area is flat."""
    rows, columns = (first + np.arange(len(pixels)) for first in start)
    patch = _grain().take(rows, axis=0, mode='wrap').take(columns, axis=1, mode='wrap')
    return cv2.add(pixels, patch, dtype=cv2.CV_8U)


def _rectangle(left: float, right: float, top: float, bottom: float) -> Points:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _turned(points: Points, x: float, y: float, direction: float) -> Points:
    """Turn points clockwise about the origin and move them to (x, y)."""
    cos, sin = math.cos(direction), math.sin(direction)
    return [(x + u * cos - v * sin, y + u * sin + v * cos) for u, v in points]


def _shade(color: Color, factor: float) -> Color:
    return tuple(min(255, round(value * factor)) for value in color)


# ---- backgrounds -----------------------------------------------------------------------------------------------------


def _harbor(canvas: _Canvas) -> None:
    canvas.fill(canvas.jitter((58, 112, 128), 10), contrast=7, cells=14)
    rng = canvas.rng
    direction = rng.integers(4) * math.pi / 2 + rng.uniform(-0.12, 0.12)
    concrete = canvas.jitter((158, 152, 142), 8)
    depth = rng.uniform(0.10, 0.18)
    across, along = math.cos(direction), math.sin(direction)
    edge_x, edge_y = 0.5 + 0.5 * across, 0.5 + 0.5 * along
    canvas.strip(edge_x, edge_y, direction, 2 * depth, 1.6, concrete)
    for offset in np.arange(-0.36, 0.5, 0.24) + rng.uniform(-0.05, 0.05):
        reach = depth + rng.uniform(0.12, 0.26)
        canvas.strip(edge_x - along * offset, edge_y + across * offset, direction, 2 * reach, 0.035, concrete)


def _airport(canvas: _Canvas) -> None:
    canvas.fill(canvas.jitter((122, 134, 96), 8), contrast=8, cells=10)
    rng = canvas.rng
    direction = rng.uniform(0, math.pi)
    asphalt = canvas.jitter((98, 98, 102), 6)
    x, y = rng.uniform(0.35, 0.65, size=2)
    canvas.strip(x, y, direction, 3.0, 0.17, asphalt)
    for step in np.arange(-1.0, 1.0, 0.13):
        canvas.strip(
            x + step * math.cos(direction), y + step * math.sin(direction), direction, 0.06, 0.012, (214, 214, 210)
        )
    canvas.strip(x, y, direction + rng.uniform(0.9, 1.5), 3.0, 0.07, asphalt)


def _residential(canvas: _Canvas) -> None:
    canvas.fill(canvas.jitter((128, 140, 104), 8), contrast=10, cells=16)
    rng = canvas.rng
    direction = rng.uniform(0, math.pi / 2)
    cos, sin = math.cos(direction), math.sin(direction)
    step = rng.uniform(0.26, 0.32)
    street = canvas.jitter((150, 148, 146), 6)
    rows = np.arange(-0.7, 0.7, step) + rng.uniform(0, 0.1)
    for row in rows:
        canvas.strip(0.5 - row * sin, 0.5 + row * cos, direction, 3.0, 0.032, street)
    columns, house_rows = np.meshgrid(np.arange(-0.735, 0.74, 0.105), np.concatenate([rows - 0.08, rows + 0.08]))
    u, v = columns.ravel(), house_rows.ravel()
    u = u + rng.uniform(-0.01, 0.01, u.shape)
    centres = np.column_stack([0.5 + u * cos - v * sin, 0.5 + u * sin + v * cos])
    centres = centres[(np.abs(centres - 0.5) < 0.55).all(axis=1)]
    kinds = rng.integers(3, size=len(centres))
    eaves, ridges = (
        np.array(_turned(_rectangle(-0.034, 0.034, -0.026, bottom), 0, 0, direction)) for bottom in (0.026, 0.002)
    )
    for kind in range(3):
        roof = canvas.jitter((148, 104, 84), 14)
        houses = centres[kinds == kind, None]
        canvas.polygons(houses + eaves, _shade(roof, 0.8))
        canvas.polygons(houses + ridges, roof)


def _farmland(canvas: _Canvas) -> None:
    canvas.fill(canvas.jitter((134, 146, 82), 8), contrast=5, cells=8)
    rng = canvas.rng
    direction = rng.uniform(-0.3, 0.3)
    cos, sin = math.cos(direction), math.sin(direction)
    columns, rows = (np.sort(rng.uniform(-0.2, 1.2, size=count)) - 0.5 for count in (3, 3))
    columns, rows = np.array([-0.9, *columns, 0.9]), np.array([-0.9, *rows, 0.9])
    crops = ((150, 160, 80), (112, 142, 70), (172, 156, 98), (134, 118, 78), (96, 126, 62))
    for left, right in itertools.pairwise(columns):
        for top, bottom in itertools.pairwise(rows):
            crop = canvas.jitter(crops[rng.integers(len(crops))], 8)
            canvas.polygon(_turned(_rectangle(left, right - 0.012, top, bottom - 0.012), 0.5, 0.5, direction), crop)
            lines = np.arange(top + 0.02, bottom - 0.03, 0.045)
            if rng.random() < 0.7 and len(lines):
                furrow = np.array(_turned(_rectangle(left, right - 0.012, 0, 0.016), 0.5, 0.5, direction))
                canvas.polygons(furrow + lines[:, None, None] * [-sin, cos], _shade(crop, 0.9))


def _forest(canvas: _Canvas) -> None:
    canvas.fill(canvas.jitter((36, 66, 36), 5), contrast=6, cells=16)
    rng = canvas.rng
    count = 110
    crowns = np.column_stack(
        [rng.uniform(0, 1, (count, 2)), rng.uniform(0.032, 0.066, count), rng.uniform(0.75, 1.25, count)]
    )
    for x, y, radius, brightness in crowns:
        color = _shade((52, 96, 46), brightness)
        canvas.disc(x, y, radius, _shade(color, 0.75))
        canvas.disc(x - radius * 0.2, y - radius * 0.25, radius * 0.7, color)


def _desert(canvas: _Canvas) -> None:
    canvas.fill(canvas.jitter((206, 178, 128), 8), contrast=6, cells=9)
    rng = canvas.rng
    direction = rng.uniform(0, math.pi)
    phases = rng.uniform(0, 2 * math.pi, size=2)
    spacing = rng.uniform(0.09, 0.14)
    sand = canvas.jitter((186, 156, 108), 6)
    u = np.linspace(-0.9, 0.9, 25)
    for row in np.arange(-0.8, 0.81, spacing):
        crest = row + 0.02 * np.sin(9 * u + phases[0] + 3 * row) + 0.012 * np.sin(21 * u + phases[1])
        points = [*zip(u, crest, strict=True), *zip(u[::-1], crest[::-1] + spacing * 0.3, strict=True)]
        canvas.polygon(_turned(points, 0.5, 0.5, direction), sand)


_BACKGROUND_PAINTERS: dict[str, Callable[[_Canvas], None]] = {
    'harbor': _harbor,
    'airport': _airport,
    'residential': _residential,
    'farmland': _farmland,
    'forest': _forest,
    'desert': _desert,
}

# ---- objects: parts in units of the object's box, u forwards and v to the right, both -1/2 to 1/2 --------------------


Parts = list[tuple[Points, Color]]


def _ship(color: Color, trim: Color) -> Parts:
    hull = [
        (-0.5, -0.34),
        (-0.42, -0.5),
        (0.12, -0.5),
        (0.34, -0.3),
        (0.5, 0),
        (0.34, 0.3),
        (0.12, 0.5),
        (-0.42, 0.5),
        (-0.5, 0.34),
    ]
    deck = [(0.72 * u + 0.02, 0.6 * v) for u, v in hull]
    return [
        (hull, color),
        (deck, _shade(color, 0.72) if sum(color) > 200 else (84, 84, 88)),
        (_rectangle(-0.34, -0.14, -0.28, 0.28), trim),
    ]


def _airplane(color: Color, trim: Color) -> Parts:
    body = [(0.5, 0), (0.44, -0.055), (0.3, -0.08), (-0.4, -0.06), (-0.5, 0), (-0.4, 0.06), (0.3, 0.08), (0.44, 0.055)]
    wings = [(0.2, 0), (0.12, -0.1), (-0.12, -0.5), (-0.24, -0.5), (-0.1, 0), (-0.24, 0.5), (-0.12, 0.5), (0.12, 0.1)]
    tail = [(-0.32, 0), (-0.44, -0.2), (-0.5, -0.2), (-0.46, 0), (-0.5, 0.2), (-0.44, 0.2)]
    cockpit = [(0.44, -0.04), (0.38, -0.06), (0.38, 0.06), (0.44, 0.04)]
    return [(wings, color), (tail, color), (body, _shade(color, 0.88)), (cockpit, trim)]


def _truck(color: Color, trim: Color) -> Parts:
    load = _rectangle(-0.5, 0.2, -0.5, 0.5)
    roof = _rectangle(-0.44, 0.14, -0.36, 0.36)
    return [
        (load, _shade(color, 0.8)),
        (roof, color),
        (_rectangle(0.18, 0.27, -0.2, 0.2), (70, 70, 72)),
        (_rectangle(0.25, 0.5, -0.46, 0.46), color),
        (_rectangle(0.36, 0.44, -0.38, 0.38), trim),
    ]


def _tennis_court(color: Color, trim: Color) -> Parts:
    line = trim
    parts = [(_rectangle(-0.5, 0.5, -0.5, 0.5), color)]
    for left, right, top, bottom in (
        (-0.42, 0.42, -0.40, -0.35),
        (-0.42, 0.42, 0.35, 0.40),
        (-0.42, -0.39, -0.4, 0.4),
        (0.39, 0.42, -0.4, 0.4),
        (-0.22, -0.19, -0.4, 0.4),
        (0.19, 0.22, -0.4, 0.4),
        (-0.2, 0.2, -0.025, 0.025),
        (-0.02, 0.02, -0.47, 0.47),
    ):
        parts.append((_rectangle(left, right, top, bottom), line))
    return parts


def _building(color: Color, trim: Color) -> Parts:
    ridge = (-0.2, 0.2)
    north = [(-0.5, -0.5), (0.5, -0.5), (ridge[1], 0), (ridge[0], 0)]
    south = [(-0.5, 0.5), (0.5, 0.5), (ridge[1], 0), (ridge[0], 0)]
    west = [(-0.5, -0.5), (ridge[0], 0), (-0.5, 0.5)]
    east = [(0.5, -0.5), (ridge[1], 0), (0.5, 0.5)]
    dark = (66, 66, 72) if sum(color) < 200 else _shade(color, 0.66)
    return [(north, color), (south, dark), (west, _shade(color, 0.82)), (east, _shade(color, 0.74))]


def _bridge(color: Color, trim: Color) -> Parts:
    parts = [(_rectangle(-0.5, 0.5, -0.5, 0.5), color), (_rectangle(-0.5, 0.5, -0.34, 0.34), (126, 126, 128))]
    parts += [(_rectangle(u - 0.05, u + 0.05, -0.04, 0.04), (236, 236, 232)) for u in (-0.4, -0.2, 0.0, 0.2, 0.4)]
    parts += [(_rectangle(u - 0.02, u + 0.02, -0.5, 0.5), color) for u in (-0.48, -0.1, 0.1, 0.48)]
    return parts


_OBJECT_PARTS: dict[str, Callable[[Color, Color], Parts]] = {
    'ship': _ship,
    'airplane': _airplane,
    'truck': _truck,
    'tennis court': _tennis_court,
    'building': _building,
    'bridge': _bridge,
}


def _paint_object(canvas: _Canvas, item: SceneObject) -> None:
    color = canvas.jitter(COLORS[item.color], 10)
    trim = (52, 58, 66) if sum(color) > 420 else (228, 228, 224)
    parts = _OBJECT_PARTS[item.category](color, trim)
    # OpenCV's polygons reach half a pixel beyond their corners.
    length, width = item.length - 1 / canvas.side, item.width - 1 / canvas.side
    scaled = [([(u * length, v * width) for u, v in points], paint) for points, paint in parts]
    shadow = _shade(tuple(int(value) for value in canvas.pixels[0, 0]), 0.45)
    silhouettes = scaled[:1] if item.category in ('ship', 'tennis court', 'building', 'bridge') else scaled[:3]
    if item.category != 'tennis court':
        for points, _ in silhouettes:
            canvas.polygon(_turned(points, item.cx + _SHADOW[0], item.cy + _SHADOW[1], item.heading), shadow)
    for points, paint in scaled:
        canvas.polygon(_turned(points, item.cx, item.cy, item.heading), paint)
