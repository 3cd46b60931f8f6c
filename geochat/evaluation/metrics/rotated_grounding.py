"""Scores of answers in rotated boxes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from geochat.evaluation.functional import BoxCounts, count_boxes, grounding_ratios, pairwise_rotated_iou
from geochat.evaluation.metrics.base import AnswerMetric, Ratios, Result, look_up
from geochat.registry import METRICS
from geochat.structures import Answer


@METRICS.register_module()
class RotatedGrounding(AnswerMetric):
    """Accuracy, precision, recall and F1 of boxes by rotated intersection over union, at some thresholds.

    A question's ground truth is ``{'boxes': (M, 5)}``. Boxes of truth and answer are arrays, or mmrotate's
    ``RotatedBoxes``: cx, cy, w, h in pixels of the original image, angle in radians, clockwise on screen. An answer
    without boxes is wrong and counts. ``docs/evaluation.md`` tells what each score counts; beside the groups of the
    questions, scores are broken down by whether one object or several are meant (``objects``).

    Args:
        thresholds: Overlaps that count as right, in (0, 1].
        iou: ``'exact'``, or ``'mmrotate'`` for the overlap of mmrotate's own tables. The latter needs mmcv's compiled
            operators, works in float32, and is wrong on boxes whose edges nearly coincide.
        prefix: What the names of the scores begin with; None puts nothing before them.

    Raises:
        ValueError: If a threshold or ``iou`` is none of these.
        ImportError: If ``iou`` is ``'mmrotate'`` and mmrotate or mmcv's operator is missing.
    """

    def __init__(self, thresholds: Sequence[float] = (0.25, 0.5), iou: str = 'exact', prefix: str | None = None):
        super().__init__(prefix=prefix)
        for threshold in thresholds:
            if not 0 < threshold <= 1:
                raise ValueError(f'a threshold is in (0, 1], not {threshold!r}')
        self.thresholds = tuple(thresholds)
        self.overlaps = _overlap_function(iou)

    def result(self, answer: Answer | Mapping[str, Any]) -> Result:
        """Count what the boxes of one answer reach at each threshold."""
        truth = box_array(look_up(answer, 'question', 'truth', 'boxes'))
        predicted = box_array(look_up(answer, 'parsed', 'boxes'))
        groups = dict(look_up(answer, 'question', 'groups'))
        iou = self.overlaps(predicted, truth)
        return {
            'groups': {**groups, 'objects': 'single' if len(truth) == 1 else 'multiple'},
            'counts': [count_boxes(iou, threshold) for threshold in self.thresholds],
        }

    def ratios(self, results: Sequence[Result]) -> Ratios:
        """Return the scores ``NAME@THRESHOLD``."""
        return {
            f'{name}@{threshold:g}': ratio
            for threshold, counts in zip(self.thresholds, self._by_threshold(results), strict=True)
            for name, ratio in grounding_ratios(counts).items()
        }

    def scores(self, results: Sequence[Result]) -> dict[str, float]:
        """Return the scores, and the numbers of boxes."""
        counts = self._by_threshold(results)[0]
        return {
            **super().scores(results),
            'predicted_boxes': sum(count.predicted for count in counts),
            'true_boxes': sum(count.truth for count in counts),
        }

    def _by_threshold(self, results: Sequence[Result]) -> list[tuple[BoxCounts, ...]]:
        return list(zip(*(result['counts'] for result in results), strict=True))


def box_array(boxes: Any) -> np.ndarray:
    """Return boxes as a float64 array (N, 5).

    Args:
        boxes: An array, a list of rows, a tensor, or mmrotate's ``RotatedBoxes``, which is known by its ``tensor`` so
            that mmrotate, seconds and half a gigabyte, need not be imported.

    Raises:
        ValueError: If there are none because the task's answers have no boxes, or the shape is another.
    """
    if boxes is None:
        raise ValueError('the task reads no boxes from its answers')
    tensor = getattr(boxes, 'tensor', boxes)
    if hasattr(tensor, 'detach'):
        tensor = tensor.detach().cpu().double()
    array = np.asarray(tensor, dtype=np.float64)
    if array.size == 0:
        return np.zeros((0, 5))
    if array.ndim != 2 or array.shape[1] != 5:
        raise ValueError(f'boxes are an array (N, 5) of cx, cy, w, h, angle, not of shape {array.shape}')
    return array


def _overlap_function(iou: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    if iou == 'exact':
        return pairwise_rotated_iou
    if iou != 'mmrotate':
        raise ValueError(f"iou is 'exact' or 'mmrotate', not {iou!r}")
    try:
        import mmcv.ops  # noqa: F401 -- where it is missing mmrotate can be imported, and fails when it is called
        import mmrotate.structures.bbox  # noqa: F401
    except ImportError as error:
        message = "iou='mmrotate' needs onedl-mmrotate and an onedl-mmcv with compiled operators; iou='exact' does not"
        raise ImportError(f'{message} ({error})') from error
    return _mmrotate_iou


def _mmrotate_iou(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Return mmrotate's overlaps (N, M); boxes that are not finite overlap nothing, as in our own."""
    import torch
    from mmrotate.structures.bbox import rbbox_overlaps

    tensors = [torch.from_numpy(np.nan_to_num(boxes)).float() for boxes in (boxes1, boxes2)]
    iou = rbbox_overlaps(*tensors).numpy().astype(np.float64)
    finite = [np.isfinite(boxes).all(axis=1) for boxes in (boxes1, boxes2)]
    return iou * finite[0][:, None] * finite[1]
