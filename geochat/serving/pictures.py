"""Pictures as they come in requests: data URLs, read with care."""

import base64
import binascii
import io
import re
import warnings

from PIL import Image

from geochat.serving.errors import APIError, bad_request

FORMATS = ('PNG', 'JPEG', 'WEBP', 'TIFF', 'BMP', 'GIF')
"""What is read; Pillow knows other formats, some of which start other programs."""

_DATA_URL = re.compile(r'data:(?:image/[\w.+-]+)?((?:;[\w-]+=[^;,]*)*);base64,', re.IGNORECASE)


def read_picture(url: str, max_side: int, param: str) -> Image.Image:
    """Read the picture of a data URL.

    Args:
        url: ``data:image/png;base64,...``, or another format of :data:`FORMATS`.
        max_side: Most pixels of its longer side; its size is looked at before it is decoded.
        param: The request's field that it stands in.

    Returns:
        The picture as 8-bit RGB. Grey values are repeated; an alpha channel is dropped.

    Raises:
        APIError: With status 400 if it is another URL, or not a picture that can be read; 413 if it is too large.
    """
    head = _DATA_URL.match(url)
    if head is None:
        start = url[:40] + ('...' if len(url) > 40 else '')
        raise bad_request(
            f'a picture is sent as a data URL (data:image/png;base64,...), and nothing is fetched: not {start!r}',
            param,
            'unsupported_image_url',
        )
    try:
        data = base64.b64decode(url[head.end() :], validate=True)
    except (ValueError, binascii.Error) as error:
        raise bad_request(f'the picture is not base64: {error}', param, 'invalid_image') from error
    try:
        return _decode(data, max_side, param)
    except APIError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(str(error), param) from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        raise bad_request(f'the picture cannot be read: {_told(error)}', param, 'invalid_image') from error


def _decode(data: bytes, max_side: int, param: str) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of sizes and metadata; the size is judged here
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if max(image.size) > max_side:
                raise _too_large(f'it has {image.width} x {image.height} pixels, and a side may have {max_side}', param)
            if image.mode.startswith(('I', 'F')):  # Pillow would cut the values off at 255: a white picture
                raise OSError(f'it has more than 8 bits a channel (mode {image.mode}); convert it to 8 bits first')
            return image.convert('RGB')


def _too_large(message: str, param: str) -> APIError:
    return APIError(413, f'the picture is too large: {message}', 'image_too_large', param)


def _told(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return f'it is none of {", ".join(FORMATS)}'
    return str(error) or type(error).__name__
