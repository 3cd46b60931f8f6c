"""Average precision and F1 against hand calculation, pycocotools on upright boxes, and mmrotate."""

import contextlib
import io
import multiprocessing.dummy
from dataclasses import replace

import numpy as np
import pytest

from geochat.evaluation.functional import (
    COCO_LEVELS,
    COCO_THRESHOLDS,
    VOC07_LEVELS,
    ClassF1,
    ClassPrecision,
    ConfusionF1,
    ImageDetections,
    average_precision,
    coco_rankings,
    confusion_counts,
    count_detections,
    dota_ranking,
    pairwise_rotated_iou,
)
from geochat.evaluation.functional.detection import Ranking, coco_evaluation


def ranking(hits, scores=None, objects=4):
    hits = np.array(hits, dtype=bool)
    scores = -np.arange(len(hits), dtype=float) if scores is None else np.array(scores)
    return Ranking(np.zeros(len(hits), dtype=int), hits, scores, np.array([objects]))


def one_class(iou, scores, difficult=None):
    iou = np.array(iou, dtype=float)
    found, there = iou.shape
    difficult = np.zeros(there, dtype=bool) if difficult is None else np.array(difficult, dtype=bool)
    return ImageDetections(iou, np.zeros(found, int), np.array(scores, dtype=float), np.zeros(there, int), difficult)


# --- average precision by hand ---------------------------------------------------------------------------------------


def test_area_under_the_curve():
    """Right, wrong, right, of 4: precision 1 up to a recall of 1/4, 2/3 up to 1/2, nothing beyond."""
    assert average_precision(ranking([1, 0, 1])) == pytest.approx([1 / 4 + 2 / 3 / 4])


def test_precision_at_some_recalls():
    """0, 0.1, 0.2 lie up to 1/4; 0.3, 0.4, 0.5 up to 1/2."""
    assert average_precision(ranking([1, 0, 1]), VOC07_LEVELS) == pytest.approx([(3 * 1 + 3 * 2 / 3) / 11])
    # 26 of COCO's levels are at most 0.25, 25 more at most 0.5.
    assert average_precision(ranking([1, 0, 1]), COCO_LEVELS) == pytest.approx([(26 + 25 * 2 / 3) / 101])


def test_three_of_ten_objects_reach_a_recall_of_three_tenths():
    assert average_precision(ranking([1, 1, 1], objects=10), VOC07_LEVELS) == pytest.approx([4 / 11])


def test_detections_of_one_confidence_come_together():
    """Whatever their order, it is one point: precision 2/3 at a recall of 1/2."""
    for hits in ([1, 0, 1], [0, 1, 1], [1, 1, 0]):
        assert average_precision(ranking(hits, [1, 1, 1])) == pytest.approx([2 / 3 / 2])
    assert average_precision(ranking([0, 1, 1], [1, 1, 1]), tied_together=False) == pytest.approx([2 / 3 / 2])
    assert average_precision(ranking([1, 1, 0], [1, 1, 1]), tied_together=False) == pytest.approx([1 / 2])
    # The first alone, then two together: precision 1 up to 1/4, then 2/3 up to 1/2.
    assert average_precision(ranking([1, 0, 1], [0.9, 0.5, 0.5])) == pytest.approx([1 / 4 + 2 / 3 / 4])


def test_nothing_found_and_nothing_there():
    assert average_precision(ranking([])) == [0]
    assert average_precision(ranking([]), COCO_LEVELS) == [0]
    assert np.isnan(average_precision(ranking([0, 0], objects=0))).all()
    assert np.isnan(average_precision(ranking([], objects=0), VOC07_LEVELS)).all()


def test_a_resample_is_the_pictures_as_often_as_it_has_them():
    rng = np.random.default_rng(0)
    images = [random_image(rng, classes=1)[0] for _ in range(8)]
    weights = rng.integers(0, 3, (5, 8))
    values = average_precision(dota_ranking(images, 0, 0.5), weights=weights.astype(float))
    for row, value in zip(weights, values, strict=True):
        drawn = [image for image, times in zip(images, row, strict=True) for _ in range(times)]
        assert average_precision(dota_ranking(drawn, 0, 0.5)) == pytest.approx([value])


# --- which detection finds which object ------------------------------------------------------------------------------


def test_voc_holds_a_detection_against_the_object_that_it_overlaps_most():
    """The surest takes the first object; the next overlaps that most and is wrong, though the second was free."""
    ranked = dota_ranking([one_class([[0.9, 0.0], [0.8, 0.6], [0.1, 0.7]], [0.9, 0.8, 0.7])], 0, 0.5)
    assert ranked.hit.tolist() == [True, False, True] and ranked.objects.tolist() == [2]
    coco = coco_rankings([one_class([[0.9, 0.0], [0.8, 0.6], [0.1, 0.7]], [0.9, 0.8, 0.7])], 1, [0.5])[0][0]
    assert coco.hit.tolist() == [True, True, False]


