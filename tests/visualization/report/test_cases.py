"""A line of predictions is read whole or refused with the field's name; answers are rated by hand-made cases."""

import numpy as np
import pytest

from geochat.visualization.report.cases import overlaps, partner_overlaps, quality, read_case

ROW = {'id': 'a', 'prompt': 'Where is it?', 'answer': 'There.'}


def boxed(predicted, true):
    """A case of upright boxes, given as left, top, right, bottom."""

    def rotated(boxes):
        return [[(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, 0.0] for x0, y0, x1, y1 in boxes]

    return read_case({**ROW, 'boxes': rotated(predicted), 'truth': {'boxes': rotated(true)}})


def table(case):
    return overlaps([case])[0]


def rate(case):
    return quality(case, table(case))


def test_a_line_of_an_earlier_version_has_what_it_has():
    case = read_case(ROW)
    assert (case.text, case.boxes, case.true_texts, case.malformed) == ('There.', None, (), False)
    assert not case.has_boxes


def test_a_whole_line():
    case = read_case(
        {
            **ROW,
            'images': ['a.png'],
            'image_size': [100, 50],
            'text': 'there',
            'boxes': [[1, 2, 3, 4, 0.5]],
            'labels': ['ship'],
            'truth': {'boxes': [], 'text': ['yes', 'true']},
            'malformed': True,
            'diagnostics': ['degenerate'],
            'groups': {'size': 'small'},
            'scores': {'right': True, 'comment': 'none', 'strange': float('nan'), 'huge': 10**400},
            'log_prob': -1.5,
        }
    )
    assert case.images == ('a.png',)
    assert case.image_size == (100, 50)
    assert case.boxes.tolist() == [[1, 2, 3, 4, 0.5]]
    assert case.true_boxes.shape == (0, 5)
    assert case.true_texts == ('yes', 'true')
    assert case.scores == {'right': 1.0}
    assert case.log_prob == -1.5


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        ([], 'a line is an object, not list'),
        ({'id': 'a', 'prompt': 'x'}, "there is no 'answer'"),
        ({**ROW, 'truth': 'yes'}, "'truth' has another form: 'yes'"),
        ({**ROW, 'truth': {'text': 3}}, "'text' has another form: 3"),
        ({**ROW, 'boxes': [[10**400] * 5]}, "'boxes' is a list of boxes of five numbers"),
        ({**ROW, 'images': 'a.png'}, "'images' has another form"),
        ({**ROW, 'image_size': [3]}, r"'image_size' is a width and a height, not \[3\]"),
        ({**ROW, 'image_size': [0, 5]}, r"'image_size' is not positive: \[0, 5\]"),
        ({**ROW, 'image_size': [float('inf'), 5]}, "'image_size' is a width and a height"),
        ({**ROW, 'boxes': [[1, 2, 3]]}, "'boxes' is a list of boxes of five numbers"),
        ({**ROW, 'boxes': [[1, 2, 3, 4, 5], [1]]}, "'boxes' is a list of boxes of five numbers"),
        ({**ROW, 'truth': {'boxes': [['a'] * 5]}}, "'truth.boxes' is a list of boxes of five numbers"),
    ],
)
def test_what_is_wrong_is_named(row, message):
    with pytest.raises(ValueError, match=message):
        read_case(row)


def test_true_boxes_find_the_partners_of_greatest_total_overlap():
    left, right = (0, 0, 10, 10), (10, 0, 20, 10)
    between = (4, 0, 14, 10)  # overlaps left by 6 / 14, right by 4 / 16
    assert partner_overlaps(table(boxed([between, left], [left, right]))).tolist() == pytest.approx([1, 4 / 16])
    assert partner_overlaps(table(boxed([between], [right, left]))).tolist() == pytest.approx([0, 6 / 14])
    assert partner_overlaps(table(boxed([], [left, right]))).tolist() == [0, 0]
    assert partner_overlaps(table(boxed([], [left]))).tolist() == [0]
    assert partner_overlaps(table(boxed([left, right], []))).tolist() == []


def test_a_box_too_many_or_too_few_costs():
    left, right = (0, 0, 10, 10), (10, 0, 20, 10)
    assert rate(boxed([left], [left])) == pytest.approx(1)
    assert rate(boxed([left, right], [left])) == pytest.approx(0.5)
    assert rate(boxed([left], [left, right])) == pytest.approx(0.5)
    assert rate(boxed([], [left])) == 0
    assert rate(boxed([], [])) == 1


def test_boxes_of_another_class_are_not_found():
    box = [5, 5, 4, 4, 0]
    row = {**ROW, 'boxes': [box, box], 'labels': ['ship', 'plane']}
    found = read_case({**row, 'truth': {'boxes': [box], 'labels': ['plane']}})
    assert table(found).tolist() == [[0], [pytest.approx(1)]]
    assert rate(read_case({**row, 'truth': {'boxes': [box], 'labels': ['car']}})) == 0
    assert rate(read_case({**row, 'truth': {'boxes': [box]}})) == pytest.approx(0.5)
    assert table(read_case({**row, 'boxes': [], 'labels': [], 'truth': {'boxes': [], 'labels': []}})).shape == (0, 0)


def test_words_are_rated_by_what_the_metrics_tell():
    assert rate(read_case({**ROW, 'scores': {'earthdial/right': 1, 'right': 0}})) == 0
    assert rate(read_case({**ROW, 'scores': {'rouge1': 0.25, 'rougeL': 0.2}})) == 0.25
    assert rate(read_case({**ROW, 'truth': {'text': 'there'}})) == 1
    assert rate(read_case({**ROW, 'truth': {'text': 'here'}})) == 0


def test_boxes_that_are_no_numbers_are_worth_nothing():
    case = read_case(
        {**ROW, 'boxes': [[float('nan')] * 5, [1e9, 1e9, 1e9, 1e9, 0]], 'truth': {'boxes': [[5, 5, 2, 2, 0]]}}
    )
    assert np.isfinite(rate(case))
    assert rate(case) < 1e-6
