"""Scores that are quotients of sums over questions: shares, means, precision, recall, F1."""

from collections.abc import Mapping

import numpy as np

Ratios = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Scores by name, each as two float64 arrays (N,): what every question adds above and below a line. The score is the
quotient of the two sums, 0 where there is nothing to divide by."""


def quotients(ratios: Ratios) -> dict[str, float]:
    """Return the scores."""
    return {name: share(float(above.sum()), float(below.sum())) for name, (above, below) in ratios.items()}


def share(part: float, whole: float) -> float:
    """Return part / whole, and 0 where there is no whole."""
    return float(part / whole) if whole else 0.0
