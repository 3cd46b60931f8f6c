"""What every box codec is: a box language in which places on a picture are written into text and read back."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from geochat.structures import GroundedText


class BoxCodec(ABC):
    """A box language.

    Boxes are float64 arrays (N, 5): cx, cy, w, h in pixels of the original image, angle in radians, clockwise on screen
    (y down). Image sizes are ``(width, height)`` in pixels.

    Attributes:
        pattern: Regular expression of one box as :meth:`encode` writes it; no look-around, no back references.
        separator: Regular expression of what may stand between two boxes of one list.
        opening: Regular expression of what may stand before a list of boxes and is part of it, such as a tag.
        closing: Regular expression of what may stand after a list of boxes and is part of it.
        phrase_marks: What stands before and after a phrase whose boxes follow; None if the language marks no phrases.
    """

    pattern: str
    separator: str
    opening: str = ''
    closing: str = ''
    phrase_marks: tuple[str, str] | None = None

    @abstractmethod
    def encode(self, boxes: np.ndarray, image_size: tuple[int, int], labels: Sequence[str] | None = None) -> str:
        """Write boxes as text.

        Args:
            boxes: (N, 5), pixels and radians. N may be 0, which gives the empty string.
            image_size: Width and height of the original image in pixels.
            labels: What each box shows, written as the language writes phrases or labels; None writes boxes alone.

        Returns:
            The boxes in their order.

        Raises:
            ValueError: If a box is not finite or has a negative side, the image size is not positive, or there are not
                as many labels as boxes.
        """

    @abstractmethod
    def decode(self, text: str, image_size: tuple[int, int]) -> GroundedText:
        """Read the boxes and phrases of a model's text; no text makes it raise.

        Args:
            text: Any text.
            image_size: Width and height of the original image in pixels.

        Returns:
            The boxes that could be read, each with its characters of ``text``, and diagnostics of the rest.

        Raises:
            ValueError: If the image size is not positive.
        """

    @abstractmethod
    def precision(self, image_size: tuple[int, int]) -> float:
        """Return the largest error in pixels that writing a box does to one of its edges.

        That is an edge before the box is turned, or a coordinate of a corner for a language of corners, of a box that
        lies within the picture. The angle has an error of its own. An upright language has it of the enclosing box.

        Args:
            image_size: Width and height of the original image in pixels.

        Raises:
            ValueError: If the image size is not positive.
        """

    def decode_strict(self, text: str, image_size: tuple[int, int]) -> GroundedText:
        """Read the boxes of a text that a person or a data file gives, where an unreadable box is an error.

        Raises:
            ValueError: If a box of the text cannot be read; the message quotes it.
        """
        grounded = self.decode(text, image_size)
        for diagnostic in grounded.diagnostics:
            if diagnostic.left_out:
                start, end = diagnostic.span
                raise ValueError(f'cannot read the box {text[start:end]!r} (character {start}): {diagnostic.message}')
        return grounded


def check_image_size(image_size: tuple[int, int] | None) -> tuple[float, float]:
    """Return width and height of a picture as floats.

    Raises:
        ValueError: If there is no size, or a side is not a positive finite number.
    """
    sides = () if image_size is None else tuple(map(float, image_size))
    if len(sides) != 2 or not all(np.isfinite(side) and side > 0 for side in sides):
        raise ValueError(f"boxes need the picture's size (width, height) in pixels, not {image_size!r}")
    return sides


def check_boxes(boxes: np.ndarray | Sequence) -> np.ndarray:
    """Return boxes as a float64 array (N, 5).

    Raises:
        ValueError: If the shape is another, a value is not finite or a side is negative; the message names the row.
    """
    array = np.asarray(boxes, dtype=np.float64)
    if array.size == 0:
        return np.zeros((0, 5))
    if array.ndim != 2 or array.shape[1] != 5:
        raise ValueError(f'boxes are an array (N, 5) of cx, cy, w, h, angle, not of shape {array.shape}')
    wrong = ~np.isfinite(array).all(axis=1) | (array[:, 2:4] < 0).any(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f'box {row} is not finite or has a negative side: {array[row].tolist()}')
    return array
