"""Shapes: which numbers stand for a rotated box."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from geochat.box_codecs.grids import Grid, Size
from geochat.box_codecs.policy import READ_ALL_THE_SAME, Finding, left_out
from geochat.structures.polygons import box_corners, polygons_to_boxes


class Shape(ABC):
    """The numbers of a box, and the box of numbers.

    Boxes are (N, 5): cx, cy, w, h in pixels of the original image, angle in radians, clockwise on screen.

    Attributes:
        counts: How many numbers a box may have when it is read.
        written: How many numbers are written.
        edge_error: Largest error of an edge, in those of a single number of the grid.
    """

    counts: Sequence[int]
    written: int
    edge_error: ClassVar[float] = 1.0

    @abstractmethod
    def to_numbers(self, boxes: np.ndarray, grid: Grid, size: Size) -> np.ndarray:
        """Return the numbers of boxes, rounded: (N, ``written``). An angle is the last number, in whole degrees."""

    @abstractmethod
    def to_boxes(self, rows: Sequence[Sequence[float]], grid: Grid, size: Size) -> np.ndarray:
        """Return the boxes (N, 5) of N rows of numbers that :meth:`check` let pass."""

    def check(self, numbers: list[float]) -> tuple[list[float] | None, list[Finding]]:
        """Put the numbers of a box in order, or refuse them, and say what is odd about them."""
        return numbers, []

    def write(self, numbers: Sequence[float], grid: Grid) -> list[str]:
        """Return the text of each number of a box."""
        return [grid.write(number) for number in numbers]

    def pattern(self, grid: Grid) -> list[str]:
        """Return a regular expression of each number of a box as it is written."""
        return [grid.pattern] * self.written


def _odd(**codes: bool) -> list[Finding]:
    return [(code, READ_ALL_THE_SAME[code]) for code, is_odd in codes.items() if is_odd]


_QUARTER_TURN = '(90|[1-8]?[0-9])'
"""Regular expression of whole degrees from 0 to 90."""


def _folded(degrees: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return whole degrees folded to 0 to 90 by quarter turns, and whether each exchanges width and height."""
    turns = np.where((degrees >= 0) & (degrees <= 90), 0, degrees // 90)
    return degrees - 90 * turns, turns % 2 == 1


def _sides(boxes: np.ndarray, swap: np.ndarray) -> np.ndarray:
    """Return width and height of boxes (N, 2), exchanged where told."""
    return np.where(swap[:, None], boxes[:, 3:1:-1], boxes[:, 2:4])


def _write_with_angle(numbers: Sequence[float], grid: Grid) -> list[str]:
    """Return the text of four numbers of the grid and of an angle in whole degrees."""
    return [*(grid.write(number) for number in numbers[:4]), str(int(numbers[4]))]


def _in_order(numbers: Sequence[float]) -> tuple[list[float], bool]:
    """Return x1, y1, x2, y2 with the lesser ones first, and whether they were not."""
    x1, y1, x2, y2 = numbers
    return [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)], x1 > x2 or y1 > y2


class Upright(Shape):
    """x1, y1, x2, y2: the least upright rectangle around the box. Angles are lost."""

    counts = (4,)
    written = 4

    def to_numbers(self, boxes: np.ndarray, grid: Grid, size: Size) -> np.ndarray:
        """Return the left, top, right and bottom edges."""
        corners = box_corners(boxes)
        edges = np.stack([corners.min(axis=1), corners.max(axis=1)], axis=1)
        return grid.to_numbers(edges, size).reshape(-1, 4)

    def to_boxes(self, rows: Sequence[Sequence[float]], grid: Grid, size: Size) -> np.ndarray:
        """Return upright boxes."""
        edges = grid.to_pixels(np.array(rows, dtype=np.float64).reshape(-1, 2, 2), size)
        return np.column_stack([edges.mean(axis=1), edges[:, 1] - edges[:, 0], np.zeros(len(edges))])

    def check(self, numbers: list[float]) -> tuple[list[float] | None, list[Finding]]:
        """Exchange edges that stand the wrong way round."""
        edges, is_reversed = _in_order(numbers)
        return edges, _odd(reversed=is_reversed)


