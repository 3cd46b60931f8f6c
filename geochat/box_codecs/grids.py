"""Grids: how the numbers of a box text lie on a picture, and how finely."""

import math
from dataclasses import dataclass

import numpy as np

from geochat.box_codecs.policy import LIMIT

Size = tuple[float, float]


@dataclass(frozen=True)
class Grid:
    """Numbers from 0 to ``span`` across the width of a picture, and likewise across its height.

    Attributes:
        span: The number that stands for the right and bottom edge, such as 100 for per cent.
        decimals: Digits after the point that are written.
        cells: Whether a number names one of ``span`` cells: a coordinate is rounded down to its cell, and a cell is
            read as its middle. Otherwise a coordinate is rounded to the nearest number, halves upwards.
        bounded: Whether numbers beyond the picture's edges cannot be written; they are moved to the edge. Any number
            can be read.
    """

    span: float
    decimals: int = 0
    cells: bool = False
    bounded: bool = False

    def numbers_per_pixel(self, size: Size) -> np.ndarray:
        """Return what a pixel's width and height are in numbers: (2,)."""
        return self.extent(size) / size

    def extent(self, size: Size) -> np.ndarray:
        """Return the numbers of the right and bottom edge: (2,)."""
        return np.array([self.span, self.span], dtype=np.float64)

    def origin(self, size: Size) -> np.ndarray:
        """Return the number at the picture's left and top edge: (2,)."""
        return np.zeros(2)

    def to_numbers(self, points: np.ndarray, size: Size) -> np.ndarray:
        """Write points.

        Args:
            points: (..., 2), x and y in pixels.
            size: Width and height of the picture in pixels.

        Returns:
            The numbers to write, rounded: (..., 2).
        """
        numbers = points * self.numbers_per_pixel(size) + self.origin(size)
        if self.bounded:
            numbers = np.clip(numbers, self.origin(size), self.origin(size) + self.extent(size))
        return self.round(numbers)

    def to_pixels(self, numbers: np.ndarray, size: Size) -> np.ndarray:
        """Read points: numbers (..., 2) become x and y in pixels."""
        return (numbers + self.cells * 0.5 - self.origin(size)) / self.numbers_per_pixel(size)

    def round(self, numbers: np.ndarray) -> np.ndarray:
        """Return numbers with the digits that are written."""
        if self.cells:
            return np.clip(np.floor(numbers), 0, self.span - 1)
        scale = 10.0**self.decimals
        return np.floor(numbers * scale + 0.5) / scale + 0.0  # -0.0 becomes 0.0

    def write(self, number: float) -> str:
        """Write a rounded number."""
        return f'{number:.{self.decimals}f}' if self.decimals else str(int(number))

    def precision(self, size: Size) -> float:
        """Return the largest error of a coordinate within the picture, in pixels."""
        return float(0.5 * 10.0**-self.decimals / self.numbers_per_pixel(size).min())

    def within_limit(self, numbers: np.ndarray) -> np.ndarray:
        """Tell of each row of numbers whether it can be read back."""
        return (np.abs(numbers) <= LIMIT).all(axis=-1)

    @property
    def pattern(self) -> str:
        """Regular expression of a number as it is written."""
        point = rf'\.[0-9]{{{self.decimals}}}' if self.decimals else ''
        if self.bounded and self.span == 1:
            return rf'(0{point}|1\.{"0" * self.decimals})'
        if self.bounded:
            return rf'(0|[1-9][0-9]{{0,{self._digits - 1}}}){point}'
        return rf'(0|-?[1-9][0-9]{{0,9}}){point}' if not point else rf'-?(0|[1-9][0-9]{{0,9}}){point}'

    @property
    def _digits(self) -> int:
        """How many digits before the point a number of a bounded grid may have."""
        return len(str(int(self.span) - self.cells))


@dataclass(frozen=True)
class SquareGrid(Grid):
    """A grid on the picture padded to a square.

    Attributes:
        padding: ``'centre'`` if the picture stands in the middle of the square, as LLaVA pads, ``'end'`` if the padding
            is at its right or bottom.

    Raises:
        ValueError: If ``padding`` is none of the two.
    """

    padding: str = 'centre'

    def __post_init__(self):
        if self.padding not in ('centre', 'end'):
            raise ValueError(f"padding is 'centre' or 'end', not {self.padding!r}")

    def numbers_per_pixel(self, size: Size) -> np.ndarray:
        """Return the same for both directions: (2,)."""
        return np.full(2, self.span / max(size))

    def extent(self, size: Size) -> np.ndarray:
        """Return the width and height of the picture itself in numbers: (2,)."""
        return np.array(size) * self.numbers_per_pixel(size)

    def origin(self, size: Size) -> np.ndarray:
        """Return where the picture begins in the square: (2,)."""
        return (self.span - self.extent(size)) / 2 if self.padding == 'centre' else np.zeros(2)


@dataclass(frozen=True)
class PixelGrid(Grid):
    """Pixels of the picture as it is. ``span`` is not used."""

    span: float = math.nan

    def extent(self, size: Size) -> np.ndarray:
        """Return the picture's width and height: (2,)."""
        return np.array(size, dtype=np.float64)

    @property
    def _digits(self) -> int:
        return 10  # a picture may have any size


@dataclass(frozen=True)
class ResizedGrid(PixelGrid):
    """Pixels of the picture as the Qwen2.5-VL processor resizes it.

    Both sides become multiples of ``factor`` near their length, so that the picture has at least ``min_pixels`` and at
    most ``max_pixels`` pixels and about its shape (transformers' ``smart_resize``).

    Attributes:
        factor: Pixels of a patch's side times patches of a merged one.
        min_pixels: Least pixels of the resized picture.
        max_pixels: Most pixels of the resized picture.
    """

    factor: int = 28
    min_pixels: int = 56 * 56
    max_pixels: int = 14 * 14 * 4 * 16384

    def extent(self, size: Size) -> np.ndarray:
        """Return the resized picture's width and height: (2,)."""
        # Python's round, halves to even, is what the processor uses. A side that becomes 0 makes the picture grow.
        sides = [round(side / self.factor) * self.factor for side in size]
        pixels = sides[0] * sides[1]
        if pixels > self.max_pixels:
            shrink = math.sqrt(size[0] * size[1] / self.max_pixels)
            sides = [max(self.factor, math.floor(side / shrink / self.factor) * self.factor) for side in size]
        elif pixels < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (size[0] * size[1]))
            sides = [math.ceil(side * grow / self.factor) * self.factor for side in size]
        return np.array(sides, dtype=np.float64)
