import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from geochat.datasets import ImageFolder, PadResizeNormalize
from geochat.registry import TRANSFORMS

PARITY = Path(os.environ.get('GEOCHAT_PARITY', Path(__file__).parents[3] / 'shared' / 'parity'))
CLIP = {'mean': (0.48145466, 0.4578275, 0.40821073), 'std': (0.26862954, 0.26130258, 0.27577711)}
PLAIN = {'mean': (0.0, 0.0, 0.0), 'std': (1.0, 1.0, 1.0)}

sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))
side = st.floats(0, 3000)
boxes = st.lists(st.tuples(st.floats(-500, 5000), st.floats(-500, 5000), side, side, st.floats(-7, 7)), max_size=4)


def corners(boxes):
    """Corners (N, 4, 2) of boxes, written down anew and not taken from the code under test."""
    cx, cy, w, h, angle = boxes.T[..., None]
    x, y = np.array([1, 1, -1, -1]) * w / 2, np.array([1, -1, -1, 1]) * h / 2
    return np.stack([cx + x * np.cos(angle) - y * np.sin(angle), cy + x * np.sin(angle) + y * np.cos(angle)], axis=-1)


@pytest.mark.skipif(not PARITY.is_dir(), reason=f'no recordings of the original at {PARITY} (GEOCHAT_PARITY)')
def test_pixels_are_those_of_the_original_on_square_and_wide_pictures():
    expected = np.load(PARITY / 'forward_expected.npz')
    asked = json.loads((PARITY / 'forward_expected.json').read_text())['single']
    source, transform = ImageFolder(str(PARITY / 'images')), PadResizeNormalize(504, **CLIP)
    assert any(len(set(source.image_size(entry['image']))) == 2 for entry in asked)
    for index, entry in enumerate(asked):
        pixels, _ = transform(source.load(entry['image']))
        np.testing.assert_allclose(pixels[:, ::9, ::9], expected[f'pixels_{index}'], rtol=0, atol=1e-6)
        stats = [pixels.mean(), pixels.std(), np.abs(pixels).max()]
        np.testing.assert_allclose(stats, expected[f'pixel_stats_{index}'], rtol=0, atol=1e-6)


def test_padding_has_the_mean_colour_rounded_down():
    assert PadResizeNormalize(504, **CLIP).padding_color == (122, 116, 104)


def test_values_are_scaled_to_one_and_normalised_by_channel():
    picture = Image.new('RGB', (4, 4), (0, 51, 255))
    pixels, _ = PadResizeNormalize(2, (0.5, 0.2, 0.0), (0.5, 0.1, 2.0))(picture)
    assert pixels.shape == (3, 2, 2) and pixels.dtype == np.float32 and pixels.flags.c_contiguous
    np.testing.assert_allclose(pixels[:, 0, 0], [-1.0, 0.0, 0.5], atol=1e-7)


@pytest.mark.parametrize(('size', 'first_row', 'first_column'), [((5, 2), 1, 0), ((2, 5), 0, 1), ((4, 3), 0, 0)])
def test_a_picture_stands_in_the_middle_of_its_square_rounded_to_the_upper_left(size, first_row, first_column):
    longest = max(size)
    pixels, _ = PadResizeNormalize(longest, **PLAIN)(Image.new('RGB', size, (255, 255, 255)))
    rows, columns = np.nonzero(pixels[0])
    assert (rows.min(), columns.min()) == (first_row, first_column)
    assert (np.ptp(columns) + 1, np.ptp(rows) + 1) == size


@given(sizes, st.integers(1, 1024), boxes)
def test_boxes_map_there_and_back_on_pictures_of_any_shape(image_size, model_size, rows):
    boxes = np.array(rows, dtype=float).reshape(-1, 5)
    geometry = PadResizeNormalize(model_size, **CLIP).geometry(image_size)
    there = geometry.to_model(boxes)
    np.testing.assert_allclose(geometry.to_original(there), boxes, rtol=1e-9, atol=1e-6)
    assert there.shape == boxes.shape
    np.testing.assert_array_equal(there[:, 4], boxes[:, 4])


