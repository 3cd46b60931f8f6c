"""Pictures as users bring them, made into what the model takes: 8-bit RGB, of a size that can be worked with."""

import base64
import binascii
import io
import math
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from geochat.apis.errors import PictureError, PictureTooLargeError

Picture = str | Path | bytes | Image.Image | np.ndarray
"""A file's path or content, a data URL, a Pillow image or an array."""

FORMATS = ('PNG', 'JPEG', 'TIFF', 'WEBP', 'JPEG2000', 'BMP', 'GIF', 'PPM')
"""Pillow's names of what is read. Others are not, above all EPS, for which Pillow runs Ghostscript."""

CHANNELS = ('grey', 'rgb', 'bgr', 'rgba', 'bgra')
"""Orders of an array's channels."""

STRETCHES = ('full', 'minmax', 'percentile')

PERCENTILES = (2, 98)
"""What ``stretch='percentile'`` makes black and white, as GIS programs do by default."""


@dataclass(frozen=True)
class PictureSettings:
    """What pictures are taken, and how.

    Attributes:
        channels: Order of an array's channels, of :data:`CHANNELS`; needed for arrays alone.
        stretch: How values of more than 8 bits become 8: ``'full'`` (the whole range of the type, of integers),
            ``'minmax'`` (the picture's least value becomes black, its largest white), ``'percentile'`` (so do its 2nd
            and 98th percentile), or the two values that become black and white. All channels are stretched alike. None
            refuses such pictures: which values mean something is known to whoever made them.
        allow_urls: True fetches pictures from ``http`` and ``https`` addresses, those of the own network too.
        max_side: Most pixels of the longer side. The model pads a picture to a square, so this also bounds memory.
        max_bytes: Most bytes of a file that is fetched.
        timeout: Seconds that an address may take to answer.

    Raises:
        ValueError: If a setting is none of these.
    """

    channels: str | None = None
    stretch: str | tuple[float, float] | None = None
    allow_urls: bool = False
    max_side: int = 9000
    max_bytes: int = 200_000_000
    timeout: float = 20.0

    def __post_init__(self):
        if self.channels is not None and self.channels not in CHANNELS:
            raise ValueError(f'channels is one of {", ".join(CHANNELS)}, not {self.channels!r}')
        if isinstance(self.stretch, tuple):
            if not _is_range(self.stretch):
                raise ValueError(f'a stretch has two values, the smaller first, not {self.stretch!r}')
        elif self.stretch is not None and self.stretch not in STRETCHES:
            known = ', '.join(STRETCHES)
            raise ValueError(f'stretch is one of {known}, or a tuple of two values, not {self.stretch!r}')
        for name in ('max_side', 'max_bytes'):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f'{name} is a whole number from 1, not {value!r}')
        if not isinstance(self.timeout, Real) or not 0 < self.timeout < math.inf:
            raise ValueError(f'timeout is a number of seconds above 0, not {self.timeout!r}')


def _is_range(values: tuple[Any, ...]) -> bool:
    numbers = [value for value in values if isinstance(value, Real) and math.isfinite(value)]
    return len(numbers) == len(values) == 2 and numbers[0] < numbers[1]


DEFAULT_SETTINGS = PictureSettings()


def read_picture(
    picture: Picture, settings: PictureSettings = DEFAULT_SETTINGS, name: str | None = None
) -> Image.Image:
    """Read a picture that a user brought.

    Pictures come as they are stored: an EXIF orientation is not applied, since boxes are told in stored pixels. Of a
    file with several pictures the first is taken. Palettes and CMYK are turned into RGB, grey values repeated, an alpha
    channel is dropped, as in training.

    Args:
        picture: A path, a file's content, a data URL, an ``http`` or ``https`` address where that is allowed, a Pillow
            image, or an array (H, W) or (H, W, channels).
        settings: What is taken, and how.
        name: What messages call it; None takes :func:`picture_name`.

    Returns:
        8-bit RGB.

    Raises:
        PictureError: If it cannot be taken; the message names the picture and says why.
    """
    name = name or picture_name(picture)
    if isinstance(picture, np.ndarray):
        return _of_array(picture, settings.channels, settings, name)
    if isinstance(picture, Image.Image):
        with _naming(name):
            return _of_image(picture, settings, name)
    if isinstance(picture, bytes):
        return _of_bytes(picture, settings, name)
    if not isinstance(picture, str | Path):
        raise PictureError(
            f'a picture is a path, the bytes of a file, a Pillow image or a NumPy array, not a {type(picture).__name__}'
        )
    text = str(picture)
    if text.startswith('data:'):
        return _of_bytes(_data_of(text, settings), settings, name)
    if '://' in text:
        return _of_bytes(_fetch(text, settings), settings, name)
    return _of_bytes(_read_file(Path(picture)), settings, name)


