"""Scores of answers in boxes: accuracy, precision, recall and F1 under one-to-one matching, mean and cumulative IoU."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geochat.evaluation.functional.matching import match_boxes, reaches
from geochat.evaluation.functional.ratios import Ratios, quotients


@dataclass(frozen=True)
class BoxCounts:
    """What the boxes of N answers reach at one threshold: int64 arrays (N,).

    Attributes:
        predicted: Boxes of the answer.
        truth: Boxes of the ground truth.
        matched: Pairs of the largest one-to-one matching.
        any_match: Boxes of the answer that reach the threshold with some box of the ground truth, however many reach it
            with the same one.
        first_right: 1 where the answer's first box reaches it with the first box of the ground truth, 0 elsewhere.
    """

    predicted: np.ndarray
    truth: np.ndarray
    matched: np.ndarray
    any_match: np.ndarray
    first_right: np.ndarray


def count_boxes(tables: Sequence[np.ndarray], threshold: float) -> BoxCounts:
    """Count what answers' boxes reach.

    Args:
        tables: (N, M) for each answer: overlaps of its N boxes with the M boxes of the ground truth, each in their
            order. An answer without boxes has a table (0, M).
        threshold: Overlap that counts as right.
    """
    shapes = np.array([table.shape for table in tables], dtype=np.int64).reshape(-1, 2)
    predicted, truth = shapes.T
    # All tables row by row: the number of the answer, of the row and of the column (both over all answers) of an entry.
    entries = predicted * truth
    start = np.cumsum(entries) - entries
    place = np.arange(entries.sum()) - np.repeat(start, entries)
    width = np.maximum(np.repeat(truth, entries), 1)
    rows = np.repeat(np.cumsum(predicted) - predicted, entries) + place // width
    columns = np.repeat(np.cumsum(truth) - truth, entries) + place % width
    good = reaches(np.concatenate([*(table.ravel() for table in tables), np.zeros(0)]), threshold)

    any_match, found = _with_some(rows[good], predicted), _with_some(columns[good], truth)
    pairs = np.bincount(np.repeat(np.arange(len(tables)), entries)[good], minlength=len(tables))
    matched = np.minimum(any_match, found)
    # Where no box of the one side reaches two of the other, there is no choice; elsewhere the matching decides.
    for index in np.nonzero((pairs > any_match) & (pairs > found) & (matched > 1))[0]:
        matched[index] = len(match_boxes(tables[index], threshold))
    first_right = np.zeros(len(tables), dtype=np.int64)
    first_right[entries > 0] = good[start[entries > 0]]
    return BoxCounts(predicted, truth, matched, any_match, first_right)


def _with_some(lines: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return how many of each answer's lines (rows or columns, ``counts`` of them) are among ``lines``."""
    hit = np.zeros(counts.sum(), dtype=np.int64)
    hit[lines] = 1
    sums = np.cumsum([0, *hit])
    ends = np.cumsum(counts)
    return sums[ends] - sums[ends - counts]


def grounding_ratios(counts: BoxCounts) -> Ratios:
    """Return what each answer adds to the scores at one threshold.

    Returns:
        - ``acc``: of the expressions that mean one object, those whose answer's first box is right. Left out if there
          are none.
        - ``precision``, ``recall``, ``f1``: of all boxes together, under one-to-one matching.
        - ``exact_set``: of all expressions, those whose boxes are all matched and none too many.
        - ``any_match_precision``: of all predicted boxes, those that reach the threshold with some box of the ground
          truth. Says nothing of objects that are missed, or named twice.
    """
    predicted, truth, matched = counts.predicted, counts.truth, counts.matched
    single = truth == 1
    ratios = {'acc': (counts.first_right * single, single)} if single.any() else {}
    ratios |= {
        'precision': (matched, predicted),
        'recall': (matched, truth),
        'f1': (2 * matched, predicted + truth),
        'exact_set': ((matched == predicted) & (matched == truth), np.ones_like(truth)),
        'any_match_precision': (counts.any_match, predicted),
    }
    return {name: (above.astype(np.float64), below.astype(np.float64)) for name, (above, below) in ratios.items()}


def grounding_scores(counts: BoxCounts) -> dict[str, float]:
    """Sum up answers at one threshold: the quotients of :func:`grounding_ratios`, 0 where nothing is to divide by."""
    return quotients(grounding_ratios(counts))


def answer_overlap(table: np.ndarray) -> float:
    """Return how well one answer's boxes meet the true ones, between 0 and 1.

    Args:
        table: (N, M): overlaps of the answer's boxes with the true ones.

    Returns:
        The overlap of the first box where there is one true box. Where there are several, the sum of the overlaps of
        the one-to-one matching that has most, divided by their number. 1 where there is none and none was named.
    """
    if table.shape[1] == 0:
        return float(table.shape[0] == 0)
    if table.shape[0] == 0:
        return 0.0
    if table.shape[1] == 1:
        return float(table[0, 0])
    from scipy.optimize import linear_sum_assignment

    return float(table[linear_sum_assignment(table, maximize=True)].sum() / table.shape[1])


def intersection_and_union(iou: np.ndarray, area1: np.ndarray, area2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the areas that pairs of shapes have in common and together, from their areas and overlap: (N,) each."""
    union = (area1 + area2) / (1 + iou)
    return iou * union, union
