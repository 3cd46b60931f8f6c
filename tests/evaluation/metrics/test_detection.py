"""Detection: what it takes, what it counts, and what it says of odd answers."""

import dataclasses

import numpy as np
import pytest

from geochat.evaluation.metrics import Detection
from geochat.structures import Answer, ParsedAnswer, Question


def boxes(*centres):
    """Squares of 10 x 10 about points."""
    return np.array([[x, y, 10, 10, 0.3] for x, y in centres], dtype=float).reshape(-1, 5)


def answer(question_id, found, labels, truth, true_labels, scores=None, **further):
    question = Question(question_id, (f'{question_id}.png',), {}, {'boxes': truth, 'labels': true_labels, **further})
    return Answer(question, '', '', ParsedAnswer('', found, labels=labels), (100, 100), box_scores=scores)


HARBOUR = answer('1', boxes((20, 20), (50, 50)), ('Ship', 'ship'), boxes((20, 20), (80, 80)), ['ship', 'ship'])
AIRPORT = answer('2', boxes((20, 20), (70, 70)), ('plane', 'zeppelin'), boxes((20, 20)), ['plane'])
EMPTY = answer('3', boxes(), (), boxes(), [])


def score(samples, **settings):
    metric = Detection(**settings)
    metric.process(None, samples)
    return metric.evaluate(len(samples))


def test_scores_worked_out_by_hand():
    """Ships: 1 of 2 found, 1 of 2 named right. Planes: the one. And something that is no class."""
    scores = score([HARBOUR, AIRPORT, EMPTY])
    assert scores == pytest.approx(
        {
            'precision@0.5': 2 / 4,
            'recall@0.5': 2 / 3,
            'f1@0.5': 4 / 7,
            'mf1@0.5': (1 / 2 + 1) / 2,
            'mAP_nc@0.5': (1 / 2 * 1 / 2 + 1) / 2,
            'predicted_boxes': 4,
            'true_boxes': 3,
            'unknown_labels': 1,
            'questions': 3,
            'malformed': 0,
            'class=plane/f1@0.5': 1,
            'class=plane/AP_nc@0.5': 1,
            'class=plane/true_boxes': 1,
            'class=ship/f1@0.5': 1 / 2,
            'class=ship/AP_nc@0.5': 1 / 4,
            'class=ship/true_boxes': 2,
        }
    )


def test_with_confidences_there_is_an_average_precision():
    sure = dataclasses.replace(HARBOUR, box_scores=(0.9, 0.4))
    scores = score([sure, EMPTY])
    # The right one first: precision 1 up to a recall of 1/2.
    assert scores['mAP@0.5'] == pytest.approx(1 / 2)
    assert scores['mAP07@0.5'] == pytest.approx(6 / 11)
    assert [scores[name] for name in ('AP', 'AP50', 'AP75')] == pytest.approx([51 / 101] * 3)
    assert scores['mAP_nc@0.5'] == pytest.approx(1 / 4)
    unsure = score([dataclasses.replace(HARBOUR, box_scores=(0.4, 0.9)), EMPTY])
    assert unsure['mAP@0.5'] == pytest.approx(1 / 4) and unsure['mAP_nc@0.5'] == pytest.approx(1 / 4)
    assert not {'AP', 'mAP@0.5'} & set(score([HARBOUR]))
    assert score([sure, AIRPORT])['unscored_boxes'] == 2


def test_thresholds_above_one_half():
    """A square moved by 2 has 8 of 12 in common."""
    beside = boxes((50 + 2 * np.cos(0.3), 50 + 2 * np.sin(0.3)))
    scores = score([answer('1', boxes((50, 50)), ('ship',), beside, ['ship'])], thresholds=(0.5, 0.7))
    assert (scores['f1@0.5'], scores['f1@0.7'], scores['mAP_nc@0.7']) == (1, 0, 0)


def test_difficult_objects_need_not_be_found():
    truth = boxes((20, 20), (80, 80))
    samples = [answer('1', boxes((20, 20)), ('ship',), truth, ['ship'] * 2, difficult=[False, True])]
    scores = score(samples)
    assert scores['f1@0.5'] == scores['mAP_nc@0.5'] == 1 and scores['difficult_boxes'] == 1
    assert score(samples, protocol='lmmrotate')['lmmrotate/mAP_nc@0.5'] == pytest.approx(6 / 11)


