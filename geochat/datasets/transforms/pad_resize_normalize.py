"""CLIP's preparation of a picture as GeoChat was trained with it: pad to a square, resize, normalise."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from geochat.datasets.transforms.geometry import ImageGeometry
from geochat.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PadResizeNormalize:
    """Pad a picture to a square with the mean colour, resize it (Pillow, bicubic) and normalise it channel by channel.

    Nothing of the picture is lost, unlike with the shortest-edge resize and centre crop that the original's evaluation
    scripts use; on square pictures the two are the same.

    Args:
        size: Width and height in pixels of the model's picture.
        mean: Mean of red, green and blue, on a scale from 0 to 1. The padding has this colour, rounded down to a whole
            number of 255ths, as LLaVA rounds it: (122, 116, 104) for CLIP.
        std: Standard deviation of red, green and blue, on the same scale.

    Raises:
        ValueError: If ``size`` is not positive, or ``mean`` and ``std`` do not have three values each.
    """

    repeatable = True
    """Equal for equal pictures: nothing is drawn."""

    def __init__(self, size: int, mean: Sequence[float], std: Sequence[float]):
        if size < 1 or len(mean) != 3 or len(std) != 3:
            raise ValueError(f'size must be positive, mean and std have three values each; got {size}, {mean}, {std}')
        self.size = size
        # What each of the 256 values becomes in each channel, rounded where the original's image processor rounds.
        values = (np.arange(256) / 255).astype(np.float32)[:, None]
        self.normalized = ((values - np.float32(mean)) / np.float32(std)).T
        self.padding_color = tuple(int(value * 255) for value in mean)

    def __call__(self, image: Image.Image) -> tuple[np.ndarray, ImageGeometry]:
        """Prepare a picture.

        Args:
            image: RGB picture of any size.

        Returns:
            float32 array (3, size, size), and the geometry of the mapping.
        """
        geometry = self.geometry(image.size)
        if image.width != image.height:
            side = max(image.size)
            square = Image.new('RGB', (side, side), self.padding_color)
            square.paste(image, _corner(image.size))
            image = square
        pixels = np.asarray(image.resize((self.size, self.size), Image.Resampling.BICUBIC))
        return np.stack([table[pixels[..., channel]] for channel, table in enumerate(self.normalized)]), geometry

    def geometry(self, image_size: tuple[int, int]) -> ImageGeometry:
        """Return the mapping of a picture of a size (width, height)."""
        scale = self.size / max(image_size)
        left, top = _corner(image_size)
        return ImageGeometry(tuple(image_size), (self.size, self.size), scale, (left * scale, top * scale))


def _corner(image_size: tuple[int, int]) -> tuple[int, int]:
    """Where the upper left corner of a picture lies in its square."""
    side = max(image_size)
    return (side - image_size[0]) // 2, (side - image_size[1]) // 2
