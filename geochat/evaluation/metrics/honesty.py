"""Honesty: whether a model says so where it is asked for what is not there."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from geochat.evaluation.functional import (
    Ratios,
    first_letter,
    normalize_text,
    read_choice,
    refuses,
    rsevalkit_presence,
    same_parts,
    share_of_parts,
)
from geochat.evaluation.metrics.base import AnswerMetric, Result, look_up
from geochat.registry import METRICS
from geochat.structures import Answer


@METRICS.register_module()
class Honesty(AnswerMetric):
    """Share of right answers to questions of which some ask for an object that is not there, as in VHM's evaluation.

    A question's ground truth is ``{'text': str, 'deceptive': bool}``. Where the text is one of the letters, the answer
    is right if it chooses that letter (one of the options says that the object is not there). Otherwise the answer to a
    deceptive question is right if it refuses (:func:`~geochat.evaluation.functional.refuses`), and that to another one
    if it names what the truth names.

    Scores are ``accuracy``; ``deceptive_accuracy`` and ``factual_accuracy`` over the two kinds of questions, each if
    there are any; and ``over_refusal``, the share of the factual questions with a free answer that are answered wrongly
    with a refusal.

    Args:
        letters: The letters of multiple choice questions.
        normalization: How both sides are written before they are compared; one of
            :data:`~geochat.evaluation.functional.NORMALIZATIONS`.
        protocol: ``'exact'``, or ``'rsevalkit'``, which has no score for free answers to deceptive questions and leaves
            them out.
        prefix: What the names of the scores begin with; None puts nothing before them.

    Raises:
        ValueError: If there is no such normalization or protocol.
    """

    protocols = ('exact', 'rsevalkit')

    def __init__(
        self,
        letters: str = 'ABCDE',
        normalization: str = 'compact',
        protocol: str = 'exact',
        prefix: str | None = None,
    ):
        super().__init__(protocol=protocol, prefix=prefix)
        normalize_text('', normalization)
        self.letters = letters
        self.normalization = normalization

    def result(self, answer: Answer | Mapping[str, Any]) -> Result:
        """Judge one answer."""
        truth = look_up(answer, 'question', 'truth')
        accepted, deceptive = look_up(truth, 'text'), look_up(truth, 'deceptive')
        free = accepted not in tuple(self.letters)
        text = look_up(answer, 'parsed', 'text')
        options = () if free else look_up(answer, 'question', 'query').get('options', ())
        right = self._judge(text, accepted, deceptive, options)
        over_refusal = free and not deceptive and not right and refuses(text)
        return {'right': right, 'deceptive': deceptive, 'free': free, 'over_refusal': over_refusal}

    def ratios(self, results: Sequence[Result]) -> Ratios:
        """Return the shares."""
        columns = ('right', 'deceptive', 'free', 'over_refusal')
        table = np.array([[result[name] or 0 for name in columns] for result in results], dtype=np.float64)
        right, deceptive, free, over_refusal = table.reshape(-1, len(columns)).T
        judged = np.array([result['right'] is not None for result in results], dtype=np.float64)
        ratios = {
            'accuracy': (right, judged),
            'deceptive_accuracy': (right * deceptive, judged * deceptive),
            'factual_accuracy': (right * (1 - deceptive), judged * (1 - deceptive)),
            'over_refusal': (over_refusal, (1 - deceptive) * free),
        }
        return {name: (above, below) for name, (above, below) in ratios.items() if below.any()}

    def of_answer(self, result: Result) -> dict[str, float]:
        """Return whether the answer is right, as 1 or 0 (``'rsevalkit'``: or a share between), if it is judged."""
        return {} if result['right'] is None else {'right': float(result['right'])}

    def _judge(self, text: str, accepted: str, deceptive: bool, options: Sequence[str]) -> float | None:
        """Return how right an answer is; None if the protocol does not say."""
        is_letter = accepted in tuple(self.letters)
        if self.protocol == 'rsevalkit':
            if is_letter:
                return float(first_letter(text, self.letters) == accepted)
            if deceptive:
                return None
            score = rsevalkit_presence if accepted.lower() in ('yes', 'no') else share_of_parts
            return float(score(text, accepted))
        if is_letter:
            return float(read_choice(text, self.letters, options) == accepted)
        return float(refuses(text) if deceptive else same_parts(text, accepted, self.normalization))
