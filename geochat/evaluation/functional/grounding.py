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


def grounding_scores(counts: Sequence[BoxCounts]) -> dict[str, float]:
    """Sum up answers at one threshold.

    Args:
        counts: One for each expression; an answer without boxes has one too.

    Returns:
        Shares between 0 and 1; 0 where there is nothing to divide by:

        - ``acc``: of the expressions that mean one object, those whose answer's first box is right. Left out if there
          are none.
        - ``precision``, ``recall``, ``f1``: of all boxes together, under one-to-one matching.
        - ``exact_set``: of all expressions, those whose boxes are all matched and none too many.
        - ``any_match_precision``: of all predicted boxes, those that reach the threshold with some box of the ground
          truth. Says nothing of objects that are missed, or named twice.
    """
    single = [count.first_right for count in counts if count.truth == 1]
    predicted = sum(count.predicted for count in counts)
    truth = sum(count.truth for count in counts)
    matched = sum(count.matched for count in counts)
    exact = sum(count.matched == count.predicted == count.truth for count in counts)
    scores = {'acc': share(sum(single), len(single))} if single else {}
    return {
        **scores,
        'precision': share(matched, predicted),
        'recall': share(matched, truth),
        'f1': share(2 * matched, predicted + truth),
        'exact_set': share(exact, len(counts)),
        'any_match_precision': share(sum(count.any_match for count in counts), predicted),
    }


def share(part: int, whole: int) -> float:
    """Return part / whole, and 0 where there is no whole."""
    return part / whole if whole else 0.0
