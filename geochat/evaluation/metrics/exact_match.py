"""Accuracy of short answers: classes, words, numbers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from geochat.evaluation.functional import (
    Ratios,
    closest_class,
    exact_match,
    geochat_match,
    is_part_of_truth,
    lhrs_match,
    macro_average,
    normalize_text,
    offers_truth,
    token_recall,
)
from geochat.evaluation.metrics.base import AnswerMetric, Result, look_up, some_of
from geochat.registry import METRICS
from geochat.structures import Answer

_PROTOCOLS: dict[str, Callable[[str, Any], float]] = {
    'geochat': geochat_match,
    'earthdial': token_recall,
    'lhrs': lhrs_match,
    'rsevalkit': is_part_of_truth,
}


@METRICS.register_module()
class ExactMatch(AnswerMetric):
    """Share of the answers that are the true one; an empty answer is wrong.

    A question's ground truth is ``{'text': str}``, or ``{'text': [str, ...]}`` where several answers are right. Beside
    ``accuracy``, the mean over the questions, there is ``macro_accuracy`` if ``macro_over`` is set.

    Args:
        normalization: How both sides are written before they are compared; one of
            :data:`~geochat.evaluation.functional.NORMALIZATIONS`. Other protocols than ``'exact'`` have their own.
        protocol: ``'exact'``, ``'geochat'`` (the original's script for scenes), ``'earthdial'``, ``'lhrs'`` or
            ``'rsevalkit'``.
        macro_over: Kind of groups whose accuracies are averaged, each weighing the same, such as ``'category'``; every
            question must have it among its groups. None leaves ``macro_accuracy`` out.
        closed_set: True if the questions give the answers to choose from, as the query's ``classes`` or in its
            ``text``. A remark counts and names those that do not offer their true answer; they count as any other.
        prefix: What the names of the scores begin with; None puts nothing before them.

    Raises:
        ValueError: If there is no such normalization or protocol.
    """

    protocols = ('exact', *_PROTOCOLS)

    def __init__(
        self,
        normalization: str = 'compact',
        protocol: str = 'exact',
        macro_over: str | None = None,
        closed_set: bool = False,
        prefix: str | None = None,
    ):
        super().__init__(protocol=protocol, prefix=prefix)
        normalize_text('', normalization)
        self.normalization = normalization
        self.macro_over = macro_over
        self.closed_set = closed_set

    def result(self, answer: Answer | Mapping[str, Any]) -> Result:
        """Compare one answer with the truth."""
        accepted = look_up(answer, 'question', 'truth', 'text')
        query = look_up(answer, 'question', 'query')
        right = self._compare(look_up(answer, 'parsed', 'text'), accepted, query.get('classes'))
        if not self.closed_set:
            return {'right': right}
        return {'right': right, 'offered': offers_truth(_offered(query), accepted, self.normalization)}

    def ratios(self, results: Sequence[Result]) -> Ratios:
        """Return the accuracy, over all questions and over groups of them."""
        right = np.array([result['right'] for result in results], dtype=np.float64)
        ratios = {'accuracy': (right, np.ones_like(right))}
        if self.macro_over is not None:
            kinds = [look_up(result, 'groups', self.macro_over) for result in results]
            ratios['macro_accuracy'] = macro_average(right, kinds)
        return ratios

    def remarks(self, results: Mapping[str, Result]) -> dict[str, str]:
        """Count and name the questions that do not offer the truth."""
        missing = [name for name, result in results.items() if self.closed_set and not result['offered']]
        if not missing:
            return {}
        questions = '1 question' if len(missing) == 1 else f'{len(missing)} questions'
        return {'accuracy': f'the classes of {questions} do not contain the true one: {some_of(missing)}'}

    def of_answer(self, result: Result) -> dict[str, float]:
        """Return whether the answer is right, and whether it was offered (``closed_set``), as 1 or 0.

        EarthDial's answers may also be right in part.
        """
        return {name: float(result[name]) for name in ('right', 'offered') if name in result}

    def _compare(self, text: str, accepted: str | Sequence[str], classes: Sequence[str] | None) -> float:
        if self.protocol == 'exact':
            return float(exact_match(text, accepted, self.normalization))
        if self.protocol == 'lhrs' and classes:
            # Its script for scenes writes classes in lower case with spaces; which class is meant does not hang on it.
            return float(exact_match(closest_class(text, classes), accepted, self.normalization))
        return float(_PROTOCOLS[self.protocol](text, accepted))


def _offered(query: Mapping[str, Any]) -> str | Sequence[str]:
    for key in ('classes', 'text'):
        if key in query:
            return query[key]
    raise ValueError(f"closed_set needs a query with 'classes' or 'text', not {sorted(query)}")
