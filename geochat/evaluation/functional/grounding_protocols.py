"""How boxes become scores: our own way, and those of papers, whose figures are to be compared with.

``docs/evaluation.md`` says where each paper's way is from, and what is wrong with it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from geochat.evaluation.functional.grounding import BoxCounts, grounding_ratios, intersection_and_union
from geochat.evaluation.functional.matching import TOLERANCE
from geochat.evaluation.functional.ratios import Ratios
from geochat.evaluation.functional.rotated_iou import enclosing_boxes

BoxChange = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""A function of boxes (N, 5) and the sizes of their pictures (N, 2) that gives the boxes as a scorer sees them, and
whether it sees them at all, (N,) bool."""


@dataclass(frozen=True)
class GroundingProtocol:
    """One way to score answers in boxes.

    Attributes:
        ratios: Scores at one threshold.
        area_ratios: Scores of overlaps without a threshold, from the counts at any threshold and an array (N, 3):
            overlap of the answer's first box with the first true one, and the areas of both.
        change: What becomes of the boxes first.
        on_grid: Whether ``change`` needs the pictures' sizes.
        beyond: What is added to a threshold.
    """

    ratios: Callable[[BoxCounts], Ratios]
    area_ratios: Callable[[BoxCounts, np.ndarray], Ratios]
    change: BoxChange
    on_grid: bool = False
    beyond: float = 0.0


def change_boxes(change: BoxChange, sets: Sequence[np.ndarray], sizes: np.ndarray) -> list[np.ndarray]:
    """Change the boxes of many answers together, and leave out those that are not seen.

    Args:
        change: What becomes of the boxes.
        sets: Boxes (M, 5) of each of N answers, N at least 1; M differs.
        sizes: (N, 2): width and height of the answers' pictures in pixels.

    Returns:
        The boxes of each answer.
    """
    owners = np.repeat(np.arange(len(sets)), [len(boxes) for boxes in sets])
    boxes, seen = change(np.concatenate(sets), sizes[owners])
    return np.split(boxes[seen], np.cumsum(np.bincount(owners[seen], minlength=len(sets)))[:-1])


def as_they_are(boxes: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Change nothing."""
    return boxes, np.ones(len(boxes), dtype=bool)


def as_upright_boxes(boxes: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take the upright boxes that enclose the rotated ones."""
    return enclosing_boxes(boxes), np.ones(len(boxes), dtype=bool)


def _single_area_ratios(counts: BoxCounts, first: np.ndarray) -> Ratios:
    """Mean and cumulative overlap over the expressions that mean one object; nothing if there are none."""
    single = counts.truth == 1
    return _area_ratios(first, single, single) if single.any() else {}


def _area_ratios(first: np.ndarray, in_mean: np.ndarray, in_union: np.ndarray) -> Ratios:
    iou, area, true_area = first.T
    intersection, union = intersection_and_union(iou, area, true_area)
    return {
        'mean_iou': (iou * in_mean, in_mean.astype(np.float64)),
        'cum_iou': (intersection * in_union, union * in_union),
    }


def _no_area_ratios(counts: BoxCounts, first: np.ndarray) -> Ratios:
    return {}


def _grid_edges(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return x1, y1, x2, y2 of the boxes before they are turned, in whole per cent of the picture: (N, 4)."""
    halves = boxes[:, 2:4] / 2
    edges = np.hstack([boxes[:, :2] - halves, boxes[:, :2] + halves])
    return np.round(edges / np.hstack([sizes, sizes]) * 100)


def _from_edges(edges: np.ndarray, angles: np.ndarray) -> np.ndarray:
    low, high = edges[:, :2], edges[:, 2:]
    with np.errstate(invalid='ignore'):  # infinity less infinity is no number, and so has no area
        return np.column_stack([(low + high) / 2, high - low, angles])


# --- GeoChat: of all expressions, those whose objects are all found --------------------------------------------------


def _geochat_ratios(counts: BoxCounts) -> Ratios:
    return {'acc': ((counts.matched == counts.truth).astype(np.float64), np.ones(len(counts.truth)))}


# --- EarthDial: of all predicted boxes, those that reach the threshold with any true one -----------------------------


def _earthdial_ratios(counts: BoxCounts) -> Ratios:
    return {'acc': (counts.any_match.astype(np.float64), counts.predicted.astype(np.float64))}


def _earthdial_change(boxes: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn the boxes the other way on the grid of per cent; one with a negative number is not seen."""
    edges = _grid_edges(boxes, sizes)
    written = np.isfinite(edges).all(axis=1)  # what is no number has no sign either
    return _from_edges(edges, -boxes[:, 4]), ~(written & (edges < 0).any(axis=1))


# --- VRSBench: of all expressions, those whose first box reaches the threshold ---------------------------------------


def _vrsbench_ratios(counts: BoxCounts) -> Ratios:
    return {'acc': (counts.first_right.astype(np.float64), np.ones(len(counts.truth)))}


def _vrsbench_area_ratios(counts: BoxCounts, first: np.ndarray) -> Ratios:
    """The mean is over all expressions; the cumulative overlap leaves out answers that cannot be read."""
    return _area_ratios(first, np.ones(len(first), dtype=bool), counts.predicted > 0)


def _vrsbench_change(boxes: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take the boxes as they are before they are turned, on the grid of per cent, with each side longer by 1."""
    edges = _grid_edges(boxes, sizes) + np.array([0, 0, 1, 1])
    return _from_edges(edges, np.zeros(len(boxes))), np.ones(len(boxes), dtype=bool)


GROUNDING_PROTOCOLS = {
    'exact': GroundingProtocol(grounding_ratios, _single_area_ratios, as_they_are),
    'geochat': GroundingProtocol(_geochat_ratios, _no_area_ratios, as_they_are, beyond=2 * TOLERANCE),
    'earthdial': GroundingProtocol(_earthdial_ratios, _no_area_ratios, _earthdial_change, on_grid=True),
    'vrsbench': GroundingProtocol(_vrsbench_ratios, _vrsbench_area_ratios, _vrsbench_change, on_grid=True),
}
"""The ways by name."""
