"""Pictures of requests: prepared once while they are asked about, within a bound."""

import numpy as np
import pytest
from PIL import Image
from small_server import data_url, small_served_model

from geochat.apis import PictureSettings
from geochat.serving import pictures
from geochat.serving.errors import APIError
from geochat.serving.pictures import PreparedPictures


@pytest.fixture
def read(monkeypatch):
    """The sizes of the pictures that were decoded."""
    sizes = []
    decode = pictures.read_picture

    def noted(*arguments):
        image = decode(*arguments)
        sizes.append(image.size)
        return image

    monkeypatch.setattr(pictures, 'read_picture', noted)
    return sizes


def url(width):
    return data_url(Image.new('RGB', (width, 10), (width, 0, 0)))


def test_a_picture_is_prepared_once_and_as_the_processor_does(read):
    processor, kept = small_served_model().processor, PreparedPictures(PictureSettings())
    first = kept.prepare(url(20), processor, 'image')
    assert kept.prepare(url(20), processor, 'image') is first
    assert kept.prepare(url(30), processor, 'image').key != first.key
    assert read == [(20, 10), (30, 10)]
    alone = processor.prepare(Image.new('RGB', (20, 10), (20, 0, 0)))
    assert np.array_equal(first.pixels, alone.pixels) and first.key == alone.key
    assert first.geometry.image_size == (20, 10)


def test_those_used_last_are_kept(read, monkeypatch):
    monkeypatch.setattr(pictures, 'MAX_KEPT', 2)
    processor, kept = small_served_model().processor, PreparedPictures(PictureSettings())
    for width in (20, 30, 20, 40, 20, 30):  # 40 takes the place of 30
        kept.prepare(url(width), processor, 'image')
    assert [width for width, _ in read] == [20, 30, 40, 30]


def test_a_picture_that_cannot_be_taken_is_refused_each_time(read):
    processor, kept = small_served_model().processor, PreparedPictures(PictureSettings(max_side=25))
    for _ in range(2):
        with pytest.raises(APIError, match='30'):
            kept.prepare(url(30), processor, 'image')
        with pytest.raises(APIError, match='data URL'):
            kept.prepare('/etc/passwd', processor, 'image')
    assert read == []
