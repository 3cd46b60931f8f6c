"""What the metrics of answers have in common: one result a question, joined by the question's id."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from geochat.evaluation.functional import (
    RESAMPLES,
    Ratios,
    Resamples,
    percentile_interval,
    quotients,
    resampled_ratios,
)
from geochat.structures import Answer

Result = dict[str, Any]


class AnswerMetric(ABC):
    """A metric of a model's answers to a benchmark's questions, for MMEngine's evaluator or alone.

    It has what MMEngine asks of a metric, but does not derive from its ``BaseMetric``: answers in a file are scored in
    less time than the import of torch takes, which comes with that.

    Each answer gives one small result. The results of all ranks are joined by the question's id, so it does not matter
    how the questions were dealt out, and one that was answered twice to fill up a rank counts once.

    Args:
        protocol: One of :attr:`protocols`: ``'exact'``, or the name of a paper whose figures are to be compared with.
        prefix: What the names of the scores begin with; None puts nothing before those of ``'exact'``, and the
            protocol's name before those of another.

    Attributes:
        results: Question ids and results of the answers that were taken in.
        prefix: What the names of the scores begin with; None for nothing.
        dataset_meta: MMEngine writes here what a dataset says of itself; nothing here looks at it.
        protocols: The protocols that the metric knows; ``docs/evaluation.md`` says what each does.
        version: Raised whenever the same answers would get another score; a run's card has it.

    Raises:
        ValueError: If there is no such protocol.
    """

    protocols: ClassVar[tuple[str, ...]] = ('exact',)
    version: ClassVar[int] = 1

    def __init__(self, protocol: str = 'exact', prefix: str | None = None):
        if protocol not in self.protocols:
            known = ', '.join(map(repr, self.protocols))
            raise ValueError(f'the protocol of {type(self).__name__} is one of {known}, not {protocol!r}')
        self.protocol = protocol
        self.prefix = prefix or (None if protocol == 'exact' else protocol)
        self.results: list[tuple[str, Result]] = []
        self.dataset_meta: Mapping[str, Any] | None = None

    def process(self, data_batch: Any, data_samples: Sequence[Answer | Mapping[str, Any]]) -> None:
        """Take in answers.

        Args:
            data_batch: Not looked at.
            data_samples: Answers, or mappings of the same names (``dataclasses.asdict`` of an answer).

        Raises:
            ValueError: If an answer or its question lacks what the metric compares; the message names the question.
        """
        ids, results = [], []
        for sample in data_samples:
            question_id = look_up(sample, 'question', 'id')
            result = {
                'groups': dict(look_up(sample, 'question', 'groups')),
                'images': tuple(look_up(sample, 'question', 'images')),
                'malformed': bool(look_up(sample, 'parsed', 'malformed')),
            }
            try:
                result.update(self.result(sample))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f'question {question_id!r} cannot be scored: {error}') from error
            ids.append(question_id)
            results.append(result)
        self.complete(results)
        self.results.extend(zip(ids, results, strict=True))

    @abstractmethod
    def result(self, answer: Answer | Mapping[str, Any]) -> Result:
        """Return what counts of one answer: few plain values, or small arrays."""

    def complete(self, results: Sequence[Result]) -> None:  # noqa: B027 -- most metrics have nothing to complete
        """Change the results of some answers in place, once :meth:`result` has given them.

        Nothing unless overridden: for what is quicker to work out for many answers at once.
        """

    @abstractmethod
    def ratios(self, results: Sequence[Result]) -> Ratios:
        """Return what each question adds to the scores that are quotients of sums over the questions.

        Shares, means, precision, recall and F1 are such scores; from these arrays come the scores of all questions, of
        groups of them, and the intervals.
        """

    def scores(self, results: Sequence[Result]) -> dict[str, float]:
        """Sum up the results of all questions, or of a group of them.

        A metric adds here what is no quotient of sums, such as an average precision or a number of boxes.
        """
        return quotients(self.ratios(results))

    def resampled_scores(self, results: Sequence[Result], resamples: Resamples) -> dict[str, np.ndarray]:
        """Return the scores that get an interval, of each resample of the questions: by name an array (resamples,).

        A metric adds here what :meth:`scores` adds and can be had from sums over the questions.
        """
        return resampled_ratios(self.ratios(results), resamples)

    def of_answer(self, result: Result) -> dict[str, float]:
        """Return what is told of a single answer beside it, such as whether it is right; nothing unless overridden."""
        return {}

    def remarks(self, results: Mapping[str, Result]) -> dict[str, str]:
        """Return what is to be told below the table, by the score that it is about; nothing unless overridden.

        A score that could not be computed is left out of the scores, and the remark says why; so it is asked for when
        the scores have been.

        Args:
            results: The results by question id, so that questions can be named.
        """
        return {}

    def compute_metrics(self, results: Sequence[tuple[str, Result]]) -> dict[str, float]:
        """Sum up the results of all questions, and of each group if there are several of a kind.

        Args:
            results: Question ids and results; the second result of a question is dropped.

        Returns:
            Scores of all questions by name, ``questions`` and ``malformed`` (answers that are not of the form that the
            task asks for; they count in every score), and scores of groups as ``size=small/NAME``.

        Raises:
            ValueError: If there are no results.
        """
        if not results:
            raise ValueError(f'{type(self).__name__} has no answers to score')
        chosen = joined(results)
        malformed = sum(result['malformed'] for result in chosen)
        scores = {**self.scores(chosen), 'questions': len(chosen), 'malformed': malformed}
        for name, members in _groups(chosen).items():
            scores.update({f'{name}/{key}': value for key, value in self.scores(members).items()})
            scores[f'{name}/questions'] = len(members)
        return scores

    def intervals(
        self,
        results: Sequence[tuple[str, Result]],
        names: Sequence[str] | None = None,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> dict[str, tuple[float, float]]:
        """Return 95 % bootstrap intervals of scores.

        Pictures are drawn with all their questions, a question without a picture alone; see
        :class:`~geochat.evaluation.functional.Resamples`. For a group of questions, the group's are drawn.

        Args:
            results: As for :meth:`compute_metrics`.
            names: Which scores, named as :meth:`compute_metrics` does, those of groups included; None takes all of all
                questions.
            resamples: How many resamples.
            seed: Seed of their random numbers.

        Returns:
            Lower and upper end by score. Left out are scores of other metrics, those that are no shares or means, such
            as numbers of boxes, and those of one picture alone.
        """
        chosen = joined(results)
        found: dict[str, tuple[float, float]] = {}
        for group, members in {'': chosen, **_groups(chosen)}.items():
            prefix = f'{group}/' if group else ''
            wanted = None if names is None else {n.removeprefix(prefix) for n in names if n.startswith(prefix)}
            clusters = _clusters(members)
            if (wanted is None and group) or (wanted is not None and not wanted) or clusters.max(initial=0) == 0:
                continue
            for name, values in self.resampled_scores(members, Resamples(clusters, resamples, seed)).items():
                if wanted is None or name in wanted:
                    found[prefix + name] = percentile_interval(values)
        return found

    def evaluate(self, size: int) -> dict[str, float]:
        """Join the results of all ranks and sum them up.

        MMEngine's own way cuts every rank's results to the shortest one's and drops the last ones as padding, which
        fits one way of dealing out the questions only.

        Args:
            size: Number of questions of the benchmark.

        Returns:
            Scores, the same on every rank; see :meth:`compute_metrics`.

        Raises:
            ValueError: If the number of questions that have an answer is another.
        """
        from mmengine.dist import all_gather_object

        results = [result for part in all_gather_object(self.results) for result in part]
        self.results.clear()
        answered = len({question_id for question_id, _ in results})
        if answered != size:
            raise ValueError(f'{type(self).__name__} has answers to {answered} questions of {size}')
        scores = self.compute_metrics(results)
        return {f'{self.prefix}/{name}': value for name, value in scores.items()} if self.prefix else scores


def look_up(value: Any, *names: str) -> Any:
    """Follow attributes of data classes or keys of mappings.

    Raises:
        ValueError: If there is no such name; the message has the whole path.
    """
    for depth, name in enumerate(names):
        try:
            value = value[name] if isinstance(value, Mapping) else getattr(value, name)
        except (KeyError, AttributeError) as error:
            raise ValueError(f'an answer has no {".".join(names[: depth + 1])}') from error
    return value


def joined(results: Sequence[tuple[str, Result]]) -> list[Result]:
    """Return one result a question, sorted by id, so that it does not matter how the questions were dealt out."""
    first: dict[str, Result] = {}
    for question_id, result in results:
        first.setdefault(question_id, result)
    return [first[question_id] for question_id in sorted(first)]


def _clusters(results: Sequence[Result]) -> np.ndarray:
    """Number the pictures of questions: int64 array (N,); a question without one has a number of its own."""
    numbers: dict[Any, int] = {}
    keys = [result['images'] or place for place, result in enumerate(results)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _groups(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Return the results of each group by ``kind=name``, sorted; kinds of one group are left out."""
    members: dict[str, dict[str, list[Result]]] = {}
    for result in results:
        for kind, name in result['groups'].items():
            members.setdefault(kind, {}).setdefault(str(name), []).append(result)
    return {
        f'{kind}={name}': by_name[name]
        for kind, by_name in members.items()
        for name in sorted(by_name)
        if len(by_name) > 1
    }


def some_of(question_ids: Sequence[str], most: int = 3) -> str:
    """Name questions: all of few, some of many and how many there are."""
    named = ', '.join(map(repr, question_ids[:most]))
    return named if len(question_ids) <= most else f'{named} and {len(question_ids) - most} more'
