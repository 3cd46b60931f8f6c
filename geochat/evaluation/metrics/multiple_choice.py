"""Accuracy of answers to multiple choice questions, each alone and under CircularEval."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from geochat.evaluation.functional import (
    Ratios,
    first_letter,
    first_standing_letter,
    leading_letter,
    macro_average,
    read_choice,
)
from geochat.evaluation.metrics.base import AnswerMetric, Result, look_up
from geochat.registry import METRICS
from geochat.structures import Answer

_PROTOCOLS: dict[str, Callable[[str, str], str | None]] = {
    'fit_rs': first_standing_letter,
    'geobench_vlm': leading_letter,
    'rsevalkit': first_letter,
}


@METRICS.register_module()
class MultipleChoice(AnswerMetric):
    """Share of the answers that choose the right letter; an answer that chooses none, or several, is wrong.

    A question's ground truth is ``{'text': 'B'}``. If its query has ``options``, their texts in the order of the
    letters, an answer may also be the text of one. Under CircularEval a question is asked several times with its
    options in turn, and right only if all its answers are; the truth then also has ``circle``, the name that these
    questions share.

    Scores are ``accuracy`` over all answers, ``circular_accuracy`` over circles if ``circular`` is set,
    ``macro_accuracy`` if ``macro_over`` is, and ``unread``, the number of answers that choose nothing.

    Args:
        letters: The letters that may be chosen.
        circular: True also scores by CircularEval.
        protocol: ``'exact'``, or how others read the letter: ``'fit_rs'``, ``'geobench_vlm'``, ``'rsevalkit'``.
        macro_over: Kind of groups whose accuracies are averaged, each weighing the same (circles where ``circular`` is
            set); None leaves ``macro_accuracy`` out.
        prefix: What the names of the scores begin with; None puts nothing before them.

    Raises:
        ValueError: If there is no such protocol.
    """

    protocols = ('exact', *_PROTOCOLS)

    def __init__(
        self,
        letters: str = 'ABCDE',
        circular: bool = False,
        protocol: str = 'exact',
        macro_over: str | None = None,
        prefix: str | None = None,
    ):
        super().__init__(protocol=protocol, prefix=prefix)
        self.letters = letters
        self.circular = circular
        self.macro_over = macro_over

    def result(self, answer: Answer | Mapping[str, Any]) -> Result:
        """Read the letter of one answer and compare it with the truth."""
        truth = look_up(answer, 'question', 'truth', 'text')
        if truth not in tuple(self.letters):
            raise ValueError(f'the truth of a multiple choice question is one of {self.letters}, not {truth!r}')
        text = look_up(answer, 'parsed', 'text')
        if self.protocol == 'exact':
            letter = read_choice(text, self.letters, look_up(answer, 'question', 'query').get('options', ()))
        else:
            letter = _PROTOCOLS[self.protocol](text, self.letters)
        result = {'right': letter == truth, 'read': letter is not None}
        return {**result, 'circle': look_up(answer, 'question', 'truth', 'circle')} if self.circular else result

    def ratios(self, results: Sequence[Result]) -> Ratios:
        """Return the accuracies."""
        right = np.array([result['right'] for result in results], dtype=np.float64)
        ratios = {'accuracy': (right, np.ones_like(right))}
        if self.circular:
            ratios['circular_accuracy'] = _by_circle(right, [result['circle'] for result in results])
        if self.macro_over is not None:
            ratios['macro_accuracy'] = self._macro(results, *ratios.get('circular_accuracy', ratios['accuracy']))
        return ratios

    def scores(self, results: Sequence[Result]) -> dict[str, float]:
        """Return the accuracies, and how many answers choose nothing."""
        return {**super().scores(results), 'unread': sum(not result['read'] for result in results)}

    def of_answer(self, result: Result) -> dict[str, float]:
        """Return whether the answer is right, as 1 or 0."""
        return {'right': float(result['right'])}

    def _macro(self, results: Sequence[Result], above: np.ndarray, below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kinds = np.array([look_up(result, 'groups', self.macro_over) for result in results], dtype=object)
        counted = below > 0
        spread = np.zeros((2, len(results)))
        spread[:, counted] = macro_average(above[counted], kinds[counted])
        return spread[0], spread[1]


def _by_circle(right: np.ndarray, circles: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Count each circle once, at its first question, so that an interval draws circles and not their questions."""
    _, first, circle = np.unique(np.asarray(circles, dtype=object).astype(str), return_index=True, return_inverse=True)
    all_right = np.ones(len(first))
    np.minimum.at(all_right, circle, right)
    above, below = np.zeros_like(right), np.zeros_like(right)
    above[first], below[first] = all_right, 1
    return above, below
