"""Scores of answers in boxes: accuracy, and precision, recall and F1 under one-to-one matching."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geochat.evaluation.functional.matching import match_boxes, reaches


@dataclass(frozen=True)
class BoxCounts:
    """What the boxes of one answer reach at one threshold.

    Attributes:
        predicted: Boxes of the answer.
        truth: Boxes of the ground truth.
        matched: Pairs of the largest one-to-one matching.
        any_match: Boxes of the answer that reach the threshold with some box of the ground truth, however many reach it
            with the same one.
        first_right: Whether the answer's first box reaches it with the first box of the ground truth.
    """

    predicted: int
    truth: int
    matched: int
    any_match: int
    first_right: bool


def count_boxes(iou: np.ndarray, threshold: float) -> BoxCounts:
    """Count what one answer's boxes reach.

    Args:
        iou: (N, M): overlaps of the answer's N boxes with the M boxes of the ground truth, each in their order.
        threshold: Overlap that counts as right.
    """
    good = reaches(iou, threshold)
    return BoxCounts(
        predicted=iou.shape[0],
        truth=iou.shape[1],
        matched=len(match_boxes(iou, threshold)),
        any_match=int(good.any(axis=1).sum()),
        first_right=bool(good[:1, :1].any()),
    )


def grounding_ratios(counts: Sequence[BoxCounts]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return what each answer adds to the scores at one threshold.

    Args:
        counts: One for each of N expressions; an answer without boxes has one too.

    Returns:
        By score two float64 arrays (N,), what each answer adds above and below the line:

        - ``acc``: of the expressions that mean one object, those whose answer's first box is right. Left out if there
          are none.
        - ``precision``, ``recall``, ``f1``: of all boxes together, under one-to-one matching.
        - ``exact_set``: of all expressions, those whose boxes are all matched and none too many.
        - ``any_match_precision``: of all predicted boxes, those that reach the threshold with some box of the ground
          truth. Says nothing of objects that are missed, or named twice.
    """
    columns = ('predicted', 'truth', 'matched', 'any_match', 'first_right')
    table = np.array([[getattr(count, name) for name in columns] for count in counts], dtype=np.float64)
    predicted, truth, matched, any_match, first_right = table.reshape(-1, len(columns)).T
    is_single = (truth == 1).astype(np.float64)
    ratios = {'acc': (first_right * is_single, is_single)} if is_single.any() else {}
    return {
        **ratios,
        'precision': (matched, predicted),
        'recall': (matched, truth),
        'f1': (2 * matched, predicted + truth),
        'exact_set': (((matched == predicted) & (matched == truth)).astype(np.float64), np.ones_like(truth)),
        'any_match_precision': (any_match, predicted),
    }


def grounding_scores(counts: Sequence[BoxCounts]) -> dict[str, float]:
    """Sum up answers at one threshold: the quotients of :func:`grounding_ratios`, 0 where nothing is to divide by."""
    return {name: share(above.sum(), below.sum()) for name, (above, below) in grounding_ratios(counts).items()}


def share(part: float, whole: float) -> float:
    """Return part / whole, and 0 where there is no whole."""
    return float(part / whole) if whole else 0.0
