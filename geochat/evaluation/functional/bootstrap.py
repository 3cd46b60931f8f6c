"""How far scores would vary with other questions: percentile intervals of bootstrap resamples."""

from collections.abc import Iterator

import numpy as np

from geochat.evaluation.functional.ratios import Ratios

RESAMPLES = 1000

LEVEL = 0.95
"""Share of the resamples whose score lies within an interval."""

_ENTRIES = 2**21
"""Most weights that are held at a time: 16 MB."""


class Resamples:
    """Resamples of questions, drawn with replacement, as many as there are (Efron 1979).

    Questions of one cluster are drawn together, as a whole: where a benchmark asks a hundred questions about each of a
    hundred pictures, it tells of a hundred pictures, and an interval from single questions would be too narrow.

    Args:
        clusters: (N,) integers: the cluster of each of one or more questions, from 0 up to their number C.
        count: How many resamples.
        seed: The same seed and clusters give the same resamples.
    """

    def __init__(self, clusters: np.ndarray, count: int = RESAMPLES, seed: int = 0):
        self.clusters = np.asarray(clusters, dtype=np.int64)
        self.size = int(self.clusters.max()) + 1
        self.count = count
        self.seed = seed

    def weights(self) -> Iterator[np.ndarray]:
        """Yield how often each resample has each cluster: float64 arrays (R, C), together ``count`` rows."""
        rng = np.random.default_rng(self.seed)
        step = max(1, _ENTRIES // self.size)
        for start in range(0, self.count, step):
            rows = min(step, self.count - start)
            drawn = rng.integers(0, self.size, (rows, self.size), dtype=np.int32)
            places = drawn + self.size * np.arange(rows)[:, None]
            counts = np.bincount(places.ravel(), minlength=rows * self.size)
            yield counts.reshape(rows, self.size).astype(np.float64)

    def sums(self, columns: np.ndarray) -> np.ndarray:
        """Return the sums of columns over the questions of each resample.

        Args:
            columns: (N, K): what each question adds to each of K sums.

        Returns:
            float64 array (count, K).
        """
        columns = np.asarray(columns, dtype=np.float64)
        table = np.zeros((self.size, columns.shape[1]))
        np.add.at(table, self.clusters, columns)
        return np.concatenate([weights @ table for weights in self.weights()])


def resampled_ratios(ratios: Ratios, resamples: Resamples) -> dict[str, np.ndarray]:
    """Return scores that are quotients of sums, of each resample.

    Args:
        ratios: What each of N questions adds.
        resamples: Of the same questions.

    Returns:
        By score a float64 array (resamples,); 0 where nothing is to divide by.
    """
    if not ratios:
        return {}
    columns = np.stack([column for pair in ratios.values() for column in pair], axis=1)
    sums = resamples.sums(columns)
    above, below = sums[:, 0::2], sums[:, 1::2]
    scores = np.divide(above, below, out=np.zeros_like(above), where=below != 0)
    return dict(zip(ratios, scores.T, strict=True))


def percentile_interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Return the ends of the interval that leaves as much of ``1 - level`` below it as above it.

    Args:
        values: (R,): a score of each resample.
        level: Share of the values within.
    """
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
