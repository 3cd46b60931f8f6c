"""Scores of detections: answers with a class and a rotated box for every object of some classes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from geochat.evaluation.functional import (
    COCO_LEVELS,
    VOC07_LEVELS,
    ClassF1,
    ClassPrecision,
    ClassScores,
    ConfusionF1,
    ImageDetections,
    Ratios,
    Resamples,
    change_boxes,
    coco_rankings,
    confusion_counts,
    count_detections,
    dota_ranking,
    have_area,
    normalize_text,
    overlap_tables,
)
from geochat.evaluation.metrics.base import AnswerMetric, Result, look_up
from geochat.evaluation.metrics.boxes import box_array, box_overlaps
from geochat.registry import METRICS
from geochat.structures import Answer


@METRICS.register_module()
class Detection(AnswerMetric):
    """Average precision and F1 of boxes with classes.

    A question's ground truth is ``{'boxes': (M, 5), 'labels': [str] * M}`` and, where there are objects that need not
    be found, ``'difficult': [bool] * M``. An answer has boxes, their labels and, where it is known how sure the model
    is of each, ``box_scores``. Labels are compared as ``compact`` writes them. ``docs/evaluation.md`` tells what each
    score is.

    Args:
        classes: The benchmark's classes; None takes those of the ground truth.
        thresholds: Overlaps that count as right, in (0, 1].
        iou: As :class:`~geochat.evaluation.metrics.RotatedGrounding` takes it.
        protocol: ``'exact'`` or ``'lmmrotate'``.
        prefix: What the names of the scores begin with; None puts nothing before them, and for another ``iou`` or
            ``protocol`` its name.

    Raises:
        ValueError: If a threshold, ``iou`` or ``protocol`` is none of these.
        ImportError: If ``iou`` is ``'mmrotate'`` and mmrotate or mmcv's operator is missing.
    """

    protocols: ClassVar[tuple[str, ...]] = ('exact', 'lmmrotate')

    def __init__(
        self,
        classes: Sequence[str] | None = None,
        thresholds: Sequence[float] = (0.5,),
        iou: str = 'exact',
        protocol: str = 'exact',
        prefix: str | None = None,
    ):
        super().__init__(protocol, prefix or (None if iou == 'exact' else iou))
        for threshold in thresholds:
            if not 0 < threshold <= 1:
                raise ValueError(f'a threshold is in (0, 1], not {threshold!r}')
        self.classes = None if classes is None else [normalize_text(name, 'compact') for name in classes]
        self.thresholds = tuple(thresholds)
        self.change, self.overlaps = box_overlaps(iou)

    def result(self, answer: Answer | Mapping[str, Any]) -> Result:
        """Take the boxes and classes of one answer and its question."""
        truth = look_up(answer, 'question', 'truth')
        true_boxes, true_labels = box_array(look_up(truth, 'boxes')), look_up(truth, 'labels')
        boxes, labels = box_array(look_up(answer, 'parsed', 'boxes')), look_up(answer, 'parsed', 'labels')
        scores, difficult = look_up(answer, 'box_scores'), truth.get('difficult')
        if labels is None:
            raise ValueError('the task reads no classes from its answers')
        for name, values, count in (
            ('labels of the answer', labels, len(boxes)),
            ('box_scores', scores, len(boxes)),
            ('labels of the ground truth', true_labels, len(true_boxes)),
            ('difficult', difficult, len(true_boxes)),
        ):
            if values is not None and len(values) != count:
                raise ValueError(f'{name}: {len(values)} for {count} boxes')
        true_labels = [normalize_text(label, 'compact') for label in true_labels]
        for label in true_labels if self.classes is not None else ():
            if label not in self.classes:
                raise ValueError(f'the class {label!r} of its ground truth is none of the benchmark')
        return {
            'boxes': boxes,
            'labels': [normalize_text(label, 'compact') for label in labels],
            'scores': None if scores is None else np.array(scores, dtype=np.float64),
            'truth': true_boxes,
            'true_labels': true_labels,
            'difficult': np.zeros(len(true_boxes), dtype=bool)
            if difficult is None
            else np.array(difficult, dtype=bool),
        }

    def complete(self, results: Sequence[Result]) -> None:
        """Put the overlaps in place of the boxes."""
        if not results:
            return
        sizes = np.full((len(results), 2), np.nan)  # no overlap of theirs needs them
        given = [[result.pop(name) for result in results] for name in ('boxes', 'truth')]
        sets = [change_boxes(self.change, boxes, sizes) for boxes in given]
        for place, (result, table) in enumerate(zip(results, overlap_tables(*sets, self.overlaps), strict=True)):
            result['iou'] = table
            result['bad'] = [int((~have_area(boxes[place])).sum()) for boxes in sets]

    def ratios(self, results: Sequence[Result]) -> Ratios:
        """Return precision, recall and F1 of the boxes of all classes together."""
        if self.protocol != 'exact':
            return {}
        ratios: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        classes, images = self._images(results)
        for threshold in self.thresholds:
            counts = np.stack([count_detections(image, threshold, len(classes)) for image in images])
            matched, named, there = counts.sum(axis=1).astype(np.float64).T
            ratios |= {
                f'precision@{threshold:g}': (matched, named),
                f'recall@{threshold:g}': (matched, there),
                f'f1@{threshold:g}': (2 * matched, named + there),
            }
        return ratios

    def scores(self, results: Sequence[Result]) -> dict[str, float]:
        """Return the scores, the numbers of boxes, of those that are odd where there are any, and the scores by class.

        A class has the scores that are means over the classes, without the ``m`` of their names, and the number of its
        objects: ``class=ship/AP_nc@0.5``, ``class=ship/true_boxes``.
        """
        classes, images = self._images(results)
        once = np.ones((1, len(results)))
        by_class = self._by_class(classes, images, _are_scored(results))
        rows = {name.removeprefix('m'): values.of_classes(once)[0] for name, values in by_class.items()}
        objects = np.bincount(np.concatenate([image.true_labels for image in images]), minlength=len(classes))
        told = {name: float(values.mean(once)[0]) for name, values in by_class.items()}
        for label in np.nonzero(objects)[0]:
            values = {name: float(row[label]) for name, row in rows.items()}
            values['true_boxes'] = int(objects[label])
            told |= {f'class={classes[label]}/{name}': value for name, value in values.items()}
        return {**super().scores(results), **told, **self._numbers(results, images)}

    def resampled_scores(self, results: Sequence[Result], resamples: Resamples) -> dict[str, np.ndarray]:
        """Return the scores of each resample, with those that are means over the classes."""
        by_class = self._by_class(*self._images(results), _are_scored(results))
        parts = [
            {name: values.mean(weights[:, resamples.clusters]) for name, values in by_class.items()}
            for weights in resamples.weights()
        ]
        means = {name: np.concatenate([part[name] for part in parts]) for name in by_class}
        return {**super().resampled_scores(results, resamples), **means}

    def of_answer(self, result: Result) -> dict[str, float]:
        """Return the answer's own F1 at each threshold, over the boxes of all its classes."""
        classes, images = self._images([result])
        told = {}
        for threshold in self.thresholds:
            matched, named, there = count_detections(images[0], threshold, len(classes)).sum(axis=0)
            told[f'f1@{threshold:g}'] = float(2 * matched / (named + there)) if named + there else 1.0
        return told

    def _images(self, results: Sequence[Result]) -> tuple[list[str], list[ImageDetections]]:
        """Return the classes, and the detections with the numbers of their classes."""
        classes = self.classes
        if classes is None:
            classes = sorted({label for result in results for label in result['true_labels']})
        numbers = {name: number for number, name in enumerate(classes)}
        images = [
            ImageDetections(
                iou=result['iou'],
                labels=np.array([numbers.get(label, -1) for label in result['labels']], dtype=np.int64),
                scores=_confidences(result),
                true_labels=np.array([numbers[label] for label in result['true_labels']], dtype=np.int64),
                difficult=result['difficult'] & (self.protocol == 'exact'),  # to LMMRotate all objects are alike
            )
            for result in results
        ]
        return classes, images

    def _by_class(
        self, classes: Sequence[str], images: Sequence[ImageDetections], are_scored: bool
    ) -> dict[str, ClassScores]:
        """Return the scores that are means over the classes."""
        unsure = [replace(image, scores=np.ones(len(image.labels))) for image in images]
        scores: dict[str, ClassScores] = {}
        for threshold in self.thresholds:
            without = [[dota_ranking(unsure, label, threshold) for label in range(len(classes))]]
            if self.protocol == 'lmmrotate':
                counts = np.stack([confusion_counts(image, threshold, len(classes)) for image in images])
                scores[f'mf1@{threshold:g}'] = ConfusionF1(counts)
                scores[f'mAP_nc@{threshold:g}'] = ClassPrecision(without, VOC07_LEVELS, tied_together=False)
            else:
                counts = np.stack([count_detections(image, threshold, len(classes)) for image in images])
                scores[f'mf1@{threshold:g}'] = ClassF1(counts)
                scores[f'mAP_nc@{threshold:g}'] = ClassPrecision(without)
        if self.protocol == 'exact' and are_scored:
            scores |= self._with_confidences(images, len(classes))
        return scores

    def _with_confidences(self, images: Sequence[ImageDetections], num_classes: int) -> dict[str, ClassScores]:
        scores: dict[str, ClassScores] = {}
        for threshold in self.thresholds:
            rankings = [[dota_ranking(images, label, threshold) for label in range(num_classes)]]
            scores[f'mAP@{threshold:g}'] = ClassPrecision(rankings)
            scores[f'mAP07@{threshold:g}'] = ClassPrecision(rankings, VOC07_LEVELS)
        by_threshold = coco_rankings(images, num_classes)
        for name, rows in {'AP': by_threshold, 'AP50': by_threshold[:1], 'AP75': by_threshold[5:6]}.items():
            scores[name] = ClassPrecision(rows, COCO_LEVELS, tied_together=False)
        return scores

    def _numbers(self, results: Sequence[Result], images: Sequence[ImageDetections]) -> dict[str, int]:
        bad, true_bad = np.sum([result['bad'] for result in results], axis=0)
        unscored = sum(len(result['labels']) for result in results if result['scores'] is None)
        odd = {
            'difficult_boxes': sum(image.difficult.sum() for image in images),
            'unknown_labels': sum((image.labels == -1).sum() for image in images),
            'unscored_boxes': unscored if _are_scored(results) else 0,
            'bad_predicted_boxes': bad,
            'bad_true_boxes': true_bad,
        }
        return {
            'predicted_boxes': sum(len(image.labels) for image in images),
            'true_boxes': sum(len(image.true_labels) for image in images),
            **{name: int(number) for name, number in odd.items() if number},
        }


def _are_scored(results: Sequence[Result]) -> bool:
    """Tell whether it is known of any box how sure the model is."""
    return any(result['scores'] is not None and len(result['scores']) for result in results)


def _confidences(result: Result) -> np.ndarray:
    """Return the confidences of an answer's boxes; those that are not known, or no number, come last of all."""
    if result['scores'] is None:
        return np.zeros(len(result['labels']))
    return np.nan_to_num(result['scores'], nan=0.0)
