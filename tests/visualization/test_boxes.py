"""Boxes are drawn where they are, at any picture size, in colours that tell predicted from true."""

import math

import numpy as np
import pytest
from PIL import Image

from geochat.visualization import (
    PALETTE,
    PREDICTED_COLOR,
    TRUE_COLOR,
    add_legend,
    draw_boxes,
    draw_comparison,
    phrase_colors,
)


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
    texts = ['red ship', 'a plane', 'harbor']
    bare, labelled = (draw_boxes(grey(100, 100), boxes, labels, PREDICTED_COLOR) for labels in ((), texts))
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


def test_a_phrase_has_one_colour_and_others_have_others():
    boxes = np.array([[100, 300, 80, 40, 0.2], [300, 300, 80, 40, 0.2], [500, 300, 80, 40, 0.2]])
    labels = ['red ship', 'harbor', 'Red ship']
    picture = draw_boxes(grey(600, 600), boxes, labels)
    for left, color in zip((40, 240, 440), (PALETTE[0], PALETTE[1], PALETTE[0]), strict=True):
        part = picture.crop((left, 200, left + 120, 400))
        counts = {other: len(painted(part, other)) for other in PALETTE[:2]}
        assert max(counts, key=counts.get) == color
    assert set(phrase_colors(labels).values()) == set(PALETTE[:2])


@pytest.mark.parametrize('size', [(300, 300), (4000, 3000), (4000, 400), (300, 3000), (1, 1), (4000, 10)])
def test_pictures_of_every_size_and_shape(size):
    box = np.array([[size[0] / 2, size[1] / 2, size[0] / 4, size[1] / 4, 0.7]])
    picture = draw_boxes(grey(*size), box, ['the long white ship at the pier'])
    assert max(picture.size) >= 512
    assert picture.width * size[1] == picture.height * size[0]
    assert len(painted(picture, PREDICTED_COLOR)) > 500
    assert add_legend(picture, {'ship' * 99: PREDICTED_COLOR, 'pier': TRUE_COLOR}, ['a ' * 400]).width == picture.width


def test_a_turn_is_clockwise_on_screen():
    picture = draw_boxes(grey(600, 600), np.array([[300, 300, 400, 20, math.pi / 6]]))
    points = painted(picture, PREDICTED_COLOR) - 300
    right, left = points[points[:, 0] > 100], points[points[:, 0] < -100]
    assert right[:, 1].mean() > 50
    assert left[:, 1].mean() < -50


def test_an_outline_leaves_a_small_box_open():
    picture = draw_boxes(grey(4000, 4000), np.array([[2000, 2000, 24, 16, 0]]))
    assert np.asarray(picture)[2000, 2000].tolist() == [128, 128, 128]


def test_boxes_that_are_not_finite_are_left_out():
    boxes = np.array([[math.nan, 1, 1, 1, 0], [300, 300, 100, 50, 0], [1, 1, math.inf, 1, 0]])
    one = draw_boxes(grey(600, 600), boxes, ['a', 'b', 'c'], [TRUE_COLOR, PREDICTED_COLOR, TRUE_COLOR])
    assert one == draw_boxes(grey(600, 600), boxes[1:2], ['b'], PREDICTED_COLOR)


def test_boxes_without_an_area_and_far_outside():
    boxes = np.array([[300, 300, 0, 0, 0], [300, 300, 0, 100, 1], [1e9, -1e9, 10, 10, 0], [300, 300, 1e12, 1e12, 1]])
    boxes = np.concatenate([boxes, [[1e308, 0, 1e308, 1, 0], [0, 0, 1e300, 1e300, 1e300]]])
    assert draw_boxes(grey(600, 600), boxes, ['point', 'line', 'away', 'world', 'a', 'b']).size == (600, 600)


def test_the_sides_that_are_in_the_picture_are_drawn_of_a_box_that_reaches_far():
    picture = draw_boxes(grey(600, 600), np.array([[300, 300, 1e7, 200, 0]]))
    rows = np.bincount(painted(picture, PREDICTED_COLOR)[:, 1], minlength=600)
    assert rows[199:202].max() == rows[399:402].max() == 600
    assert rows[210:390].max() == 0


def test_a_label_in_any_script():
    boxes = np.array([[300, 300, 100, 50, 0.5]])
    for label in ("bâtiment près de l'église", 'корабль', '红色的船', 'سفينة', 'x\ud800\u202ey\x00', '🚢', '\n', ' '):
        picture = draw_boxes(grey(600, 600), boxes, [label])
        assert add_legend(picture, {label: PREDICTED_COLOR}, [label]).height > 600
