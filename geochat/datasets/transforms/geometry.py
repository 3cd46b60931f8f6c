"""Where a picture's pixels go when it is prepared for a vision encoder."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ImageGeometry:
    """How the pixels of an original picture map to those of the model's picture: one scale and a shift.

    The scale is the same along both axes, so a rotated box stays a rotated box and keeps its angle. Coordinates count
    from the left or upper edge of the first pixel, as Pillow's resampling does: pixel ``i`` covers ``[i, i + 1)``.

    Attributes:
        image_size: Width and height in pixels of the original picture.
        model_size: Width and height in pixels of the model's picture.
        scale: Pixels of the model's picture per pixel of the original.
        offset: Where the original's upper left corner lies, in pixels (x, y) of the model's picture.
    """

    image_size: tuple[int, int]
    model_size: tuple[int, int]
    scale: float
    offset: tuple[float, float]

    def to_model(self, boxes: np.ndarray) -> np.ndarray:
        """Map boxes of the original picture to the model's.

        Args:
            boxes: (N, 5): cx, cy, w, h in pixels of the original picture, angle in radians.

        Returns:
            float64 array (N, 5) in pixels of the model's picture.
        """
        mapped = np.array(boxes, dtype=np.float64).reshape(-1, 5)
        mapped[:, :4] *= self.scale
        mapped[:, :2] += self.offset
        return mapped

    def to_original(self, boxes: np.ndarray) -> np.ndarray:
        """Map boxes of the model's picture to the original: the inverse of :meth:`to_model`."""
        mapped = np.array(boxes, dtype=np.float64).reshape(-1, 5)
        mapped[:, :2] -= self.offset
        mapped[:, :4] /= self.scale
        return mapped