def test_the_surest_detection_comes_first():
    image = one_class([[0.6], [0.9]], [0.2, 0.7])
    assert dota_ranking([image], 0, 0.5).hit.tolist() == [True, False]
    assert dota_ranking([image], 0, 0.5).scores.tolist() == [0.7, 0.2]
    other = one_class([[0.3]], [0.5])
    ranked = dota_ranking([image, other], 0, 0.5)
    assert ranked.scores.tolist() == [0.7, 0.5, 0.2] and ranked.image.tolist() == [0, 1, 0]


@pytest.mark.parametrize('rank', [lambda i: dota_ranking([i], 0, 0.5), lambda i: coco_rankings([i], 1, [0.5])[0][0]])
def test_who_finds_a_difficult_object_gains_and_loses_nothing(rank):
    ranked = rank(one_class([[0.9, 0.0], [0.0, 0.8], [0.0, 0.7], [0.0, 0.0]], [0.9, 0.8, 0.7, 0.6], [False, True]))
    assert ranked.hit.tolist() == [True, False] and ranked.scores.tolist() == [0.9, 0.6]
    assert ranked.objects.tolist() == [1]


def test_counts_under_one_to_one_matching_within_classes():
    """Two ships, one difficult; a plane. A ship found twice, the difficult one, a plane called a ship, an unknown."""
    iou = np.array([[0.9, 0, 0], [0.7, 0, 0], [0, 0.8, 0], [0, 0, 0.9], [0, 0, 0.9]])
    image = ImageDetections(
        iou, np.array([0, 0, 0, 0, -1]), np.ones(5), np.array([0, 0, 1]), np.array([False, True, False])
    )
    assert count_detections(image, 0.5, 2).tolist() == [[1, 3, 1], [0, 0, 1], [0, 1, 0]]
    f1 = ClassF1(count_detections(image, 0.5, 3)[None])
    assert f1.of_classes(np.ones((1, 1)))[0, :2].tolist() == [2 / 4, 0]
    assert np.isnan(f1.of_classes(np.ones((1, 1)))[0, 2])  # no such object
    assert f1.mean(np.ones((1, 1))) == [1 / 4]


def test_a_detection_that_fits_a_difficult_object_too_is_matched_with_the_other():
    image = one_class([[0.6, 0.9]], [1], [False, True])
    assert count_detections(image, 0.5, 1)[0].tolist() == [1, 1, 1]


def test_lmmrotate_counts_every_pair():
    """A ship found twice, a plane found and also called a ship, a plane missed, a ship on background."""
    iou = np.array([[0.9, 0, 0], [0.7, 0, 0], [0, 0.8, 0], [0, 0.6, 0], [0, 0, 0]])
    image = ImageDetections(iou, np.array([0, 0, 1, 0, 0]), np.ones(5), np.array([0, 1, 1]), np.zeros(3, dtype=bool))
    # Matrix, rows true: ship: 2 as ship. plane: 1 as ship, 1 as plane, 1 missed. Background: 1 as ship.
    assert confusion_counts(image, 0.5, 2).tolist() == [[2, 4, 2], [1, 1, 3], [0, 1, 1]]
    score = ConfusionF1(confusion_counts(image, 0.5, 2)[None])
    precision, recall = (2 / 4 + 1 + 0) / 3, (1 + 1 / 3 + 0) / 3
    assert score.mean(np.ones((1, 1))) == pytest.approx([2 * precision * recall / (precision + recall)])
    assert score.of_classes(np.ones((1, 1)))[0] == pytest.approx([2 * 0.5 * 1 / 1.5, 2 * 1 / 3 / (4 / 3)])


def test_by_lmmrotate_s_protocol_nobody_is_perfect():
    image = ImageDetections(np.eye(2), np.array([0, 1]), np.ones(2), np.array([0, 1]), np.zeros(2, dtype=bool))
    assert ConfusionF1(confusion_counts(image, 0.5, 2)[None]).mean(np.ones((1, 1))) == pytest.approx([2 / 3])
    assert ClassF1(count_detections(image, 0.5, 2)[None]).mean(np.ones((1, 1))) == [1]


# --- independent implementations -------------------------------------------------------------------------------------