@dataclass(frozen=True)
class TurnedEdges(Shape):
    """x1, y1, x2, y2, degrees: the edges of the rectangle before it is turned about its centre.

    The angle is folded to 0 to 90 degrees; each quarter turn taken off exchanges width and height, in pixels, because
    per cent of width and of height are different lengths on a picture that is not square. For the same reason a box is
    turned in pixels when it is read. Without the fifth number the angle is 0.

    Attributes:
        sign: 1 if a positive angle of the text turns clockwise on screen, -1 if counter-clockwise.
    """

    sign: int = 1
    counts: ClassVar = (4, 5)
    written: ClassVar = 5

    def to_numbers(self, boxes: np.ndarray, grid: Grid, size: Size) -> np.ndarray:
        """Return edges and angles."""
        # Rounding comes before folding, so that an angle a hair below 0 or above 90 keeps its sides as they are.
        degrees = np.rint(self.sign * np.rad2deg(boxes[:, 4]))
        degrees, swap = _folded(degrees)
        sides = _sides(boxes, swap)
        edges = np.stack([boxes[:, :2] - sides / 2, boxes[:, :2] + sides / 2], axis=1)
        return np.column_stack([grid.to_numbers(edges, size).reshape(-1, 4), degrees])

    def to_boxes(self, rows: Sequence[Sequence[float]], grid: Grid, size: Size) -> np.ndarray:
        """Return boxes turned by their angles."""
        numbers = np.array(rows, dtype=np.float64).reshape(-1, 5)
        boxes = Upright().to_boxes(numbers[:, :4], grid, size)
        boxes[:, 4] = self.sign * np.deg2rad(numbers[:, 4])
        return boxes

    def check(self, numbers: list[float]) -> tuple[list[float] | None, list[Finding]]:
        """Exchange edges that stand the wrong way round, and take a missing angle as 0."""
        edges, is_reversed = _in_order(numbers[:4])
        degrees = numbers[4] if len(numbers) == 5 else 0.0
        return [*edges, degrees], _odd(reversed=is_reversed, angle_range=not 0 <= degrees <= 90)

    def write(self, numbers: Sequence[float], grid: Grid) -> list[str]:
        """Return the text of each edge and of the angle."""
        return _write_with_angle(numbers, grid)

    def pattern(self, grid: Grid) -> list[str]:
        """Return a regular expression of each number."""
        return [*[grid.pattern] * 4, _QUARTER_TURN]


