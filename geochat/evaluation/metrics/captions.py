"""Scores of captions and descriptions."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from mmengine.logging import print_log

from geochat.evaluation.functional import (
    Ratios,
    Resamples,
    as_texts,
    bleu,
    bleu_counts,
    cider,
    coco_rouge,
    meteor,
    ptb_tokens,
    rouge,
    simple_tokens,
    text_without_boxes,
    wordnet_meteor,
)
from geochat.evaluation.metrics.base import AnswerMetric, Result, look_up
from geochat.installation import InstallationError
from geochat.registry import METRICS
from geochat.structures import Answer

MEASURES = {
    'exact': ('rouge', 'bleu', 'meteor', 'cider'),
    'vrsbench': ('rouge', 'bleu', 'meteor', 'cider'),
    'earthdial': ('rouge', 'meteor'),
}
"""What captions can be scored by under each protocol."""

_SCORES = {
    ('exact', 'rouge'): ('rouge1', 'rougeL'),
    ('exact', 'bleu'): ('bleu1', 'bleu2', 'bleu3', 'bleu4'),
    ('exact', 'meteor'): ('meteor',),
    ('exact', 'cider'): ('cider',),
    ('vrsbench', 'rouge'): ('rougeL',),
}
"""Names of the scores of each measure; the other protocols have those of ``'exact'`` where they name none."""


@METRICS.register_module()
class Captions(AnswerMetric):
    """ROUGE, BLEU, METEOR and CIDEr of captions; an answer without words scores 0 and counts.

    A question's ground truth is ``{'text': str}``, or ``{'text': [str, ...]}`` where there are several captions. Boxes
    that the task has read from an answer and phrase marks are left out. Scores are ``rouge1``, ``rougeL``, ``meteor``
    and ``cider``, means over the questions, and ``bleu1`` to ``bleu4`` of all answers together. What needs Java is left
    out where there is none, and a remark says so.

    Args:
        measures: Which of :data:`MEASURES` to compute; None takes all that the protocol has.
        protocol: ``'exact'``; ``'vrsbench'`` for pycocoevalcap as it is, which needs Java for all scores; or
            ``'earthdial'`` (ROUGE of stems, NLTK's METEOR, which needs its WordNet).
        prefix: What the names of the scores begin with; None puts nothing before them.

    Raises:
        ValueError: If there is no such protocol, or the protocol has no such measure.
    """

    protocols = tuple(MEASURES)

    def __init__(self, measures: Sequence[str] | None = None, protocol: str = 'exact', prefix: str | None = None):
        super().__init__(protocol=protocol, prefix=prefix)
        for measure in measures or ():
            if measure not in MEASURES[protocol]:
                known = ', '.join(MEASURES[protocol])
                raise ValueError(f'a measure of captions by {protocol!r} is one of {known}, not {measure!r}')
        self.measures = tuple(measures or MEASURES[protocol])
        self._tokens: dict[str, str] = {}
        self._meteor: dict[tuple[str, tuple[str, ...]], float] = {}
        self._missing: dict[str, str] = {}

    def result(self, answer: Answer | Mapping[str, Any]) -> Result:
        """Take the words of one answer and of its true captions, and its ROUGE, which needs no other answer."""
        captions = tuple(as_texts(look_up(answer, 'question', 'truth', 'text')))
        if not captions:
            raise ValueError('the truth has no caption')
        result = {'text': _bare_text(answer), 'captions': captions}
        if 'rouge' not in self.measures or self.protocol == 'vrsbench':
            return result
        scores = rouge([result['text']], [captions], stemming=self.protocol == 'earthdial')
        return {**result, **{name: float(values[0]) for name, values in scores.items()}}

    def ratios(self, results: Sequence[Result]) -> Ratios:
        """Return the scores that are means over the questions, as far as they can be computed here."""
        means = self._try_all(self._means, results)
        return {name: (values, np.ones_like(values)) for name, values in means.items()}

    def scores(self, results: Sequence[Result]) -> dict[str, float]:
        """Return all scores that can be computed here."""
        return {**super().scores(results), **self._try_all(self._totals, results)}

    def resampled_scores(self, results: Sequence[Result], resamples: Resamples) -> dict[str, np.ndarray]:
        """Return the means and BLEU of each resample."""
        means = super().resampled_scores(results, resamples)
        return {**means, **self._try_all(partial(self._resampled_bleu, resamples), results)}

    def remarks(self, results: Mapping[str, Result]) -> dict[str, str]:
        """Tell which scores are missing, and why."""
        return {
            name: f'left out: {reason}'
            for measure, reason in self._missing.items()
            for name in _SCORES.get((self.protocol, measure), _SCORES['exact', measure])
        }

    def of_answer(self, result: Result) -> dict[str, float]:
        """Return the answer's ROUGE, if it is computed."""
        return {name: result[name] for name in _SCORES['exact', 'rouge'] if name in result}

    def _try_all(self, function: Callable[..., dict[str, Any]], results: Sequence[Result]) -> dict[str, Any]:
        """Compute what can be, and keep in mind why the rest cannot."""
        values = {}
        for measure in self.measures:
            if measure not in self._missing:
                try:
                    values.update(function(measure, results))
                except InstallationError as error:
                    self._missing[measure] = str(error)
        return values

    def _means(self, measure: str, results: Sequence[Result]) -> dict[str, np.ndarray]:
        """Return the scores of a measure that are means, one value a question."""
        if measure == 'rouge' and self.protocol != 'vrsbench':
            return {name: np.array([result[name] for result in results]) for name in _SCORES['exact', 'rouge']}
        if measure == 'rouge':
            return {'rougeL': coco_rouge(*self._tokenized(results))}
        if measure == 'cider':
            return {'cider': cider(*self._tokenized(results))}
        if measure == 'meteor' and self.protocol == 'exact':
            return {'meteor': self._meteor_of_each(results)}
        if measure == 'meteor' and self.protocol == 'earthdial':
            return {'meteor': wordnet_meteor(*_columns(results))}
        return {}

    def _totals(self, measure: str, results: Sequence[Result]) -> dict[str, float]:
        """Return the scores of a measure that belong to all answers together."""
        if measure == 'bleu':
            sums = bleu_counts(*self._tokenized(results)).sum(axis=0)
            return dict(zip(_SCORES['exact', 'bleu'], bleu(sums).tolist(), strict=True))
        if measure == 'meteor' and self.protocol == 'vrsbench':
            return {'meteor': meteor(*self._tokenized(results))[1]}
        return {}

    def _resampled_bleu(self, resamples: Resamples, measure: str, results: Sequence[Result]) -> dict[str, np.ndarray]:
        if measure != 'bleu':
            return {}
        sums = resamples.sums(bleu_counts(*self._tokenized(results)))
        return dict(zip(_SCORES['exact', 'bleu'], bleu(sums).T, strict=True))

    def _tokenized(self, results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
        texts, captions = _columns(results)
        new = sorted({*texts, *itertools.chain.from_iterable(captions)} - self._tokens.keys())
        if new:
            tokenize = ptb_tokens if self.protocol == 'vrsbench' else simple_tokens
            self._tokens.update(zip(new, tokenize(new), strict=True))
        return [self._tokens[text] for text in texts], [[self._tokens[text] for text in group] for group in captions]

    def _meteor_of_each(self, results: Sequence[Result]) -> np.ndarray:
        """Return METEOR of each answer; its program, slow to start, is asked once for all, not once for each group."""
        pairs = [(result['text'], result['captions']) for result in results]
        new = sorted(set(pairs) - self._meteor.keys())
        if new:
            print_log(f"starting METEOR's Java program for {len(new)} captions", logger='current')
            scores, _ = meteor([text for text, _ in new], [captions for _, captions in new])
            self._meteor.update(zip(new, scores.tolist(), strict=True))
        return np.array([self._meteor[pair] for pair in pairs])


def _columns(results: Sequence[Result]) -> tuple[list[str], list[tuple[str, ...]]]:
    return [result['text'] for result in results], [result['captions'] for result in results]


def _bare_text(answer: Answer | Mapping[str, Any]) -> str:
    """An answer's words, without the boxes that were found in it and those that could not be read."""
    grounded = look_up(answer, 'parsed', 'grounded')
    if grounded is None:
        return text_without_boxes(look_up(answer, 'parsed', 'text'), ())
    spans = [tuple(span) for span in look_up(grounded, 'spans')]
    broken = [look_up(fault, 'span') for fault in look_up(grounded, 'diagnostics') if look_up(fault, 'left_out')]
    return text_without_boxes(look_up(grounded, 'text'), [*spans, *broken])
