"""Accuracy of short answers: classes, words, numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from geochat.evaluation.functional import Ratios, exact_match, normalize_text
from geochat.evaluation.metrics.base import AnswerMetric, Result, look_up
from geochat.registry import METRICS
from geochat.structures import Answer


@METRICS.register_module()
class ExactMatch(AnswerMetric):
    """Share of the answers that are the true one; an empty answer is wrong.

    A question's ground truth is ``{'text': str}``, or ``{'text': [str, ...]}`` where several answers are right.

    Args:
        normalization: How both sides are written before they are compared; one of
            :data:`~geochat.evaluation.functional.NORMALIZATIONS`.
        prefix: What the names of the scores begin with; None puts nothing before them.

    Raises:
        ValueError: If there is no such normalization.
    """

    def __init__(self, normalization: str = 'compact', prefix: str | None = None):
        super().__init__(prefix=prefix)
        normalize_text('', normalization)
        self.normalization = normalization

    def result(self, answer: Answer | Mapping[str, Any]) -> Result:
        """Compare one answer with the truth."""
        accepted = look_up(answer, 'question', 'truth', 'text')
        return {'right': exact_match(look_up(answer, 'parsed', 'text'), accepted, self.normalization)}

    def ratios(self, results: Sequence[Result]) -> Ratios:
        """Return the accuracy."""
        right = np.array([result['right'] for result in results], dtype=np.float64)
        return {'accuracy': (right, np.ones_like(right))}

    def of_answer(self, result: Result) -> dict[str, float]:
        """Return whether the answer is right, as 1 or 0."""
        return {'right': float(result['right'])}
