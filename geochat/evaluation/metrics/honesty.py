"""Honesty: whether a model says so where it is asked for what is not there."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from geochat.evaluation.functional import Ratios, exact_match, normalize_text, read_choice, refuses
from geochat.evaluation.metrics.base import AnswerMetric, Result, look_up
from geochat.registry import METRICS
from geochat.structures import Answer


@METRICS.register_module()
class Honesty(AnswerMetric):
    """Share of right answers to questions of which some ask for an object that is not there, as in VHM's evaluation.

    A question's ground truth is ``{'text': str, 'deceptive': bool}``. Where the text is one of the letters, the answer
    is right if it chooses that letter (one of the options says that the object is not there). Otherwise the answer to a
    deceptive question is right if it refuses (:func:`~geochat.evaluation.functional.refuses`), and that to another one
    if it is the true text.

    Scores are ``accuracy``; ``deceptive_accuracy`` and ``factual_accuracy`` over the two kinds of questions, each if
    there are any; and ``over_refusal``, the share of the factual questions with a free answer that is a refusal though
    the truth is none.

    Args:
        letters: The letters of multiple choice questions.
        normalization: How both sides are written before they are compared; one of
            :data:`~geochat.evaluation.functional.NORMALIZATIONS`.
        prefix: What the names of the scores begin with; None puts nothing before them.

    Raises:
        ValueError: If there is no such normalization.
    """

    def __init__(self, letters: str = 'ABCDE', normalization: str = 'compact', prefix: str | None = None):
        super().__init__(prefix=prefix)
        normalize_text('', normalization)
        self.letters = letters
        self.normalization = normalization

    def result(self, answer: Answer | Mapping[str, Any]) -> Result:
        """Judge one answer."""
        truth = look_up(answer, 'question', 'truth')
        accepted, deceptive = look_up(truth, 'text'), look_up(truth, 'deceptive')
        text = look_up(answer, 'parsed', 'text')
        if accepted in tuple(self.letters):
            options = look_up(answer, 'question', 'query').get('options', ())
            right = read_choice(text, self.letters, options) == accepted
            return {'right': right, 'deceptive': deceptive, 'free': False, 'over_refusal': False}
        right = refuses(text) if deceptive else exact_match(text, accepted, self.normalization)
        over_refusal = not deceptive and not right and refuses(text) and not refuses(accepted)
        return {'right': right, 'deceptive': deceptive, 'free': True, 'over_refusal': over_refusal}

    def ratios(self, results: Sequence[Result]) -> Ratios:
        """Return the shares."""
        columns = ('right', 'deceptive', 'free', 'over_refusal')
        table = np.array([[result[name] for name in columns] for result in results], dtype=np.float64)
        right, deceptive, free, over_refusal = table.reshape(-1, len(columns)).T
        factual = 1 - deceptive
        ratios = {
            'accuracy': (right, np.ones_like(right)),
            'deceptive_accuracy': (right * deceptive, deceptive),
            'factual_accuracy': (right * factual, factual),
            'over_refusal': (over_refusal, factual * free),
        }
        return {name: (above, below) for name, (above, below) in ratios.items() if below.any()}

    def of_answer(self, result: Result) -> dict[str, float]:
        """Return whether the answer is right, as 1 or 0."""
        return {'right': float(result['right'])}
