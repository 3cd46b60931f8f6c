"""Scores of boxes worked out by hand, by our own way and by the protocols of papers."""

import dataclasses
import math

import numpy as np
import pytest

from geochat.evaluation.functional import as_they_are
from geochat.evaluation.metrics import RotatedGrounding
from geochat.evaluation.metrics.boxes import box_overlaps
from geochat.structures import Answer, ParsedAnswer, Question

NONE = np.zeros((0, 5))


def edges(*rows):
    """Boxes from rows x1, y1, x2, y2 and an angle in degrees."""
    x1, y1, x2, y2, degrees = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    return np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, np.deg2rad(degrees)], axis=1)


def answers(*pairs, size=(100, 100)):
    """Answers from pairs of predicted and true boxes."""
    return [
        Answer(Question(str(number), (), {}, {'boxes': truth}), '', '', ParsedAnswer('', boxes), size)
        for number, (boxes, truth) in enumerate(pairs)
    ]


def score(samples, **settings):
    metric = RotatedGrounding(**settings)
    metric.process(None, samples)
    return metric.evaluate(len(samples))


SQUARE = edges([10, 10, 20, 20, 0])


def test_mean_and_cumulative_overlap_are_of_expressions_that_mean_one_object():
    found = answers(
        (edges([10, 10, 20, 15, 0]), SQUARE),  # 50 of 100
        (NONE, SQUARE),  # 0 of 100
        (edges([50, 50, 90, 90, 0]), edges([50, 50, 90, 90, 0])),  # 1600 of 1600
        (edges([10, 10, 20, 20, 0]), edges([10, 10, 20, 20, 0], [50, 50, 60, 60, 0])),
    )
    scores = score(found)
    assert scores['mean_iou'] == pytest.approx((0.5 + 0 + 1) / 3)
    assert scores['cum_iou'] == pytest.approx(1650 / 1800)
    assert 'objects=multiple/mean_iou' not in scores
    assert scores['objects=single/mean_iou'] == scores['mean_iou']


def test_thresholds_above_one_half():
    scores = score(answers((edges([10, 10, 20, 17.5, 0]), SQUARE)), thresholds=(0.5, 0.6, 0.7, 0.8, 0.9))
    assert [scores[f'acc@{t:g}'] for t in (0.5, 0.6, 0.7, 0.8, 0.9)] == [1, 1, 1, 0, 0]


def test_what_is_told_of_one_answer():
    metric = RotatedGrounding(thresholds=(0.5, 0.9))
    several = edges([10, 10, 20, 20, 0], [50, 50, 60, 60, 0])
    metric.process(None, answers((edges([50, 50, 60, 60, 0], [10, 10, 20, 16, 0]), several), (NONE, NONE)))
    told = [metric.of_answer(result) for _, result in metric.results]
    assert told[0] == pytest.approx({'iou': (0.6 + 1) / 2, 'f1@0.5': 1, 'f1@0.9': 0.5})
    assert told[1] == {'iou': 1, 'f1@0.5': 1, 'f1@0.9': 1}


def test_enclosing_boxes():
    """A square turned by 45 degrees and the upright square that encloses it overlap by one half."""
    turned = np.array([[50, 50, 10, 10, np.pi / 4]])
    around = np.array([[50, 50, 10 * math.sqrt(2), 10 * math.sqrt(2), 0]])
    assert score(answers((turned, around)))['mean_iou'] == pytest.approx(0.5)
    scores = score(answers((turned, around)), iou='hbox')
    assert scores['hbox/mean_iou'] == scores['hbox/cum_iou'] == pytest.approx(1)


BAD = {
    'negative side': [15, 15, -10, 10, 0],
    'two negative sides': [15, 15, -10, -10, 0],
    'no height': [15, 15, 10, 0, 0],
    'not a number': [math.nan, 15, 10, 10, 0],
    'angle that is not a number': [15, 15, 10, 10, math.nan],
    'infinite': [15, 15, math.inf, 10, 0],
}


@pytest.mark.parametrize('protocol', RotatedGrounding.protocols)
@pytest.mark.parametrize('bad', BAD.values(), ids=BAD)
def test_a_box_without_area_counts_and_overlaps_nothing(bad, protocol):
    bad = np.array([bad])
    samples = answers((bad, SQUARE), (np.vstack([SQUARE, bad]), SQUARE), (SQUARE, bad))
    scores = score(samples, protocol=protocol)
    prefix = '' if protocol == 'exact' else f'{protocol}/'
    assert np.isfinite(list(scores.values())).all()
    assert scores[f'{prefix}predicted_boxes'] == 4 and scores[f'{prefix}true_boxes'] == 3
    if protocol != 'vrsbench':  # which makes a side of 0 one of 1
        assert scores[f'{prefix}bad_predicted_boxes'] == 2 and scores[f'{prefix}bad_true_boxes'] == 1
    if protocol == 'exact':
        assert scores['precision@0.5'] == 1 / 4 and scores['recall@0.5'] == 1 / 3 and scores['exact_set@0.5'] == 0


@pytest.mark.parametrize('protocol', RotatedGrounding.protocols)
def test_coordinates_of_a_thousand_millions(protocol):
    far = np.array([[1e9, 1e9, 1e9, 1e9, 0.3]])
    scores = score(answers((far, SQUARE), (SQUARE, SQUARE)), protocol=protocol)
    assert scores[('' if protocol == 'exact' else f'{protocol}/') + 'acc@0.5'] == 0.5


