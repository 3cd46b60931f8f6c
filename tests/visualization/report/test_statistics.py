"""Numbers of the plots against counts by hand."""

import numpy as np
import pytest

from geochat.visualization.report.cases import overlaps, read_case
from geochat.visualization.report.statistics import (
    THRESHOLDS,
    confusion,
    precision_and_recall,
    true_box_overlaps,
)


def said(answer, truth, **more):
    return read_case({'id': 'a', 'prompt': '', 'answer': answer, 'truth': {'text': truth}, **more})


def boxed(predicted, true):
    return read_case({'id': 'a', 'prompt': '', 'answer': '', 'boxes': predicted, 'truth': {'boxes': true}})


def test_classes_are_counted_as_they_are_written_compactly():
    cases = [
        said('Dense Residential.', 'DenseResidential'),
        said('forest', 'DenseResidential'),
        said('a forest', 'forest'),
        said('forest', 'Forest'),
    ]
    table = confusion(cases)
    assert table.classes == ('DenseResidential', 'forest')
    assert table.counts.tolist() == [[1, 1, 0], [0, 1, 1]]
    assert table.slips(5) == [('DenseResidential', 'forest', 1, 2)]
    assert table.others == 1


def test_numbers_are_sorted_by_value():
    cases = [said('1', truth) for truth in ('10', '9', '10', '9', 'none', 'none')]
    assert confusion(cases).classes == ('9', '10', 'none')


@pytest.mark.parametrize(
    'cases',
    [
        [],
        [said('a', 'a'), said('a', 'a')],  # one class
        [said('a', 'a'), said('b', 'b'), said('c', 'c')],  # each its own: captions
        [said('a', ['a', 'b']), said('a', ['b', 'a'])],  # several are right
        [boxed([], [])] * 4,
        [said(str(number), str(number // 2)) for number in range(200)],  # too many
    ],
)
def test_other_answers_are_no_classes(cases):
    assert confusion(cases) is None


def test_precision_and_recall_by_hand():
    box, half = [5, 5, 10, 10, 0], [10 / 3 + 5, 5, 10, 10, 0]  # moved by a third: overlap (2/3) / (4/3) = 0.5
    cases = [boxed([half, [90, 90, 4, 4, 0]], [box]), boxed([], [box, [50, 50, 4, 4, 0]])]
    tables = overlaps(cases)
    curves = precision_and_recall(tables)
    at = dict(zip(THRESHOLDS, zip(*curves.values(), strict=True), strict=True))
    assert at[0.5] == pytest.approx((1 / 2, 1 / 3, 2 / 5))
    assert at[0.55] == (0, 0, 0)
    assert sorted(true_box_overlaps(tables).tolist()) == pytest.approx([0, 0, 0.5])


def test_nothing_to_count_gives_zeros():
    assert true_box_overlaps([]).tolist() == []
    assert all(not np.any(values) for values in precision_and_recall([]).values())