@given(sizes, st.integers(1, 1024), boxes)
def test_a_mapped_box_is_the_box_of_the_mapped_corners(image_size, model_size, rows):
    boxes = np.array(rows, dtype=float).reshape(-1, 5)
    width, height = image_size
    longest = max(image_size)
    in_square = corners(boxes) + np.array([(longest - width) // 2, (longest - height) // 2])
    mapped = PadResizeNormalize(model_size, **CLIP).geometry(image_size).to_model(boxes)
    np.testing.assert_allclose(corners(mapped), in_square * (model_size / longest), rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize('size', [(300, 120), (120, 300), (200, 200), (301, 120)])
def test_a_mapped_box_lies_on_the_object_in_the_models_picture(size):
    picture = Image.new('RGB', size)
    ImageDraw.Draw(picture).rectangle((40, 30, 79, 89), fill=(255, 255, 255))  # pixels 40..79 by 30..89
    pixels, geometry = PadResizeNormalize(150, **PLAIN)(picture)
    rows, columns = np.mgrid[:150, :150] + 0.5
    weight = pixels[0].clip(0)
    center = [(columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()]
    (box,) = geometry.to_model(np.array([[60.0, 60.0, 40.0, 60.0, 0.0]]))
    np.testing.assert_allclose(box[:2], center, atol=0.05)
    np.testing.assert_allclose(box[2] * box[3], weight.sum(), rtol=0.02)


def test_the_boxes_given_are_not_changed():
    geometry, boxes = PadResizeNormalize(10, **CLIP).geometry((20, 10)), np.ones((2, 5))
    geometry.to_model(boxes)
    geometry.to_original(boxes)
    np.testing.assert_array_equal(boxes, np.ones((2, 5)))


@pytest.mark.parametrize('settings', [{'size': 0, **CLIP}, {'size': 4, 'mean': (0, 0), 'std': (1, 1, 1)}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match='size must be positive'):
        PadResizeNormalize(**settings)


def test_pictures_of_other_modes_come_as_rgb(tmp_path):
    for mode, color in {'L': 7, 'RGBA': (7, 7, 7, 100), 'P': 7, '1': 1, 'CMYK': (0, 0, 0, 0)}.items():
        name = f'{mode}.tif'
        Image.new(mode, (6, 4), color).save(tmp_path / name)
        loaded = ImageFolder(str(tmp_path)).load(name)
        assert (loaded.mode, loaded.size) == ('RGB', (6, 4))


def test_white_space_around_a_name_is_left_out(tmp_path):
    (tmp_path / 'a').mkdir()
    Image.new('RGB', (6, 4)).save(tmp_path / 'a' / 'b.png')
    source = TRANSFORMS.build({'type': 'ImageFolder', 'root': str(tmp_path)})
    assert source.load(' a/b.png\n').size == source.image_size('a/b.png ') == (6, 4)


def test_an_exif_orientation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (6, 4)).save(tmp_path / 'a.jpg', exif=exif)
    assert ImageFolder(str(tmp_path)).load('a.jpg').size == (6, 4)


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    noise.save(tmp_path / 'whole.png')
    noise.save(tmp_path / 'whole.jpg')
    for name in ('whole.png', 'whole.jpg'):
        data = (tmp_path / name).read_bytes()
        (tmp_path / f'cut-{name}').write_bytes(data[: len(data) // 2])
    (tmp_path / 'words.png').write_text('not a picture')
    (tmp_path / 'empty.png').write_bytes(b'')
    Image.fromarray(np.full((4, 4), 3000, dtype=np.uint16)).save(tmp_path / 'deep.png')
    source = ImageFolder(str(tmp_path))
    for name in ('cut-whole.png', 'cut-whole.jpg', 'words.png', 'empty.png', 'deep.png', 'missing.png', 'whole.png/a'):
        with pytest.raises(OSError, match=name):
            source.load(name)
    with pytest.raises(OSError, match='more than 8 bits'):
        source.load('deep.png')
    with pytest.raises(FileNotFoundError, match=r'missing\.png does not exist'):
        source.image_size('missing.png')


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(NotADirectoryError, match='nowhere'):
        ImageFolder(str(tmp_path / 'nowhere'))