@dataclass(frozen=True)
class CentreSides(Shape):
    """cx, cy, w, h, degrees: centre, sides and the angle of w, clockwise on screen.

    Attributes:
        long_side: If True w is the longer side and the angle lies in -90 to 89 degrees; if False the angle lies in 0 to
            90 degrees and either side may be the longer.
        turned_in_pixels: Whether w is measured in numbers of the picture's width and h in those of its height whatever
            the angle, so that a box is turned in pixels. Otherwise the numbers are lengths along the sides themselves.
            The two are the same where a pixel has as many numbers across as down.
    """

    long_side: bool
    turned_in_pixels: bool
    counts: ClassVar = (5,)
    written: ClassVar = 5
    edge_error: ClassVar = 1.5  # that of the centre, and half of that of a side

    def to_numbers(self, boxes: np.ndarray, grid: Grid, size: Size) -> np.ndarray:
        """Return centres, sides and angles."""
        per_pixel = grid.numbers_per_pixel(size)
        boxes = self._named(boxes) if self.turned_in_pixels else self._named(self._scaled(boxes, per_pixel))
        sides = boxes[:, 2:4] * per_pixel if self.turned_in_pixels else boxes[:, 2:4]
        centres = boxes[:, :2] if self.turned_in_pixels else boxes[:, :2] / per_pixel
        return np.column_stack([grid.to_numbers(centres, size), grid.round(sides), boxes[:, 4]])

    def to_boxes(self, rows: Sequence[Sequence[float]], grid: Grid, size: Size) -> np.ndarray:
        """Return boxes."""
        boxes = np.array(rows, dtype=np.float64).reshape(-1, 5)
        boxes[:, 4] = np.deg2rad(boxes[:, 4])
        per_pixel = grid.numbers_per_pixel(size)
        centres = grid.to_pixels(boxes[:, :2], size)
        if self.turned_in_pixels:
            return np.column_stack([centres, boxes[:, 2:4] / per_pixel, boxes[:, 4]])
        return np.column_stack([centres, self._scaled(boxes, 1 / per_pixel)[:, 2:]])

    def check(self, numbers: list[float]) -> tuple[list[float] | None, list[Finding]]:
        """Refuse negative sides."""
        if min(numbers[2:4]) < 0:
            return None, [left_out('negative_side')]
        low, high = (-90, 89.999) if self.long_side else (0, 90)
        return numbers, _odd(angle_range=not low <= numbers[4] <= high)

    def write(self, numbers: Sequence[float], grid: Grid) -> list[str]:
        """Return the text of each number; the angle is whole."""
        return _write_with_angle(numbers, grid)

    def pattern(self, grid: Grid) -> list[str]:
        """Return a regular expression of each number."""
        side = grid.pattern.replace('-?', '')
        angle = '(-90|0|-?[1-9]|-?[1-8][0-9])' if self.long_side else _QUARTER_TURN
        return [grid.pattern, grid.pattern, side, side, angle]

    def _named(self, boxes: np.ndarray) -> np.ndarray:
        """Give each box the sides and the angle, in whole degrees, by which this shape names it."""
        # Rounding comes before folding, as in TurnedEdges.
        degrees = np.rint(np.rad2deg(boxes[:, 4]))
        if self.long_side:
            swap = boxes[:, 2] * (1 + 1e-9) < boxes[:, 3]  # a square keeps its angle, whatever the last digit
            degrees = (degrees + 90 * swap + 90) % 180 - 90
        else:
            degrees, swap = _folded(degrees)
        return np.column_stack([boxes[:, :2], _sides(boxes, swap), degrees])

    @staticmethod
    def _scaled(boxes: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """Stretch boxes with the picture they lie on.

        A stretched rectangle is a parallelogram; the box that stands for it has its side w and its area. So stretching
        there and back gives the same box.
        """
        directions = np.column_stack([np.cos(boxes[:, 4]), np.sin(boxes[:, 4])]) * factors
        along = np.hypot(directions[:, 0], directions[:, 1])
        angles = np.arctan2(directions[:, 1], directions[:, 0])
        sides = np.column_stack([boxes[:, 2] * along, boxes[:, 3] * factors.prod() / along])
        return np.column_stack([boxes[:, :2] * factors, sides, angles])


@dataclass(frozen=True)
class Corners(Shape):
    """x, y of each corner. What is read is the rectangle of least area around the corners, in pixels.

    Attributes:
        counts: How many numbers a box may have when it is read.
        closed: Whether the first corner is written once more at the end.

    The corners are written clockwise on screen; the topmost, and of two the left one, comes first.
    """

    counts: Sequence[int] = (8,)
    closed: bool = False

    @property
    def written(self) -> int:
        """How many numbers are written."""
        return 10 if self.closed else 8

    def to_numbers(self, boxes: np.ndarray, grid: Grid, size: Size) -> np.ndarray:
        """Return the corners."""
        corners = grid.to_numbers(box_corners(boxes), size)
        first = np.lexsort((corners[:, :, 0], corners[:, :, 1]), axis=1)[:, 0]
        order = (first[:, None] + np.arange(self.written // 2)) % 4
        return np.take_along_axis(corners, order[:, :, None], axis=1).reshape(-1, self.written)

    def to_boxes(self, rows: Sequence[Sequence[float]], grid: Grid, size: Size) -> np.ndarray:
        """Return the least rectangles."""
        boxes = polygons_to_boxes([grid.to_pixels(np.reshape(row, (-1, 2)), size) for row in rows])
        sides = boxes[:, 2:4]
        sides[sides <= 1e-12 * np.abs(boxes[:, :4]).max(axis=1, initial=0, keepdims=True)] = 0  # corners on a line
        return boxes
