"""One-to-one matching of predicted boxes with those of the ground truth."""

import numpy as np

TOLERANCE = 1e-9
"""How far an overlap may fall short of a threshold. Boxes on a grid of whole per cent often overlap by exactly 0.5, and
whether float64 gives 0.5 or a hair less must not depend on the machine."""


def reaches(iou: np.ndarray, threshold: float) -> np.ndarray:
    """Tell which overlaps reach a threshold."""
    return iou >= threshold - TOLERANCE


def match_boxes(iou: np.ndarray, threshold: float) -> np.ndarray:
    """Match boxes one to one, so that as many pairs as possible reach a threshold.

    Among the largest matchings it takes one of the greatest total overlap (Hungarian method).

    Args:
        iou: (N, M): overlaps of N predicted boxes with M boxes of the ground truth.
        threshold: Overlap that a pair must reach.

    Returns:
        int64 array (K, 2): row and column of each pair, rows ascending.
    """
    good = reaches(iou, threshold)
    if not good.any():
        return np.zeros((0, 2), dtype=np.int64)
    if 1 in iou.shape:
        best = np.unravel_index(np.argmax(iou), iou.shape)
        return np.array([best], dtype=np.int64)
    from scipy.optimize import linear_sum_assignment

    # One more pair must outweigh all overlaps, whose sum is at most the number of pairs.
    rows, columns = linear_sum_assignment(good * (1 + iou / (min(iou.shape) + 1)), maximize=True)
    return np.stack([rows, columns], axis=1)[good[rows, columns]].astype(np.int64)
