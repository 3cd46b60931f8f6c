"""The right answers are shown, small, with their boxes in sight, whatever the boxes are."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from geochat.visualization import PREDICTED_COLOR, TRUE_COLOR
from geochat.visualization.report.cases import read_case
from geochat.visualization.report.gallery import PICTURE_SIDE, choose, data_uri, draw_case

NONE = np.zeros((0, 5))


def case(name, image=None, **more):
    return read_case({'id': name, 'prompt': '', 'answer': '', 'images': [image or name], **more})


def names(rated):
    return [case.id for case, _ in rated]


def test_best_and_worst():
    cases = [case(name) for name in 'abcdef']
    best, worst = choose(cases, [0.5, 1, 0, 0.9, 0.1, 0.4], 2)
    assert names(best) == ['b', 'd']
    assert names(worst) == ['c', 'e']


@pytest.mark.parametrize(('quality', 'numbers'), [(1, (2, 0)), (0, (0, 2)), (0.5, (2, 2))])
def test_wholly_right_is_not_among_the_worst_nor_wholly_wrong_among_the_best(quality, numbers):
    best, worst = choose([case(name) for name in 'abcde'], [quality] * 5, 2)
    assert (len(best), len(worst)) == numbers


def test_few_answers_are_shown_once():
    best, worst = choose([case('a'), case('b'), case('c')], [0.2, 0.3, 0.4], 4)
    assert names(best) == ['c', 'b']
    assert names(worst) == ['a']
    assert choose([], [], 4) == ([], [])


def test_among_equals_the_surest_come_first():
    cases = [case('a', log_prob=-3), case('b', log_prob=-1), case('c', log_prob=-2), case('d', log_prob=-4)]
    assert names(choose(cases, [1, 1, 1, 1], 2)[0]) == ['b', 'c']
    assert names(choose(cases, [0, 0, 0, 0], 2)[1]) == ['b', 'c']


def test_a_picture_is_shown_again_only_if_there_are_no_others():
    cases = [case('a', 'x'), case('b', 'x'), case('c', 'y'), case('d', 'x')]
    assert names(choose(cases * 2, [1] * 8, 2)[0]) == ['a', 'c']
    assert names(choose(cases, [0.9, 0.8, 0.1, 0.1], 2)[0]) == ['a', 'b']


def has(image, color):
    return bool((np.abs(np.asarray(image).astype(int) - color).sum(-1) < 40).any())


@pytest.mark.parametrize('size', [(60, 40), (512, 512), (700, 3000), (4000, 200)])
def test_pictures_come_out_small_with_both_boxes(size):
    centre = [size[0] / 2, size[1] / 2]
    boxes = {'boxes': [[*centre, 20, 10, 0.3]], 'truth': {'boxes': [[*centre, 30, 20, 0.0]]}}
    drawing, is_cut_out = draw_case(Image.new('RGB', size), case('a', **boxes), NONE)
    assert max(drawing.size) <= PICTURE_SIDE
    assert is_cut_out == (max(size) > PICTURE_SIDE)
    assert has(drawing, PREDICTED_COLOR)
    assert has(drawing, TRUE_COLOR)


def test_boxes_far_apart_show_the_whole_picture():
    boxes = {'boxes': [[50, 50, 20, 20, 0]], 'truth': {'boxes': [[3900, 3900, 20, 20, 0]]}}
    drawing, is_cut_out = draw_case(Image.new('RGB', (4000, 4000)), case('a', **boxes), NONE)
    assert not is_cut_out
    assert drawing.size == (PICTURE_SIDE, PICTURE_SIDE)


@pytest.mark.parametrize('box', [[float('nan')] * 5, [1e9, 1e9, 1e9, 1e9, 1], [-5, -5, 0, 0, 0], [50, 50, 1e-9, 9, 2]])
def test_strange_boxes_do_no_harm(box):
    boxes = {'boxes': [box], 'labels': ['ship'], 'truth': {'boxes': [[50, 50, 20, 20, 0]]}}
    drawing, _ = draw_case(Image.new('RGB', (900, 900)), case('a', **boxes), np.array([box]))
    assert max(drawing.size) <= PICTURE_SIDE
    assert has(drawing, TRUE_COLOR)


def test_the_picture_stands_in_the_page():
    head, _, data = data_uri(Image.new('RGB', (30, 20), (200, 30, 30))).partition(',')
    assert head == 'data:image/jpeg;base64'
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (30, 20)
