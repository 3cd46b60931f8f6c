"""Scores of detections that are told for each class, and averaged over the classes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geochat.evaluation.functional.detection import Ranking, average_precision


class ClassScores(ABC):
    """A score of each of C classes, over I pictures that resamples may have more or less often."""

    @abstractmethod
    def of_classes(self, weights: np.ndarray) -> np.ndarray:
        """Return the score of each class.

        Args:
            weights: (R, I): how often each of R resamples has each picture.

        Returns:
            float64 array (R, C); NaN for a class without objects.
        """

    def mean(self, weights: np.ndarray) -> np.ndarray:
        """Return the mean over the classes that have objects: float64 array (R,); 0 where none has."""
        values = self.of_classes(weights)
        known = ~np.isnan(values)
        return np.where(known, values, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)


@dataclass(frozen=True, eq=False)
class ClassPrecision(ClassScores):
    """Average precision, the mean of that at one or several thresholds.

    Attributes:
        rankings: By threshold and class.
        levels: As :func:`average_precision` takes them.
        tied_together: Likewise.
    """

    rankings: Sequence[Sequence[Ranking]]
    levels: np.ndarray | None = None
    tied_together: bool = True

    def of_classes(self, weights: np.ndarray) -> np.ndarray:
        """Return the average precision of each class."""
        rows = [
            [average_precision(ranking, self.levels, weights, self.tied_together) for ranking in by_class]
            for by_class in self.rankings
        ]
        return np.array(rows).reshape(len(rows), -1, len(weights)).mean(axis=0).T


@dataclass(frozen=True, eq=False)
class ClassF1(ClassScores):
    """F1 under one-to-one matching.

    Attributes:
        counts: (I, C + 1, 3) as :func:`count_detections` gives them for each picture.
    """

    counts: np.ndarray

    def of_classes(self, weights: np.ndarray) -> np.ndarray:
        """Return the F1 of each class."""
        matched, named, there = np.tensordot(weights, self.counts[:, :-1], axes=1).transpose(2, 0, 1)
        return np.where(there > 0, 2 * matched / np.maximum(named + there, 1), np.nan)


@dataclass(frozen=True, eq=False)
class ConfusionF1(ClassScores):
    """F1 as LMMRotate has it: that of the mean precision and the mean recall, over the classes and the background.

    The background has a precision and a recall of 0, so that the best model gets C / (C + 1).

    Attributes:
        counts: (I, C + 1, 3) as :func:`confusion_counts` gives them for each picture.
    """

    counts: np.ndarray

    def of_classes(self, weights: np.ndarray) -> np.ndarray:
        """Return the F1 of each class."""
        precision, recall = self._precision_and_recall(weights)
        objects = np.tensordot(weights, self.counts[..., 2], axes=1) > 0
        return np.where(objects, _harmonic_mean(precision, recall), np.nan)[:, :-1]

    def mean(self, weights: np.ndarray) -> np.ndarray:
        """Return the F1 of the means: float64 array (R,)."""
        precision, recall = self._precision_and_recall(weights)
        return _harmonic_mean(precision.mean(axis=1), recall.mean(axis=1))

    def _precision_and_recall(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        right, named, there = np.tensordot(weights, self.counts, axes=1).transpose(2, 0, 1)
        return right / np.maximum(named, 1), right / np.maximum(there, 1)


def _harmonic_mean(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.divide(2 * one * other, one + other, out=np.zeros_like(one), where=one + other > 0)
