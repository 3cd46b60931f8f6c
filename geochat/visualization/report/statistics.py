"""The numbers behind the report's plots."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geochat.evaluation import functional
from geochat.evaluation.functional import count_boxes, grounding_scores, normalize_text
from geochat.visualization.report.cases import Case, partner_overlaps

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Overlaps at which precision and recall are drawn."""

MOST_CLASSES = 64
"""More true answers than this are not taken for classes."""


@dataclass(frozen=True, eq=False)
class Confusion:
    """Which classes are taken for which.

    Attributes:
        classes: Names of the true classes, sorted; numbers by value.
        counts: int64 array (C, C + 1): questions of each true class by the class of the answer; the last column counts
            answers that are none of the classes.
    """

    classes: tuple[str, ...]
    counts: np.ndarray

    @property
    def others(self) -> int:
        """How many answers are none of the classes."""
        return int(self.counts[:, -1].sum())

    def slips(self, count: int) -> list[tuple[str, str, int, int]]:
        """Return the most frequent slips: true class, class of the answer, how often, of how many questions."""
        wrong = self.counts[:, :-1].copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind='stable')[:count]
        places = [divmod(int(index), len(self.classes)) for index in order if wrong.flat[index]]
        return [
            (self.classes[row], self.classes[column], int(wrong[row, column]), int(self.counts[row].sum()))
            for row, column in places
        ]


def confusion(cases: Sequence[Case]) -> Confusion | None:
    """Count which answers were given to which true ones; None if the true answers are not classes.

    They are if each question has one, and there are between 2 and :data:`MOST_CLASSES` of them for at least twice as
    many questions. Both sides are compared as ``compact`` normalisation writes them.
    """
    if not cases or any(len(case.true_texts) != 1 for case in cases):
        return None
    truths = [case.true_texts[0] for case in cases]
    # Captions are as many as questions: a table of them would fill the memory.
    if not 2 <= len({normalize_text(truth, 'compact') for truth in truths}) <= min(MOST_CLASSES, len(cases) // 2):
        return None
    classes, counts = functional.confusion([case.text for case in cases], truths)
    order = sorted(range(len(classes)), key=lambda place: _numbers_first(classes[place]))
    return Confusion(tuple(classes[place] for place in order), counts[order][:, [*order, len(classes)]])


def _numbers_first(name: str) -> tuple[bool, int, str]:
    """Sort numbers by value, and before words."""
    is_count = name.isascii() and name.isdigit() and len(name) < 10
    return not is_count, int(name) if is_count else 0, name


def true_box_overlaps(tables: Sequence[np.ndarray]) -> np.ndarray:
    """Return the overlap of every true box with its partner; see :func:`.cases.partner_overlaps`.

    Args:
        tables: (N, M) for each answer: overlaps of predicted with true boxes.
    """
    return np.concatenate([np.zeros(0), *map(partner_overlaps, tables)])


def precision_and_recall(tables: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return precision, recall and F1 at each of :data:`THRESHOLDS`, under one-to-one matching at that threshold.

    Args:
        tables: (N, M) for each answer: overlaps of predicted with true boxes.
    """
    scores = [grounding_scores(count_boxes(tables, threshold)) for threshold in THRESHOLDS]
    names = {'precision': 'precision', 'recall': 'recall', 'F1': 'f1'}
    return {name: np.array([values[score] for values in scores]) for name, score in names.items()}
