"""Error of answers that are numbers: counts, lengths, ground sampling distances."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from geochat.evaluation.functional import Ratios, read_number
from geochat.evaluation.metrics.base import AnswerMetric, Result, look_up
from geochat.registry import METRICS
from geochat.structures import Answer


@METRICS.register_module()
class AbsoluteError(AnswerMetric):
    """Mean absolute error of answers that are numbers.

    A question's ground truth is ``{'text': str}``, a text with a number in digits or words. An answer without a number
    has no error to count: the mean is that of the others, and ``read``, the share of answers that have a number,
    belongs beside it. Scores are ``mae``, in the unit of the truth, ``read``, and ``exact_number``, the share of all
    answers whose number is the true one.

    Args:
        prefix: What the names of the scores begin with; None puts nothing before them.
    """

    def __init__(self, prefix: str | None = None):
        super().__init__(prefix=prefix)

    def result(self, answer: Answer | Mapping[str, Any]) -> Result:
        """Read the numbers of answer and truth."""
        accepted = str(look_up(answer, 'question', 'truth', 'text'))
        truth = read_number(accepted)
        if truth is None:
            raise ValueError(f'the truth has no number: {accepted!r}')
        number = read_number(look_up(answer, 'parsed', 'text'))
        return {'error': None if number is None else abs(number - truth)}

    def ratios(self, results: Sequence[Result]) -> Ratios:
        """Return the error, and the shares of answers that have a number and the right one."""
        read = np.array([result['error'] is not None for result in results], dtype=np.float64)
        error = np.array([result['error'] or 0.0 for result in results])
        every = np.ones_like(read)
        return {'mae': (error, read), 'read': (read, every), 'exact_number': (read * (error == 0), every)}

    def of_answer(self, result: Result) -> dict[str, float]:
        """Return the error, if the answer has a number."""
        return {} if result['error'] is None else {'absolute_error': result['error']}
