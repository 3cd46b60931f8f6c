"""Pictures as files in a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from geochat.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ImageFolder:
    """Image source that reads pictures from the files of a folder when they are asked for.

    Pictures come as they are stored: an EXIF orientation is not applied, since the boxes of remote-sensing data refer
    to the stored pixels (the original GeoChat ignores it too). A file that is cut short is an error and not, as in the
    original, a picture whose missing part is grey: its boxes would point at nothing.

    Args:
        root: The folder that names are relative to.

    Raises:
        NotADirectoryError: If there is no such folder.
    """

    def __init__(self, root: str):
        if not Path(root).is_dir():
            raise NotADirectoryError(f'the image folder {str(root)!r} does not exist')
        self.root = str(root)

    def load(self, name: str) -> Image.Image:
        """Read a picture.

        Args:
            name: Path of the file relative to the folder; white space around it is a slip of the data and left out.

        Returns:
            The picture as 8-bit RGB. Grey values are repeated; an alpha channel is dropped.

        Raises:
            OSError: If the file is missing, cut short, not a picture, or has more than 8 bits a channel. The message
                names the file.
        """
        with self._open(name) as image:
            if image.mode.startswith(('I', 'F')):  # Pillow would cut the values off at 255: a white picture
                raise OSError(f'it has more than 8 bits a channel (mode {image.mode}); convert it to 8 bits first')
            return image.convert('RGB')

    def image_size(self, name: str) -> tuple[int, int]:
        """Return a picture's width and height in pixels, from the head of its file alone.

        Raises:
            OSError: If the file is missing or not a picture; the message names it.
        """
        with self._open(name) as image:
            return image.size

    @contextmanager
    def _open(self, name: str) -> Iterator[Image.Image]:
        path = Path(self.root) / name.strip()
        try:
            with Image.open(path) as image:
                yield image
        except FileNotFoundError as error:
            raise FileNotFoundError(f'the picture {path} does not exist') from error
        except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
            raise OSError(f'the picture {path} cannot be read: {error}') from error


@TRANSFORMS.register_module()
class AbsentImages:
    """Image source that stands for a folder which is not there: answers can be scored without the pictures.

    Args:
        root: The folder that names are relative to.
    """

    def __init__(self, root: str):
        self.root = root

    def load(self, name: str) -> Image.Image:
        """Say that there is no picture.

        Raises:
            FileNotFoundError: Always; the message names the folder.
        """
        raise FileNotFoundError(f'the picture {Path(self.root) / name.strip()} does not exist')

    def image_size(self, name: str) -> tuple[int, int]:
        """Say that there is no picture; see :meth:`load`."""
        return self.load(name).size


def image_size(source: Any, name: str) -> tuple[int, int]:
    """Return a picture's width and height in pixels; it is not decoded where its source tells sizes as well.

    Args:
        source: An image source: ``load(name)`` and, if it can do so quickly, ``image_size(name)``.
        name: The picture's name.
    """
    return source.image_size(name) if hasattr(source, 'image_size') else source.load(name).size
