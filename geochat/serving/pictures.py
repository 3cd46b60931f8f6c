"""Pictures as they come in requests: data URLs, and nothing else that would make the server read or fetch."""

from PIL import Image

from geochat.apis import PictureError, PictureSettings, PictureTooLargeError, read_picture
from geochat.serving.errors import APIError, bad_request


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
