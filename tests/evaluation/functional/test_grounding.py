"""One-to-one matching and the scores of answers in boxes."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geochat.evaluation.functional import (
    answer_overlap,
    count_boxes,
    grounding_scores,
    intersection_and_union,
    match_boxes,
)


def most_pairs(good):
    """Size of the largest matching, by trying all."""
    good = good if good.shape[0] <= good.shape[1] else good.T
    ways = itertools.permutations(range(good.shape[1]), good.shape[0])
    return max(sum(good[row, column] for row, column in enumerate(way)) for way in ways)


TABLES = st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(
    lambda shape: st.lists(
        st.sampled_from([0, 0.1, 0.4, 0.5, 0.6, 1.0]), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]
    ).map(lambda values: np.array(values).reshape(shape))
)


@given(TABLES)
@settings(max_examples=300, deadline=None)
def test_as_many_pairs_as_possible_reach_the_threshold(iou):
    pairs = match_boxes(iou, 0.5)
    assert len(pairs) == most_pairs(iou >= 0.5)
    assert (iou[pairs[:, 0], pairs[:, 1]] >= 0.5).all()
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)


def greedy_pairs(iou, threshold):
    """Match the best pair first, then the best of what is left, and so on."""
    iou, pairs = iou.copy(), []
    while iou.size and iou.max() >= threshold:
        row, column = np.unravel_index(np.argmax(iou), iou.shape)
        pairs.append(iou[row, column])
        iou[row], iou[:, column] = -1, -1
    return pairs


@given(TABLES, st.sampled_from([0.1, 0.5, 0.6]))
@settings(max_examples=300)
def test_never_worse_than_matching_greedily(iou, threshold):
    greedy = greedy_pairs(iou, threshold)
    pairs = match_boxes(iou, threshold)
    assert len(pairs) >= len(greedy)
    if len(pairs) == len(greedy):
        assert iou[pairs[:, 0], pairs[:, 1]].sum() >= sum(greedy) - 1e-9


def test_more_pairs_go_before_a_better_pair():
    iou = np.array([[0.99, 0.5], [0.5, 0.0]])
    assert match_boxes(iou, 0.5).tolist() == [[0, 1], [1, 0]]
    assert match_boxes(iou, 0.6).tolist() == [[0, 0]]


def test_among_largest_matchings_the_overlap_decides():
    iou = np.array([[0.6, 0.9], [0.7, 0.6]])
    assert match_boxes(iou, 0.5).tolist() == [[0, 1], [1, 0]]
    assert match_boxes(np.array([[0.6, 0.9]]), 0.5).tolist() == [[0, 1]]


@pytest.mark.parametrize('shape', [(0, 0), (0, 3), (3, 0)])
def test_no_boxes_no_pairs(shape):
    assert match_boxes(np.zeros(shape), 0.5).shape == (0, 2)


def test_an_overlap_that_rounding_keeps_below_the_threshold_reaches_it():
    assert len(match_boxes(np.array([[0.5 - 1e-12]]), 0.5)) == 1
    assert len(match_boxes(np.array([[0.5 - 1e-6]]), 0.5)) == 0


@given(st.lists(TABLES, min_size=1, max_size=6))
@settings(max_examples=100)
def test_many_answers_are_counted_as_each_alone(tables):
    together = count_boxes(tables, 0.5)
    for place, iou in enumerate(tables):
        good = iou >= 0.5
        assert (together.predicted[place], together.truth[place]) == iou.shape
        assert together.matched[place] == most_pairs(good)
        assert together.any_match[place] == good.any(axis=1).sum()
        assert together.first_right[place] == good[0, 0]


def test_answers_without_boxes_lie_between_others():
    counts = count_boxes([np.zeros((0, 2)), np.eye(2), np.zeros((3, 0)), np.zeros((0, 0)), np.ones((1, 1))], 0.5)
    assert counts.predicted.tolist() == [0, 2, 3, 0, 1] and counts.truth.tolist() == [2, 2, 0, 0, 1]
    assert counts.matched.tolist() == counts.any_match.tolist() == [0, 2, 0, 0, 1]
    assert counts.first_right.tolist() == [0, 1, 0, 0, 1]
    assert count_boxes([], 0.5).matched.shape == (0,)


@pytest.mark.parametrize(
    ('iou', 'expected'),
    [
        ([[0.3], [0.9]], 0.3),  # one object: the first box
        ([[0.3, 0.6], [0.8, 0.7], [0.1, 0.1]], (0.6 + 0.8) / 2),  # not 0.3 + 0.7
        ([[0.9, 0.5]], 0.9 / 2),
        (np.zeros((0, 3)), 0),
        (np.zeros((2, 0)), 0),
        (np.zeros((0, 0)), 1),
    ],
)
def test_overlap_of_an_answer(iou, expected):
    assert answer_overlap(np.array(iou)) == pytest.approx(expected)


def test_areas_follow_from_the_overlap():
    """A square of 4 x 4 and itself moved by 2 have 8 in common, of 24."""
    intersection, union = intersection_and_union(np.array([8 / 24, 0]), np.array([16, 16]), np.array([16, 9]))
    np.testing.assert_allclose(intersection, [8, 0])
    np.testing.assert_allclose(union, [24, 25])


def test_scores_worked_out_by_hand():
    """One right; one whose first box is wrong; one of two objects of which one is found; one without boxes."""
    answers = [
        np.array([[0.8]]),
        np.array([[0.1], [0.9]]),
        np.array([[0.7, 0.0], [0.6, 0.2], [0.0, 0.1]]),
        np.zeros((0, 1)),
    ]
    scores = grounding_scores(count_boxes(answers, 0.5))
    assert scores == pytest.approx(
        {
            'acc': 1 / 3,  # of three expressions of one object
            'precision': 3 / 6,
            'recall': 3 / 5,
            'f1': 6 / 11,
            'exact_set': 1 / 4,
            'any_match_precision': 4 / 6,  # both boxes of the third answer that lie on the same object
        }
    )


def test_one_safe_box_named_again_and_again_raises_only_the_any_match_precision():
    safe = grounding_scores(count_boxes([np.array([[0.9, 0.0]] * 9)], 0.5))
    assert safe['any_match_precision'] == 1
    assert safe['precision'] == pytest.approx(1 / 9) and safe['recall'] == 0.5 and safe['exact_set'] == 0


def test_nothing_predicted_is_wrong_and_nothing_there_is_right():
    scores = grounding_scores(count_boxes([np.zeros((0, 2))], 0.5))
    assert set(scores.values()) == {0.0} and 'acc' not in scores
    assert grounding_scores(count_boxes([np.zeros((0, 0))], 0.5))['exact_set'] == 1