def picture_name(picture: Picture) -> str:
    """Return what a picture is called in messages and files: its path or address, or what kind of thing it is."""
    if isinstance(picture, str | Path):
        text = str(picture)
        return f'{text[:40]}...' if text.startswith('data:') and len(text) > 40 else text
    if isinstance(picture, Image.Image):
        return getattr(picture, 'filename', '') or '<image>'
    return {bytes: '<bytes>', np.ndarray: '<array>'}.get(type(picture), f'<{type(picture).__name__}>')


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name the picture in whatever goes wrong while it is read."""
    try:
        yield
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureTooLargeError(f'the picture {name} is too large: {error}') from error
    except Image.UnidentifiedImageError as error:
        raise PictureError(f'{name} is not a picture of a known kind ({", ".join(FORMATS)})') from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        raise PictureError(f'the picture {name} cannot be read: {error}') from error


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise PictureError(f'the picture {path} does not exist') from error
    except OSError as error:
        raise PictureError(f'the picture {path} cannot be read: {error.strerror}') from error
    except ValueError as error:
        raise PictureError(f'the picture {str(path)!r} cannot be read: {error}') from error


def _data_of(url: str, settings: PictureSettings) -> bytes:
    head, comma, content = url.partition(',')
    if not comma or not head.endswith(';base64'):
        raise PictureError('a data URL of a picture begins with data:image/KIND;base64, before its content')
    if len(content) * 3 // 4 > settings.max_bytes:
        raise PictureTooLargeError(f'the picture in the data URL has more than {settings.max_bytes:,} bytes')
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PictureError(f'the content of the data URL is not base64: {error}') from error


def _fetch(url: str, settings: PictureSettings) -> bytes:
    if not settings.allow_urls:
        raise PictureError(f'{url}: pictures from addresses are not fetched unless allow_urls=True is set')
    if not url.lower().startswith(('http://', 'https://')):
        raise PictureError(f'{url}: only http and https addresses are fetched')
    try:
        with urllib.request.urlopen(url, timeout=settings.timeout) as answer:
            content = answer.read(settings.max_bytes + 1)
    except (OSError, ValueError) as error:  # urllib's errors are OSErrors
        raise PictureError(f'the picture {url} cannot be fetched: {error}') from error
    if len(content) > settings.max_bytes:
        raise PictureTooLargeError(f'the picture {url} has more than {settings.max_bytes:,} bytes')
    return content


def _of_bytes(content: bytes, settings: PictureSettings, name: str) -> Image.Image:
    with _naming(name), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        _check_size(image.size, settings, name)
        if _has_wide_channels(image):
            values = _decode_wide(content)
            return _of_array(values, 'bgr' if values.shape[2] == 3 else 'bgra', settings, name)
        return _of_image(image, settings, name)


def _of_image(image: Image.Image, settings: PictureSettings, name: str) -> Image.Image:
    _check_size(image.size, settings, name)
    if image.mode.startswith(('I', 'F')):
        return _of_array(np.asarray(image), 'grey', settings, name)
    if image.mode == 'P' and 'transparency' in image.info:  # which Pillow warns of on the direct way
        image = image.convert('RGBA')
    return image.convert('RGB')


def _has_wide_channels(image: Image.Image) -> bool:
    """Tell whether Pillow would cut the values of several channels down to their upper 8 bits."""
    return len(image.getbands()) > 1 and any(';16' in str(tile[3]) for tile in image.tile)


def _decode_wide(content: bytes) -> np.ndarray:
    """Return a picture of several 16-bit channels as OpenCV reads it: blue, green, red, and perhaps alpha."""
    import cv2

    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3:
        raise ValueError('its channels have more than 8 bits and cannot be decoded')
    return values


def _check_size(size: tuple[int, int], settings: PictureSettings, name: str) -> None:
    if min(size) < 1:
        raise PictureError(f'the picture {name} has no pixels: {size[0]} x {size[1]}')
    if max(size) > settings.max_side:
        raise PictureTooLargeError(
            f'the picture {name} is too large: {size[0]} x {size[1]} pixels, at most {settings.max_side} on a side'
        )


def _of_array(values: np.ndarray, channels: str | None, settings: PictureSettings, name: str) -> Image.Image:
    """Turn an array (H, W) or (H, W, channels) into 8-bit RGB."""
    if channels is None:
        raise PictureError(f'the channel order of an array must be named: channels is one of {", ".join(CHANNELS)}')
    if values.ndim == 2:
        values = values[..., None]
    shape = values.shape
    count = 1 if channels == 'grey' else len(channels)
    if values.ndim != 3 or shape[2] != count:
        raise PictureError(f'an array with channels={channels!r} has the shape (height, width, {count}), not {shape}')
    _check_size((shape[1], shape[0]), settings, name)
    values = values[..., :3]
    if channels.startswith('bgr'):
        values = values[..., ::-1]
    pixels = values if values.dtype == np.uint8 else _stretched(values, settings.stretch, name)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (*shape[:2], 3))))


def _stretched(values: np.ndarray, stretch: str | tuple[float, float] | None, name: str) -> np.ndarray:
    """Map values to 0 to 255; what is not a number, as where there are no data, becomes black."""
    if values.dtype.kind not in 'iuf':
        raise PictureError(f'the picture {name} has values of the type {values.dtype}; numbers are needed')
    if stretch is None:
        raise PictureError(
            f'the picture {name} has values of the type {values.dtype}, not 8 bits: say by "stretch" which become '
            f'black and white ({", ".join(STRETCHES)}, or two values)'
        )
    low, high = _limits(values, stretch, name)
    scaled = (values.astype(np.float64) - low) * (255 / (high - low) if high > low else 0)
    return np.nan_to_num(scaled, nan=0, posinf=255, neginf=0).clip(0, 255).round().astype(np.uint8)


def _limits(values: np.ndarray, stretch: str | tuple[float, float], name: str) -> tuple[float, float]:
    if isinstance(stretch, tuple):
        return stretch
    if stretch == 'full':
        if values.dtype.kind == 'f':
            raise PictureError(
                f"the picture {name} has values of the type {values.dtype}: stretch='full' is of integers"
            )
        return np.iinfo(values.dtype).min, np.iinfo(values.dtype).max
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise PictureError(f'the picture {name} has no finite values')
    low, high = (0, 100) if stretch == 'minmax' else PERCENTILES
    return tuple(float(limit) for limit in np.percentile(finite, (low, high)))
