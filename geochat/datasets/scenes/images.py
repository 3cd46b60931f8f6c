"""Image source that draws built-in scenes when they are asked for."""

from PIL import Image

from geochat.datasets.scenes.drawing import draw_scene
from geochat.datasets.scenes.layout import make_scene, parse_name
from geochat.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SceneImages:
    """Image source of the built-in scenes; nothing is read from disk.

    Args:
        size: Width and height of the pictures in pixels.

    Raises:
        ValueError: If ``size`` is not positive.
    """

    def __init__(self, size: int):
        if size < 1:
            raise ValueError(f'pictures of scenes have a positive size, not {size}')
        self.size = size

    def load(self, name: str) -> Image.Image:
        """Draw a scene.

        Args:
            name: Such as ``'train/000123.png'``.

        Returns:
            The picture as 8-bit RGB.

        Raises:
            ValueError: If the name is not that of a scene.
        """
        return draw_scene(make_scene(*parse_name(name)), self.size)

    def image_size(self, name: str) -> tuple[int, int]:
        """Return a picture's width and height in pixels, without drawing it.

        Raises:
            ValueError: If the name is not that of a scene.
        """
        parse_name(name)
        return self.size, self.size
