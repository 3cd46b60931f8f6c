"""Boxes are drawn where they are, at any picture size, in colours that tell predicted from true."""

import math

import numpy as np
import pytest
from PIL import Image, ImageFont

from geochat.visualization import PREDICTED_COLOR, TRUE_COLOR, draw_boxes, draw_comparison
from geochat.visualization.boxes import wrap


def grey(width: int, height: int) -> Image.Image:
    return Image.new('RGB', (width, height), (128, 128, 128))


def painted(image: Image.Image, color: tuple[int, int, int]) -> np.ndarray:
    """Coordinates (N, 2) of the pixels of a colour."""
    rows, columns = (np.abs(np.asarray(image).astype(int) - color).sum(-1) < 30).nonzero()
    return np.stack([columns, rows], axis=-1)


@pytest.mark.parametrize(('width', 'height', 'scale'), [(100, 80, 6), (600, 600, 1), (4000, 3000, 1)])
def test_an_outline_lies_on_the_sides_of_its_box(width, height, scale):
    box = np.array([[0.5 * width, 0.5 * height, 0.4 * width, 0.2 * height, 0.5]])
    picture = draw_boxes(grey(width, height), box)
    assert picture.size == (width * scale, height * scale)
    points = painted(picture, PREDICTED_COLOR) + 0.5 - scale * box[0, :2]
    cos, sin = math.cos(-0.5), math.sin(-0.5)
    along = np.stack([points[:, 0] * cos - points[:, 1] * sin, points[:, 0] * sin + points[:, 1] * cos], axis=-1)
    distance = np.abs(along) - scale * box[0, 2:4] / 2
    line = max(2, round(max(picture.size) / 350))
    assert np.abs(distance.max(1)).max() <= line / 2 + 1.5
    assert len(points) > 0.8 * line * scale * 2 * (box[0, 2] + box[0, 3])


def test_the_width_of_the_lines_can_be_chosen():
    thin, thick = (
        draw_boxes(grey(600, 600), np.array([[300, 300, 200, 100, 0.0]]), line_width=width) for width in (1, 5)
    )
    assert len(painted(thick, PREDICTED_COLOR)) > 3 * len(painted(thin, PREDICTED_COLOR))


def test_the_picture_given_is_not_changed():
    image = grey(200, 200)
    draw_boxes(image, np.array([[100, 100, 50, 50, 0]]))
    assert np.unique(np.asarray(image)).tolist() == [128]


def test_labels_stay_inside_and_apart():
    boxes = np.array([[4, 4, 6, 6, 0.3], [5, 5, 6, 6, 0.3], [96, 96, 8, 8, 0]])
    bare, labelled = (draw_boxes(grey(100, 100), boxes, labels) for labels in ((), ['red ship', 'a plane', 'harbor']))
    assert bare.size == labelled.size
    assert len(painted(labelled, PREDICTED_COLOR)) > 2 * len(painted(bare, PREDICTED_COLOR))


def test_predicted_and_true_boxes_that_coincide_both_show():
    box = np.array([[50, 50, 40, 20, 0.4]])
    picture = draw_comparison(grey(100, 100), box, box)
    assert len(painted(picture.crop((0, 0, 600, 600)), TRUE_COLOR)) > 500
    assert len(painted(picture.crop((0, 0, 600, 600)), PREDICTED_COLOR)) > 500


def test_a_caption_is_below_the_picture():
    nothing = np.zeros((0, 5))
    without, with_lines = (draw_comparison(grey(600, 400), nothing, nothing, caption=c) for c in ([], ['a', 'b' * 500]))
    assert with_lines.height > without.height > 400
    assert np.unique(np.asarray(without)[:400]).tolist() == [128]


def test_no_boxes():
    assert draw_boxes(grey(600, 600), np.zeros((0, 5)), colors=[]).size == (600, 600)


@pytest.mark.parametrize(('labels', 'colors'), [(['a', 'b'], PREDICTED_COLOR), ([], [TRUE_COLOR, TRUE_COLOR])])
def test_numbers_that_differ(labels, colors):
    with pytest.raises(ValueError, match='1 boxes were given with'):
        draw_boxes(grey(100, 100), np.array([[50, 50, 10, 10, 0]]), labels, colors)


def test_text_is_broken_between_words_and_cut_with_an_ellipsis():
    font = ImageFont.load_default(20)
    text = wrap('the large red ship beside the long grey pier of the old harbour', font, 150, max_lines=2)
    assert text.startswith('the large red\n')
    assert text.endswith('…')
    assert all(font.getlength(line) <= 150 for line in text.split('\n'))
    assert wrap('x' * 100, font, 150, max_lines=2).endswith('x…')
