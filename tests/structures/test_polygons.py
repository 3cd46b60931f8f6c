import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import MultiPoint, box
from shapely.affinity import rotate

from geochat.structures.polygons import polygons_to_boxes

places = st.floats(-500, 2500)
sides = st.floats(0.5, 900)


def polygon_of(row):
    cx, cy, w, h, angle = row
    return rotate(box(cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), angle, origin=(cx, cy), use_radians=True)


@given(places, places, sides, sides, st.floats(-7, 7), st.permutations(range(4)))
def test_a_rectangle_is_its_own_box(cx, cy, w, h, angle, order):
    rectangle = polygon_of((cx, cy, w, h, angle))
    (row,) = polygons_to_boxes([np.array(rectangle.exterior.coords)[:4][list(order)]])
    assert 0 <= row[4] < np.pi / 2
    np.testing.assert_allclose(row[:2], (cx, cy), atol=1e-6)
    np.testing.assert_allclose(sorted(row[2:4]), sorted((w, h)), atol=1e-6)
    assert polygon_of(row).symmetric_difference(rectangle).area < 1e-5 * max(1, rectangle.area)


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=3, max_size=8))
def test_the_box_holds_all_corners_and_no_rectangle_along_an_edge_is_smaller(corners):
    (row,) = polygons_to_boxes([np.array(corners)])
    hull = MultiPoint(corners).convex_hull
    assert polygon_of(row).buffer(1e-6).covers(hull)
    areas = []
    for (x1, y1), (x2, y2) in itertools.combinations(corners, 2):  # edges of the hull are among these
        if (x1, y1) != (x2, y2):
            turned = rotate(hull, -np.arctan2(y2 - y1, x2 - x1), origin=(0, 0), use_radians=True)
            left, top, right, bottom = turned.bounds
            areas.append((right - left) * (bottom - top))
    assert row[2] * row[3] <= min(areas, default=0) + 1e-6


def test_known_boxes_come_out_exactly():
    upright = [[10, 20], [40, 20], [40, 30], [10, 30]]
    diamond = [[0, 1], [1, 0], [2, 1], [1, 2]]
    # A rectangle 10 long and 5 wide along (4, 3) / 5: the angle is downwards on screen, hence clockwise and positive.
    turned = [[0, 0], [8, 6], [5, 10], [-3, 4]]
    rows = polygons_to_boxes([upright, diamond, turned])
    np.testing.assert_array_equal(rows[0], [25, 25, 30, 10, 0])
    np.testing.assert_allclose(rows[1], [1, 1, 2**0.5, 2**0.5, np.pi / 4])
    np.testing.assert_allclose(rows[2], [2.5, 5, 10, 5, np.arctan2(3, 4)])


def test_a_box_of_no_area_is_a_box():
    rows = polygons_to_boxes([[[3, 4]] * 4, [[0, 0], [6, 8], [3, 4], [0, 0]]])
    np.testing.assert_allclose(rows, [[3, 4, 0, 0, 0], [3, 4, 10, 0, np.arctan2(8, 6)]], atol=1e-12)


def test_no_polygons_are_no_boxes():
    assert polygons_to_boxes([]).shape == (0, 5)


@pytest.mark.parametrize('corners', [[], [[1, 2], [3, np.nan]], [[1, 2, 3]], [1, 2]])
def test_what_is_no_polygon_is_refused(corners):
    with pytest.raises(ValueError, match='finite corners'):
        polygons_to_boxes([corners])


def test_the_area_of_the_rectangle_is_that_of_shapely_on_quadrangles():
    rng = np.random.default_rng(0)
    for _ in range(200):
        corners = rng.uniform(0, 1000, (4, 2))
        (row,) = polygons_to_boxes([corners])
        # shapely's rectangle has the least width and not always the least area
        assert row[2] * row[3] <= MultiPoint(corners).minimum_rotated_rectangle.area * (1 + 1e-9)
        assert polygon_of(row).buffer(1e-6).covers(MultiPoint(corners))
