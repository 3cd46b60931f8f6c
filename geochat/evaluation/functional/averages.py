"""Averages over questions, and over kinds of questions."""

from collections.abc import Sequence

import numpy as np


def macro_average(values: np.ndarray, kinds: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return what each question adds to the mean of the kinds' means, in which every kind weighs the same.

    A mean of means is a quotient of sums, too, if each question is weighed by one over the number of its kind.

    Args:
        values: (N,) what is averaged, such as 1 for a right answer and 0 for a wrong one.
        kinds: N names of the questions' kinds.

    Returns:
        Two float64 arrays (N,), what each question adds above and below the line.
    """
    _, kind, sizes = np.unique(np.asarray(kinds, dtype=object).astype(str), return_inverse=True, return_counts=True)
    weights = 1 / sizes[kind]
    return values * weights, weights