def random_image(rng, classes=3, turned=True, tied=True):
    """Objects, most of them found more or less well, some twice, and some called otherwise."""
    there = rng.integers(0, 8)
    truth = np.column_stack([rng.uniform(0, 90, (there, 2)), rng.uniform(8, 30, (there, 2)), rng.uniform(-1, 1, there)])
    truth[:, 4] *= turned
    labels = rng.integers(0, classes, there)
    seen = np.concatenate([np.nonzero(rng.random(there) < 0.8)[0], np.arange(there)[:2]])
    found = truth[seen] + rng.normal(0, 1, (len(seen), 5)) * [1, 1, 1, 1, 0.1 * turned]
    found[:, 2:4] = np.abs(found[:, 2:4]) + 1
    scores = rng.random(len(seen))
    if tied:
        scores = np.round(scores, 1)
    image = ImageDetections(
        pairwise_rotated_iou(found, truth),
        np.where(rng.random(len(seen)) < 0.9, labels[seen], rng.integers(0, classes, len(seen))),
        scores,
        labels,
        np.zeros(there, dtype=bool),
    )
    return image, found, truth


def test_coco_on_upright_boxes_is_pycocotools_own():
    """The same boxes as files in COCO's format, read and scored by pycocotools alone."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(1)
    made = [random_image(rng, turned=False) for _ in range(20)]
    images = [image for image, _, _ in made]

    def rows(side):
        for number, (image, *boxes) in enumerate(made):
            labels = (image.labels, image.true_labels)[side]
            for place, (cx, cy, w, h, _) in enumerate(boxes[side]):
                row = {'image_id': number, 'category_id': int(labels[place]), 'bbox': [cx - w / 2, cy - h / 2, w, h]}
                yield row | ({'score': float(image.scores[place])} if side == 0 else {'area': w * h, 'iscrowd': 0})

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            'images': [{'id': number} for number in range(20)],
            'categories': [{'id': number} for number in range(3)],
            'annotations': [row | {'id': number} for number, row in enumerate(rows(1), start=1)],
        }
        truth.createIndex()
        theirs = COCOeval(truth, truth.loadRes(list(rows(0))), 'bbox')
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
    once = np.ones((1, 20))
    ranked = coco_rankings(images, 3)
    for value, part in zip(theirs.stats[:3], (ranked, ranked[:1], ranked[5:6]), strict=True):
        mean = ClassPrecision(part, COCO_LEVELS, tied_together=False).mean(once)
        assert mean == pytest.approx([value], abs=1e-12) and 0.02 < value < 0.98


def test_our_average_precision_is_what_cocoeval_sums_up():
    rng = np.random.default_rng(2)
    images = [random_image(rng)[0] for _ in range(20)]
    images = [replace(image, difficult=rng.random(len(image.true_labels)) < 0.2) for image in images]
    evaluation = coco_evaluation(images, 3, COCO_THRESHOLDS)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
    theirs = evaluation.eval['precision'][:, :, :, 0, 0].mean(axis=1)
    ours = [
        [average_precision(ranking, COCO_LEVELS, tied_together=False)[0] for ranking in by_class]
        for by_class in coco_rankings(images, 3)
    ]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_coco_without_detections_or_objects():
    empty = one_class(np.zeros((0, 0)), [])
    assert np.isnan(average_precision(coco_rankings([empty], 1)[0][0], COCO_LEVELS)).all()
    missed, wrong = one_class(np.zeros((0, 2)), []), one_class(np.zeros((2, 0)), [1, 1])
    assert average_precision(coco_rankings([missed, wrong, empty], 1)[0][0], COCO_LEVELS) == [0]


@pytest.mark.mmcv_ops
def test_dota_s_average_precision_is_mmrotate_s(monkeypatch):
    """In general position, where mmcv's operator is right."""
    from mmrotate.evaluation.functional import eval_rbbox_map, mean_ap

    monkeypatch.setattr(mean_ap, 'get_context', lambda method: multiprocessing.dummy)  # no processes of its own
    rng = np.random.default_rng(3)
    made = [random_image(rng, tied=False) for _ in range(20)]  # the order of ties mmrotate leaves to chance
    images = [image for image, _, _ in made]
    detections = [
        [np.column_stack([found, i.scores])[i.labels == label].astype(np.float32) for label in range(3)]
        for i, found, _ in made
    ]
    none = {'bboxes_ignore': np.zeros((0, 5), dtype=np.float32), 'labels_ignore': np.zeros(0, dtype=int)}
    truth = [{'bboxes': boxes.astype(np.float32), 'labels': i.true_labels, **none} for i, _, boxes in made]
    theirs_07 = np.arange(0, 1.001, 0.1)  # where 9 of 30 objects do not reach 0.30000000000000004
    for levels, is_07 in ((None, False), (theirs_07, True)):
        theirs, _ = eval_rbbox_map(detections, truth, iou_thr=0.5, use_07_metric=is_07, logger='silent', nproc=1)
        ours = ClassPrecision([[dota_ranking(images, label, 0.5) for label in range(3)]], levels)
        assert ours.mean(np.ones((1, 20))) == pytest.approx([theirs], abs=1e-5)
