"""Scores of answers in rotated boxes."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from geochat.evaluation.functional import (
    GROUNDING_PROTOCOLS,
    BoxCounts,
    Ratios,
    answer_overlap,
    change_boxes,
    count_boxes,
    have_area,
    overlap_tables,
)
from geochat.evaluation.metrics.base import AnswerMetric, Result, look_up
from geochat.evaluation.metrics.boxes import box_array, box_overlaps
from geochat.registry import METRICS
from geochat.structures import Answer

_ANY_SIZE = (100, 100)
"""Stands for a picture's size that is not known, where nothing depends on it: no boxes are as wrong on any picture."""

_COUNTS = ('predicted', 'truth', 'matched', 'any_match', 'first_right')


@METRICS.register_module()
class RotatedGrounding(AnswerMetric):
    """Accuracy, precision, recall and F1 of boxes by rotated intersection over union, at some thresholds.

    A question's ground truth is ``{'boxes': (M, 5)}``. Boxes of truth and answer are arrays, or mmrotate's
    ``RotatedBoxes``: cx, cy, w, h in pixels of the original image, angle in radians, clockwise on screen. An answer
    without boxes is wrong and counts. ``docs/evaluation.md`` tells what each score counts; beside the groups of the
    questions, scores are broken down by whether one object or several are meant (``objects``).

    Args:
        thresholds: Overlaps that count as right, in (0, 1].
        iou: ``'exact'``; ``'hbox'`` for the overlap of the upright boxes that enclose the rotated ones; or
            ``'mmrotate'`` for the overlap of mmrotate's own tables, which needs mmcv's compiled operators, works in
            float32, and is wrong on boxes whose edges nearly coincide.
        protocol: ``'exact'``, or that of a paper: ``'geochat'``, ``'earthdial'``, ``'vrsbench'``. A paper's says itself
            what overlap it takes.
        prefix: What the names of the scores begin with; None puts nothing before them, and for another ``iou`` or
            ``protocol`` its name.

    Raises:
        ValueError: If a threshold, ``iou`` or ``protocol`` is none of these, or ``iou`` is given beside a paper's
            protocol.
        ImportError: If ``iou`` is ``'mmrotate'`` and mmrotate or mmcv's operator is missing.
    """

    protocols: ClassVar[tuple[str, ...]] = tuple(GROUNDING_PROTOCOLS)

    def __init__(
        self,
        thresholds: Sequence[float] = (0.25, 0.5),
        iou: str = 'exact',
        protocol: str = 'exact',
        prefix: str | None = None,
    ):
        super().__init__(protocol, prefix or (None if iou == 'exact' else iou))
        change, self.overlaps = box_overlaps(iou)
        if protocol != 'exact' and iou != 'exact':
            raise ValueError(f'the protocol {protocol!r} says itself what overlap it takes: there is no iou={iou!r}')
        for threshold in thresholds:
            if not 0 < threshold <= 1:
                raise ValueError(f'a threshold is in (0, 1], not {threshold!r}')
        self.thresholds = tuple(thresholds)
        self.way = GROUNDING_PROTOCOLS[protocol]
        self.change = change if protocol == 'exact' else self.way.change

    def result(self, answer: Answer | Mapping[str, Any]) -> Result:
        """Take the boxes of one answer and its question, and the size of its picture."""
        size = look_up(answer, 'image_size')
        truth = box_array(look_up(answer, 'question', 'truth', 'boxes'))
        boxes = box_array(look_up(answer, 'parsed', 'boxes'))
        if size is None and self.way.on_grid and len(boxes):
            raise ValueError(f'the protocol {self.protocol!r} needs the size of the picture')
        return {
            'size': _ANY_SIZE if size is None else size,
            'truth': truth,
            'boxes': boxes,
        }

    def complete(self, results: Sequence[Result]) -> None:
        """Put in place of the boxes what they reach at each threshold."""
        if not results:
            return
        sizes = np.array([result.pop('size') for result in results], dtype=np.float64)
        predicted, truth = (
            change_boxes(self.change, [result.pop(name) for result in results], sizes) for name in ('boxes', 'truth')
        )
        tables = overlap_tables(predicted, truth, self.overlaps)
        counts = [count_boxes(tables, threshold + self.way.beyond) for threshold in self.thresholds]
        by_threshold = [np.column_stack([getattr(count, name) for name in _COUNTS]) for count in counts]
        areas, true_areas = _first_areas(predicted), _first_areas(truth)
        bad, true_bad = _bad_boxes(predicted), _bad_boxes(truth)
        for place, (result, table) in enumerate(zip(results, tables, strict=True)):
            objects = 'single' if len(truth[place]) == 1 else 'multiple'
            result['groups'] = {**result['groups'], 'objects': objects}
            result['counts'] = np.stack([numbers[place] for numbers in by_threshold])
            result['overlap'] = answer_overlap(table)
            result['first'] = [table[0, 0] if table.size else 0.0, areas[place], true_areas[place]]
            result['bad'] = [bad[place], true_bad[place]]

    def ratios(self, results: Sequence[Result]) -> Ratios:
        """Return the scores ``NAME@THRESHOLD``, ``mean_iou`` and ``cum_iou``."""
        ratios: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for threshold, counts in zip(self.thresholds, _counts(results), strict=True):
            ratios |= {f'{name}@{threshold:g}': ratio for name, ratio in self.way.ratios(counts).items()}
        return ratios | self.way.area_ratios(_counts(results)[0], np.array([result['first'] for result in results]))

    def scores(self, results: Sequence[Result]) -> dict[str, float]:
        """Return the scores, the numbers of boxes, and of those that have no area if there are any."""
        counts = _counts(results)[0]
        bad = np.sum([result['bad'] for result in results], axis=0)
        numbers = {'predicted_boxes': counts.predicted.sum(), 'true_boxes': counts.truth.sum()}
        named = zip(('bad_predicted_boxes', 'bad_true_boxes'), bad, strict=True)
        numbers |= {name: number for name, number in named if number}
        return {**super().scores(results), **{name: int(number) for name, number in numbers.items()}}

    def of_answer(self, result: Result) -> dict[str, float]:
        """Return the overlap of the answer, and its own F1 at each threshold."""
        predicted, truth, matched = result['counts'][:, :3].T
        f1 = np.divide(2 * matched, predicted + truth, out=np.ones(len(matched)), where=predicted + truth > 0)
        by_threshold = {f'f1@{threshold:g}': float(value) for threshold, value in zip(self.thresholds, f1, strict=True)}
        return {'iou': float(result['overlap']), **by_threshold}


def _counts(results: Sequence[Result]) -> list[BoxCounts]:
    """Return the counts of all answers at each threshold."""
    table = np.stack([result['counts'] for result in results])  # (answers, thresholds, names)
    return [BoxCounts(*numbers.T) for numbers in table.transpose(1, 0, 2)]


def _first_areas(sets: Sequence[np.ndarray]) -> np.ndarray:
    """Return the area of the first box of each set: float64 array (N,); 0 if there is none, or it has none."""
    first = np.array([boxes[0] if len(boxes) else np.zeros(5) for boxes in sets])
    return np.where(have_area(first), first[:, 2] * first[:, 3], 0.0)


def _bad_boxes(sets: Sequence[np.ndarray]) -> np.ndarray:
    """Return how many boxes of each set have no area: int64 array (N,)."""
    owners = np.repeat(np.arange(len(sets)), [len(boxes) for boxes in sets])
    return np.bincount(owners[~have_area(np.concatenate(sets))], minlength=len(sets))
