"""Rotated intersection over union against values worked out by hand and two independent implementations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geochat.evaluation.functional import box_corners, pairwise_rotated_iou, rotated_iou


def boxes(*rows):
    """Boxes from rows cx, cy, w, h and an angle in degrees."""
    array = np.array(rows, dtype=np.float64).reshape(-1, 5)
    array[:, 4] = np.deg2rad(array[:, 4])
    return array


def iou(one, other):
    return rotated_iou(boxes(one), boxes(other))[0]


# --- an independent implementation: clipping of convex polygons, in plain Python -------------------------------------


def polygon(box):
    cx, cy, w, h, angle = box
    cos, sin = math.cos(angle), math.sin(angle)
    offsets = [(-w / 2, -h / 2), (w / 2, -h / 2), (w / 2, h / 2), (-w / 2, h / 2)]
    return [(cx + x * cos - y * sin, cy + x * sin + y * cos) for x, y in offsets]


def area(points):
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True))) / 2


def clip(subject, clipper):
    """Sutherland and Hodgman (1974): cut the subject by each edge of the clipper in turn."""
    for (x1, y1), (x2, y2) in zip(clipper, clipper[1:] + clipper[:1], strict=True):
        kept = []

        def side(point, x1=x1, y1=y1, x2=x2, y2=y2):
            return (x2 - x1) * (point[1] - y1) - (y2 - y1) * (point[0] - x1)

        for start, end in zip(subject[-1:] + subject[:-1], subject, strict=True):
            s, e = side(start), side(end)
            if (s < 0) != (e < 0):
                t = s / (s - e)
                kept.append((start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1])))
            if e >= 0:
                kept.append(end)
        subject = kept
        if not subject:
            return []
    return subject


def clipped_iou(one, other):
    # About the first box's centre: far from the origin float64 leaves too few digits for small boxes.
    here, there = [0, 0, *one[2:]], [other[0] - one[0], other[1] - one[1], *other[2:]]
    common = clip(polygon(here), polygon(there))
    overlap = area(common) if common else 0.0
    return overlap / (one[2] * one[3] + other[2] * other[3] - overlap)


# --- values known beforehand -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('one', 'other', 'expected'),
    [
        ([0, 0, 4, 2, 0], [0, 0, 4, 2, 0], 1),
        ([0, 0, 4, 2, 30], [0, 0, 4, 2, 210], 1),
        ([0, 0, 4, 2, 30], [0, 0, 2, 4, -60], 1),
        ([0, 0, 4, 4, 0], [2, 0, 4, 4, 0], 8 / 24),
        ([0, 0, 4, 4, 0], [4, 0, 4, 4, 0], 0),  # they share an edge
        ([0, 0, 4, 4, 0], [9, 0, 4, 4, 0], 0),
        ([0, 0, 4, 4, 0], [0, 0, 2, 2, 45], 4 / 16),  # one inside the other
        ([0, 0, 6, 2, 0], [0, 0, 6, 2, 90], 4 / 20),  # a cross
        # A square and itself turned by 45 degrees share a regular octagon: 2 (sqrt 2 - 1) of the square.
        ([0, 0, 1, 1, 0], [0, 0, 1, 1, 45], (2 * math.sqrt(2) - 2) / (4 - 2 * math.sqrt(2))),
        ([0, 0, 4, 2, 0], [0, 0, 2, 2, 0], 0.5),
    ],
)
def test_values_worked_out_by_hand(one, other, expected):
    assert iou(one, other) == pytest.approx(expected, abs=1e-12)
    assert iou(other, one) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ('one', 'other', 'expected'),
    [
        ([42, 41, 4, 28, -74], [42, 41, 4, 29, -74], 28 / 29),
        ([75, 50, 36, 11, 31], [75, 50, 36, 12, 31], 11 / 12),
        ([77, 41, 30, 35, -64], [77, 41, 31, 35, -64], 30 / 31),
        ([84, 40, 14, 12, -5], [84, 40, 15, 12, -5], 14 / 15),
    ],
)
def test_boxes_whose_edges_nearly_coincide(one, other, expected):
    """mmcv's operator gives 0.31 to 0.56 for these."""
    assert iou(one, other) == pytest.approx(expected, abs=1e-12)


def test_the_angle_turns_clockwise_on_screen():
    np.testing.assert_allclose(
        box_corners(boxes([10, 10, 4, 2, 90])), [[[11, 8], [11, 12], [9, 12], [9, 8]]], atol=1e-12
    )
    np.testing.assert_allclose(box_corners(boxes([10, 10, 4, 2, 0])), [[[8, 9], [12, 9], [12, 11], [8, 11]]])
    assert box_corners(np.zeros((0, 5))).shape == (0, 4, 2)


def test_boxes_without_area_overlap_nothing():
    good = [0, 0, 4, 2, 0]
    for bad in ([0, 0, 0, 2, 0], [0, 0, 4, -2, 0], [0, 0, -4, -2, 0], [math.nan, 0, 4, 2, 0], [0, 0, math.inf, 2, 0]):
        assert iou(good, bad) == iou(bad, good) == iou(bad, bad) == 0


