"""Labels do not cover each other, and leave the boxes free where there is room."""

import itertools

import numpy as np
import pytest

from geochat.structures.polygons import box_corners
from geochat.visualization.labels import place_labels


def random_corners(count, width, height, seed=0):
    rng = np.random.default_rng(seed)
    sides = rng.uniform(0.02, 0.06, (count, 2)) * min(width, height)
    centers = rng.uniform(0, (width, height), (count, 2))
    return box_corners(np.column_stack([centers, sides, rng.uniform(-2, 2, count)]))


def overlap(first, second):
    return min(first.right, second.right) > max(first.left, second.left) and min(first.bottom, second.bottom) > max(
        first.top, second.top
    )


@pytest.mark.parametrize(('width', 'height'), [(1000, 1000), (3000, 400), (300, 2000)])
@pytest.mark.parametrize('count', [12, 150])
def test_labels_stay_inside_and_never_cover_each_other(width, height, count):
    phrases = [f'phrase {number % 8}' for number in range(count)]
    places = place_labels(random_corners(count, width, height), [(100, 20)] * count, phrases, (width, height), gap=4)
    found = [place for place in places if place is not None]
    assert {phrase for phrase, place in zip(phrases, places, strict=True) if place} == set(phrases)
    assert not any(overlap(*pair) for pair in itertools.combinations(found, 2))
    for place in found:
        assert 0 <= place.left < place.right <= width
        assert 0 <= place.top < place.bottom <= height


def test_a_label_touches_its_box_and_hides_no_other():
    corners = box_corners(np.array([[200, 200, 80, 40, 0.4], [200, 150, 80, 40, 0.4], [200, 250, 80, 40, 0.4]]))
    places = place_labels(corners, [(60, 20)] * 3, ['a', 'b', 'c'], (400, 400), gap=3)
    for place in places:
        assert place.distance < 15
        for (x0, y0), (x1, y1) in zip(corners.min(1), corners.max(1), strict=True):
            # The corner of the rectangle around a turned box is free.
            assert place.right < x0 + 25 or place.left > x1 - 25 or place.bottom < y0 + 25 or place.top > y1 - 25


def test_every_phrase_is_told_where_boxes_are_crowded():
    corners = np.repeat(box_corners(np.array([[50, 50, 30, 20, 0.3]])), 30, axis=0)
    phrases = ['ship'] * 20 + ['harbor'] * 10
    places = place_labels(corners, [(60, 20)] * 30, phrases, (600, 600), gap=3)
    told = [phrase for phrase, place in zip(phrases, places, strict=True) if place]
    assert set(told) == {'ship', 'harbor'}
    assert len(told) < 6


def test_no_room_leaves_a_label_out():
    corners = box_corners(np.array([[10.0, 10, 5, 5, 0]] * 3))
    places = place_labels(corners, [(20, 20)] * 3, ['a', 'b', 'c'], (20, 20), gap=2)
    assert [place is None for place in places] == [False, True, True]


def test_nothing_to_place():
    assert place_labels(np.zeros((0, 4, 2)), [], [], (100, 100), gap=2) == []
    assert place_labels(random_corners(2, 100, 100), [(10, 10)] * 2, ['', ''], (100, 100), gap=2) == [None, None]
