"""Pictures of users: what is read, and what is answered with a clear error."""

import base64
import functools
import http.server
import io
import struct
import threading
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from geochat.apis import PictureError, PictureSettings, PictureTooLargeError, read_picture


def encoded(image, kind='PNG', **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_head(width, height):
    """A PNG file that claims a size and has no content."""

    def chunk(name, content):
        return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))

    head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b'')


RED = Image.new('RGB', (4, 3), (204, 51, 51))


@pytest.mark.parametrize('make', [str, lambda path: path, lambda path: path.read_bytes(), Image.open])
def test_every_way_to_a_file_gives_the_same_picture(tmp_path, make):
    path = tmp_path / 'red.png'
    RED.save(path)
    assert read_picture(make(path)).tobytes() == RED.tobytes()


def test_messages_call_a_picture_what_they_are_told_to():
    with pytest.raises(PictureError, match=r'^notes\.png is not a picture'):
        read_picture(b'no picture', name='notes.png')
    with pytest.raises(PictureError, match=r'^<bytes> is not a picture'):
        read_picture(b'no picture')


def test_a_data_url_is_read():
    url = 'data:image/png;base64,' + base64.b64encode(encoded(RED)).decode()
    assert read_picture(url).tobytes() == RED.tobytes()


@pytest.mark.parametrize('url', ['data:image/png,abc', 'data:image/png;base64', 'data:image/png;base64,***'])
def test_a_broken_data_url_is_answered(url):
    with pytest.raises(PictureError, match='data URL'):
        read_picture(url)


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'YCbCr', 'HSV'])
def test_every_8_bit_mode_becomes_rgb(mode):
    image = read_picture(Image.new('RGB', (3, 2), (255, 255, 255)).convert(mode))
    assert (image.mode, image.size) == ('RGB', (3, 2))
    assert np.asarray(image).min() >= 250


@pytest.mark.parametrize('mode', ['RGBA', 'CMYK', 'P'])
def test_colours_of_other_modes_are_kept(mode):
    kind = 'TIFF' if mode == 'CMYK' else 'PNG'
    pixels = np.asarray(read_picture(encoded(RED.convert(mode), kind)))
    assert np.abs(pixels.astype(int) - (204, 51, 51)).max() <= 2


def test_a_palette_with_transparency_keeps_its_colours():
    image = RED.convert('P')
    data = encoded(image, transparency=0)
    assert np.abs(np.asarray(read_picture(data)).astype(int) - (204, 51, 51)).max() <= 2


def test_a_picture_of_one_pixel_is_read():
    assert read_picture(Image.new('RGB', (1, 1))).size == (1, 1)


def test_the_channel_order_of_an_array_must_be_named():
    pixels = np.asarray(RED)
    with pytest.raises(PictureError, match=r'channel order.*grey, rgb, bgr'):
        read_picture(pixels)
    assert read_picture(pixels, PictureSettings(channels='rgb')).tobytes() == RED.tobytes()
    assert read_picture(pixels[..., ::-1], PictureSettings(channels='bgr')).tobytes() == RED.tobytes()
    with_alpha = np.dstack([pixels, np.zeros((3, 4), np.uint8)])
    assert read_picture(with_alpha, PictureSettings(channels='rgba')).tobytes() == RED.tobytes()


@pytest.mark.parametrize(
    ('shape', 'channels'),
    [((3, 4, 5), 'rgb'), ((4,), 'grey'), ((3, 4), 'rgb'), ((3, 4, 3), 'grey'), ((3, 4, 4), 'bgr'), ((3, 4, 1), 'bgra')],
)
def test_an_array_of_another_shape_is_answered(shape, channels):
    with pytest.raises(PictureError, match='has the shape'):
        read_picture(np.zeros(shape, np.uint8), PictureSettings(channels=channels))


def test_an_array_without_pixels_is_answered():
    with pytest.raises(PictureError, match='no pixels: 4 x 0'):
        read_picture(np.zeros((0, 4, 3), np.uint8), PictureSettings(channels='rgb'))


def test_a_single_band_is_repeated():
    image = read_picture(np.full((2, 3), 7, np.uint8), PictureSettings(channels='grey'))
    assert set(image.get_flattened_data() if hasattr(image, 'get_flattened_data') else image.getdata()) == {(7, 7, 7)}


WIDE = np.array([[0, 1000, 2000, 4000]], dtype=np.uint16)


@pytest.mark.parametrize(
    ('stretch', 'expected'),
    [
        ('full', [0, 4, 8, 16]),  # value * 255 / 65535
        ('minmax', [0, 64, 128, 255]),
        ((1000, 2000), [0, 0, 255, 255]),
        ((0, 8000), [0, 32, 64, 128]),
    ],
)
@pytest.mark.parametrize('as_file', [False, True])
def test_16_bits_need_a_stretch(stretch, expected, as_file):
    picture = cv2.imencode('.png', WIDE)[1].tobytes() if as_file else WIDE
    with pytest.raises(PictureError, match=r'uint16.*stretch'):
        read_picture(picture, PictureSettings(channels='grey'))
    pixels = np.asarray(read_picture(picture, PictureSettings(channels='grey', stretch=stretch)))
    assert pixels[0, :, 1] == pytest.approx(expected, abs=1)