@pytest.mark.parametrize('scale', [1e-150, 1e-9, 1e9, 1e150])
@pytest.mark.parametrize('shift', [0, 1e6])
def test_scale_and_place_do_not_matter(scale, shift):
    one, other = np.array([shift, 0, 4, 2, 30.0]), np.array([shift + 1, 0.5, 3, 2, 75.0])
    factors = np.array([scale, scale, scale, scale, 1])
    here = np.array([shift, 0, 0, 0, 0])
    assert iou(one * factors, other * factors) == pytest.approx(iou(one - here, other - here), abs=1e-9)


def test_sides_of_very_different_length():
    assert iou([0, 0, 1e4, 1e-3, 45], [0, 0, 1e4, 1e-3, 45]) == pytest.approx(1, abs=1e-5)
    assert 0 <= iou([0, 0, 1e300, 1e-300, 45], [0, 0, 1e300, 1e-300, 45]) <= 1


def test_shapes():
    assert rotated_iou(np.zeros((0, 5)), np.zeros((0, 5))).shape == (0,)
    assert pairwise_rotated_iou(np.zeros((0, 5)), np.zeros((3, 5))).shape == (0, 3)
    with pytest.raises(ValueError, match='not 1 with 2'):
        rotated_iou(np.zeros((1, 5)), np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r'\(2, 4\)'):
        pairwise_rotated_iou(np.zeros((1, 5)), np.zeros((2, 4)))


# --- independent implementations -------------------------------------------------------------------------------------


def random_pairs(count, seed=0):
    """Pairs that overlap more or less: random ones, and neighbours on an integer grid, where edges coincide."""
    rng = np.random.default_rng(seed)
    one = np.column_stack(
        [rng.uniform(0, 100, (count, 2)), rng.uniform(1, 40, (count, 2)), rng.uniform(-np.pi, np.pi, count)]
    )
    other = one + rng.normal(0, 1, (count, 5)) * [5, 5, 3, 3, 0.3]
    other[:, 2:4] = np.abs(other[:, 2:4]) + 0.5
    half = count // 2
    one[:half, :4] = np.round(one[:half, :4])
    one[:half, 4] = np.deg2rad(rng.integers(0, 91, half))
    other[:half] = one[:half]
    other[np.arange(half), rng.integers(0, 4, half)] += 1
    return one, other


def test_random_pairs_against_clipping_in_plain_python():
    one, other = random_pairs(20_000)
    expected = [clipped_iou(a, b) for a, b in zip(one.tolist(), other.tolist(), strict=True)]
    np.testing.assert_allclose(rotated_iou(one, other), expected, atol=1e-9)
    assert np.mean(np.array(expected) > 0.5) > 0.5  # the pairs are worth comparing


def test_random_pairs_against_counting_points():
    rng = np.random.default_rng(1)
    one, other = random_pairs(30, seed=2)
    points = rng.uniform(-60, 160, (200_000, 2))

    def inside(box):
        x, y = (points - box[:2]).T
        cos, sin = math.cos(box[4]), math.sin(box[4])
        return (np.abs(x * cos + y * sin) <= box[2] / 2) & (np.abs(y * cos - x * sin) <= box[3] / 2)

    for a, b, value in zip(one, other, rotated_iou(one, other), strict=True):
        in_a, in_b = inside(a), inside(b)
        union = (in_a | in_b).sum()
        assert (in_a & in_b).sum() / union == pytest.approx(value, abs=4 * 0.5 / math.sqrt(union))


def test_all_pairs_are_the_aligned_ones():
    one, other = random_pairs(40)
    table = pairwise_rotated_iou(one, other)
    rows, columns = np.indices(table.shape)
    np.testing.assert_array_equal(table.ravel(), rotated_iou(one[rows.ravel()], other[columns.ravel()]))


ROWS = st.tuples(
    st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(1e-3, 1e4), st.floats(1e-3, 1e4), st.floats(-10, 10)
).map(lambda row: np.array([row]))


@given(ROWS, ROWS)
@settings(max_examples=200, deadline=None)
def test_any_two_boxes(one, other):
    value = rotated_iou(one, other)[0]
    assert 0 <= value <= 1
    assert value == pytest.approx(rotated_iou(other, one)[0], abs=1e-9)
    assert value == pytest.approx(clipped_iou(one[0].tolist(), other[0].tolist()), abs=1e-5)
    assert rotated_iou(one, one)[0] == pytest.approx(1, abs=1e-5)  # a side may be 1e-7 of the other


@pytest.mark.mmcv_ops
def test_random_pairs_against_mmcv_s_operator():
    """Compared where edges do not nearly coincide; there mmcv's operator is wrong."""
    import torch
    from mmcv.ops import box_iou_rotated

    one, other = (pairs[2000:] for pairs in random_pairs(4000))
    tensors = [torch.from_numpy(pairs).float() for pairs in (one, other)]
    theirs = box_iou_rotated(*tensors, aligned=True).numpy()
    np.testing.assert_allclose(rotated_iou(one, other), theirs, atol=1e-3)