def test_lmmrotate_s_protocol():
    scores = score([HARBOUR, AIRPORT], protocol='lmmrotate')
    # Of ships 1/2 and 1/2, of planes 1 and 1, of the background 0 and 0.
    assert scores['lmmrotate/mf1@0.5'] == pytest.approx(1 / 2)
    # Ships in the order of the answer: the right one first, so 1 at the six recalls up to 1/2.
    assert scores['lmmrotate/mAP_nc@0.5'] == pytest.approx((6 / 11 + 1) / 2)
    assert 'lmmrotate/f1@0.5' not in scores


def test_intervals_are_of_means_over_the_classes_too():
    rng = np.random.default_rng(0)
    found, labels = boxes((20, 20), (50, 50)), ('ship', 'plane')
    samples = []
    for number in range(30):
        truth = boxes((20, 60 if number % 3 == 0 else 20), (50, 50))
        samples.append(answer(str(number), found, labels, truth, list(labels), tuple(rng.random(2))))
    metric = Detection()
    metric.process(None, samples)
    scores, intervals = metric.compute_metrics(metric.results), metric.intervals(metric.results)
    assert {'f1@0.5', 'mf1@0.5', 'mAP_nc@0.5', 'mAP@0.5', 'AP', 'AP50'} <= set(intervals)
    for name, (low, high) in intervals.items():
        assert low < scores[name] < high
    # Of 30 ships 20 are found: a share of 2/3 with a standard error of 0.086; planes are all found.
    low, high = intervals['recall@0.5']
    assert high - low == pytest.approx(2 * 1.96 * 0.086 / 2, rel=0.15)


def test_what_is_told_of_one_answer():
    metric = Detection()
    metric.process(None, [HARBOUR, EMPTY])
    assert [metric.of_answer(result) for _, result in metric.results] == [{'f1@0.5': 0.5}, {'f1@0.5': 1.0}]


def test_a_class_is_a_group_of_its_own_however_it_is_written():
    tank = answer('1', boxes((20, 20)), ('Storage-Tank',), boxes((20, 20)), ['storage tank'])
    assert score([tank], classes=['storage tank'])['class=storagetank/f1@0.5'] == 1


def test_boxes_without_area_count_and_find_nothing():
    bad = np.array([[20, 20, -10, 10, 0.3], [np.nan, 20, 10, 10, 0], [1e9, 1e9, 10, 10, 0]])
    scores = score([answer('1', bad, ('ship',) * 3, boxes((20, 20)), ['ship'], (0.9, 0.5, np.nan))])
    assert scores['bad_predicted_boxes'] == 2 and scores['predicted_boxes'] == 3
    assert scores['f1@0.5'] == scores['mAP@0.5'] == scores['AP'] == 0


def test_no_objects_at_all():
    scores = score([EMPTY])
    assert scores['mAP_nc@0.5'] == scores['f1@0.5'] == 0 and scores['true_boxes'] == 0


@pytest.mark.parametrize(
    ('sample', 'message'),
    [
        (dataclasses.replace(HARBOUR, parsed=ParsedAnswer('', boxes())), "question '1' .* reads no classes"),
        (dataclasses.replace(HARBOUR, box_scores=(0.5,)), 'box_scores: 1 for 2 boxes'),
        (answer('1', boxes((1, 1)), (), boxes(), []), 'labels of the answer: 0 for 1 boxes'),
        (answer('1', boxes(), (), boxes((1, 1)), []), 'labels of the ground truth: 0 for 1 boxes'),
        (answer('1', boxes(), (), boxes((1, 1)), ['ship'], difficult=[]), 'difficult: 0 for 1 boxes'),
        (answer('1', boxes(), (), boxes((1, 1)), ['tram']), "'tram' of its ground truth is none of the benchmark"),
    ],
)
def test_an_answer_that_cannot_be_scored_is_an_error(sample, message):
    with pytest.raises(ValueError, match=message):
        Detection(classes=['ship', 'plane']).process(None, [sample])


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'thresholds': [50]}, r'\(0, 1\], not 50'),
        ({'iou': 'hbb'}, "'mmrotate', not 'hbb'"),
        ({'protocol': 'coco'}, "'exact', 'lmmrotate', not 'coco'"),
    ],
)
def test_settings_that_mean_nothing_are_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        Detection(**settings)