@pytest.mark.parametrize('kind', ['.png', '.tiff'])
def test_three_channels_of_16_bits_are_not_cut_to_their_upper_8(kind):
    bgr = np.zeros((2, 2, 3), np.uint16)
    bgr[..., 2], bgr[..., 1], bgr[0, 0] = 4000, 1000, 0
    content = cv2.imencode(kind, bgr)[1].tobytes()
    with pytest.raises(PictureError, match=r'uint16.*stretch'):
        read_picture(content)
    assert read_picture(content, PictureSettings(stretch='minmax')).getpixel((1, 1)) == (255, 64, 0)


def test_values_that_are_no_numbers_are_black():
    values = np.array([[np.nan, 0.0, 0.5, np.inf]], np.float32)
    pixels = np.asarray(read_picture(values, PictureSettings(channels='grey', stretch=(0.0, 1.0))))
    assert pixels[0, :, 0].tolist() == [0, 0, 128, 255]
    assert np.asarray(read_picture(values, PictureSettings(channels='grey', stretch='minmax')))[0, 2, 0] == 255


@pytest.mark.parametrize(
    ('values', 'stretch', 'message'),
    [
        (np.full((2, 2), np.nan, np.float32), 'minmax', 'no finite values'),
        (np.zeros((2, 2), np.float32), 'full', 'of integers'),
        (np.zeros((2, 2), bool), 'minmax', 'type bool'),
    ],
)
def test_values_that_cannot_be_stretched_are_answered(values, stretch, message):
    with pytest.raises(PictureError, match=message):
        read_picture(values, PictureSettings(channels='grey', stretch=stretch))


def test_a_flat_picture_is_stretched_to_black():
    pixels = np.full((2, 2), 700, np.uint16)
    assert not np.asarray(read_picture(pixels, PictureSettings(channels='grey', stretch='percentile'))).any()


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'channels': 'rbg'}, "channels is one of grey, .*, not 'rbg'"),
        ({'stretch': 'log'}, "stretch is one of full, minmax, percentile, or a tuple of two values, not 'log'"),
        ({'stretch': [0, 4000]}, r'a tuple of two values, not \[0, 4000\]'),
        ({'stretch': 4000}, 'a tuple of two values, not 4000'),
        ({'stretch': (5, 5)}, r'a stretch has two values, the smaller first, not \(5, 5\)'),
        ({'stretch': (98, 2)}, 'the smaller first'),
        ({'stretch': (1, 2, 3)}, 'two values'),
        ({'stretch': (0, float('inf'))}, 'two values'),
        ({'stretch': ('0', '9')}, 'two values'),
        ({'max_side': 0}, 'max_side is a whole number from 1, not 0'),
        ({'max_side': '9000'}, "max_side is a whole number from 1, not '9000'"),
        ({'max_bytes': -1}, 'max_bytes is a whole number from 1, not -1'),
        ({'timeout': 0}, 'timeout is a number of seconds above 0, not 0'),
        ({'timeout': float('nan')}, 'timeout is a number of seconds above 0, not nan'),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        PictureSettings(**settings)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'not a picture', r'not a picture of a known kind \(PNG'),
        (b'', 'not a picture of a known kind'),
        (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'not a picture of a known kind'),
        (encoded(Image.effect_noise((64, 64), 90), 'JPEG')[:700], 'cannot be read'),
    ],
)
def test_a_damaged_file_is_answered_by_its_name(tmp_path, content, message):
    path = tmp_path / 'bad.png'
    path.write_bytes(content)
    with pytest.raises(PictureError, match=message) as answer:
        read_picture(path)
    assert str(path) in str(answer.value)


def test_a_missing_file_and_a_folder_are_answered(tmp_path):
    with pytest.raises(PictureError, match=r'gone\.png does not exist'):
        read_picture(tmp_path / 'gone.png')
    with pytest.raises(PictureError, match='cannot be read'):
        read_picture(tmp_path)
    with pytest.raises(PictureError, match='cannot be read'):
        read_picture('a\0b.png')


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
@pytest.mark.parametrize('size', [(30_000, 30_000), (12_000, 12_000), (1, 9001)])
def test_a_large_picture_is_refused_before_it_is_decoded(size):
    with pytest.raises(PictureTooLargeError, match='too large'):
        read_picture(png_head(*size))


def test_a_large_array_and_image_are_refused():
    settings = PictureSettings(channels='rgb', max_side=10)
    with pytest.raises(PictureTooLargeError, match='11 x 2 pixels, at most 10'):
        read_picture(np.zeros((2, 11, 3), np.uint8), settings)
    with pytest.raises(PictureTooLargeError, match='2 x 11'):
        read_picture(Image.new('RGB', (2, 11)), settings)


@pytest.mark.parametrize('thing', [None, 3, ['a.png']])
def test_what_is_no_picture_is_answered(thing):
    with pytest.raises(PictureError, match=f'not a {type(thing).__name__}'):
        read_picture(thing)


@pytest.fixture
def address(tmp_path):
    """The address of a local server of a folder with a red picture."""
    RED.save(tmp_path / 'red.png')

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


def test_addresses_are_fetched_only_if_allowed(address):
    with pytest.raises(PictureError, match='allow_urls'):
        read_picture(f'{address}/red.png')
    allowed = PictureSettings(allow_urls=True, max_bytes=10_000)
    assert read_picture(f'{address}/red.png', allowed).tobytes() == RED.tobytes()
    with pytest.raises(PictureError, match=r'cannot be fetched.*404'):
        read_picture(f'{address}/gone.png', allowed)
    with pytest.raises(PictureTooLargeError, match='more than 20 bytes'):
        read_picture(f'{address}/red.png', PictureSettings(allow_urls=True, max_bytes=20))
    with pytest.raises(PictureError, match='only http and https'):
        read_picture('file:///etc/passwd', allowed)
