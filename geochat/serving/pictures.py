"""Pictures as they come in requests: data URLs, and nothing else that would make the server read or fetch."""

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from PIL import Image

from geochat.apis import PictureError, PictureSettings, PictureTooLargeError, read_picture
from geochat.serving.errors import APIError, bad_request

if TYPE_CHECKING:
    from geochat.datasets import SampleProcessor
    from geochat.datasets.processor import PreparedPicture

MAX_KEPT = 32
"""Prepared pictures that are kept: 3 MB each at GeoChat's 504 pixels."""


class PreparedPictures:
    """Pictures of requests as the model takes them; the last ones are kept, since many questions are about one picture.

    So requests that wait about one picture hold it once. Used by several threads.

    Args:
        settings: What pictures are taken.
    """

    def __init__(self, settings: PictureSettings):
        self.settings = settings
        self._kept: OrderedDict[bytes, PreparedPicture] = OrderedDict()
        self._lock = threading.Lock()

    def prepare(self, url: str, processor: 'SampleProcessor', param: str) -> 'PreparedPicture':
        """Prepare the picture of a data URL; see :func:`read_data_url`."""
        key = hashlib.blake2b(url.encode(errors='surrogatepass'), digest_size=16).digest()
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        prepared = processor.prepare(read_data_url(url, self.settings, param))
        with self._lock:
            self._kept[key] = prepared
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return prepared


def read_data_url(url: str, settings: PictureSettings, param: str) -> Image.Image:
    """Read the picture of a data URL.

    Args:
        url: ``data:image/png;base64,...``, or of another kind that is read.
        settings: What pictures are taken; a picture's size is looked at before it is decoded.
        param: The request's field that it stands in.

    Returns:
        8-bit RGB.

    Raises:
        APIError: With status 400 if it is another URL or a path, or not a picture that can be read; 413 if it is too
            large.
    """
    if not url.startswith('data:'):  # anything else would be read from the server's disk or network
        start = url[:40] + ('...' if len(url) > 40 else '')
        raise bad_request(
            f'a picture is sent as a data URL (data:image/png;base64,...), and nothing is fetched: not {start!r}',
            param,
            'unsupported_image_url',
        )
    try:
        return read_picture(url, settings)
    except PictureTooLargeError as error:
        raise APIError(413, str(error), 'image_too_large', param) from error
    except PictureError as error:
        raise bad_request(str(error), param, 'invalid_image') from error