@pytest.mark.mmcv_ops
def test_mmrotate_s_overlap_is_that_of_mmcv_s_operator():
    """Of boxes of all kinds, also where it is wrong: neighbours on a grid, whose edges nearly coincide."""
    import torch
    from mmcv.ops import box_iou_rotated

    rng = np.random.default_rng(0)
    one = np.column_stack([rng.integers(10, 90, (500, 2)), rng.integers(1, 40, (500, 2)), rng.uniform(-2, 2, 500)])
    other = one + np.eye(5)[rng.integers(0, 5, 500)]
    expected = box_iou_rotated(*(torch.from_numpy(boxes).float() for boxes in (one, other)), aligned=True).numpy()
    change, overlaps = box_overlaps('mmrotate')
    assert change is as_they_are
    np.testing.assert_allclose(overlaps(one, other), expected, atol=1e-5)
    assert (
        overlaps(np.array([[5, 5, -1, 2, 0], [5, 5, 2, 2, 0]]), np.array([[5, 5, 1, 2, 0], [5, 5, 2, 2, 0.0]]))[0] == 0
    )
    assert overlaps(NONE, NONE).shape == (0,)


# --- protocols -------------------------------------------------------------------------------------------------------


def test_geochat_wants_all_objects_and_more_than_the_threshold():
    two = edges([10, 10, 20, 20, 0], [50, 50, 60, 60, 0])
    samples = answers(
        (two[::-1], two),
        (np.vstack([two, edges([70, 70, 90, 90, 0])]), two),  # what else is named does no harm
        (two[:1], two),
        (edges([10, 10, 20, 15, 0]), SQUARE),  # exactly one half
        (edges([10, 10, 20, 16, 0]), SQUARE),
    )
    assert score(samples, thresholds=[0.5], protocol='geochat')['geochat/acc@0.5'] == 3 / 5


def test_earthdial_turns_the_other_way_and_asks_for_any_object():
    """Seen in a mirror all is the same; but boxes turn about their own centres."""
    two = edges([10, 10, 40, 20, 0], [50, 50, 60, 60, 0])
    samples = answers((np.vstack([two[:1]] * 3), two), (edges([60, 60, 90, 90, 0]), two))
    scores = score(samples, protocol='earthdial')
    assert scores['earthdial/acc@0.5'] == 3 / 4
    assert set(scores) == {
        'earthdial/acc@0.25',
        'earthdial/acc@0.5',
        'earthdial/predicted_boxes',
        'earthdial/true_boxes',
        'earthdial/questions',
        'earthdial/malformed',
    }
    # At 45 degrees clockwise they lie behind each other, counter-clockwise beside each other.
    behind = (edges([40, 45, 60, 55, 45]), edges([45, 50, 65, 60, 45]))
    assert score(answers(behind))['mean_iou'] == pytest.approx((20 - 50**0.5) / (20 + 50**0.5))
    assert score(answers(behind), thresholds=[0.4], protocol='earthdial')['earthdial/acc@0.4'] == 0


def test_earthdial_does_not_see_boxes_with_a_negative_number():
    outside = edges([-3, 10, 20, 20, 0])
    scores = score(answers((outside, outside), (SQUARE, np.vstack([SQUARE, outside]))), protocol='earthdial')
    assert scores['earthdial/predicted_boxes'] == scores['earthdial/true_boxes'] == 1
    assert scores['earthdial/acc@0.5'] == 1
    assert scores['earthdial/objects=single/questions'] == 1


def test_vrsbench_adds_one_to_the_sides_on_the_grid_of_per_cent():
    """Of 10 x 10 and 10 x 5 per cent, 11 x 6 of 11 x 11 are in common, whatever the angle says."""
    samples = answers((edges([20, 40, 40, 60, 0]), edges([20, 40, 40, 80, 30])), size=(200, 400))
    scores = score(samples, thresholds=(0.5, 0.7), protocol='vrsbench')
    assert scores['vrsbench/mean_iou'] == scores['vrsbench/cum_iou'] == pytest.approx(66 / 121)
    assert (scores['vrsbench/acc@0.5'], scores['vrsbench/acc@0.7']) == (1, 0)
    upright = [dataclasses.replace(samples[0], question=Question('0', (), {}, {'boxes': edges([20, 40, 40, 80, 0])}))]
    assert score(upright)['mean_iou'] == pytest.approx(0.5)


def test_vrsbench_leaves_answers_without_a_box_out_of_the_cumulative_overlap_alone():
    scores = score(answers((SQUARE, SQUARE), (NONE, SQUARE)), protocol='vrsbench')
    assert scores['vrsbench/cum_iou'] == 1
    assert scores['vrsbench/mean_iou'] == scores['vrsbench/acc@0.5'] == 0.5


@pytest.mark.parametrize('protocol', ['exact', 'geochat', 'earthdial', 'vrsbench'])
def test_an_answer_without_boxes_is_wrong_where_the_size_is_not_known_too(protocol):
    scores = score(answers((NONE, SQUARE), size=None), protocol=protocol)
    prefix = '' if protocol == 'exact' else f'{protocol}/'
    assert scores[f'{prefix}acc@0.5'] == 0
    assert scores[f'{prefix}questions'] == scores[f'{prefix}true_boxes'] == 1
    assert f'{prefix}bad_true_boxes' not in scores


def test_a_protocol_on_the_grid_needs_the_picture_s_size():
    samples = answers((SQUARE, SQUARE), size=None)
    assert score(samples)['acc@0.5'] == 1
    with pytest.raises(ValueError, match=r"question '0' .*'vrsbench' needs the size of the picture"):
        score(samples, protocol='vrsbench')
