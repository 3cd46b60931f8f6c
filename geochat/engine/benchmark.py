"""Benchmarks without a model: questions put into words, answers read, scored and compared."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from geochat.engine.config import OPTIONAL_BENCHMARK_KEYS, ConfigError, build_part
from geochat.engine.results import BenchmarkResult, Problem, Scores, count_malformed, full_name, shown_scores
from geochat.registry import BOX_CODECS, DATASETS, METRICS, TASK_PROMPT_TEMPLATES, known_names
from geochat.structures import Answer, Question

if TYPE_CHECKING:
    from mmengine.evaluator import BaseMetric

    from geochat.box_codecs import BoxCodec
    from geochat.datasets.benchmarks import BenchmarkReader
    from geochat.prompts import TaskPrompt

DEFAULT_MAX_NEW_TOKENS = 256
"""What the original's evaluation scripts allow for an answer."""

SCORING = ('answer', 'likelihood')
"""Where an answer comes from: the model's own words, or the likeliest of the options that the question gives."""

NO_PICTURE = (100, 100)
"""Width and height that stand for those of a picture that is not known; boxes in per cent are then in pixels."""


class Benchmark:
    """A reader, a task prompt template and metrics.

    Args:
        name: What the config calls it.
        reader: Its questions.
        task: Puts them into words and reads the answers. Where questions of several types are asked in words of their
            own, a mapping from each question's group ``type`` to the template of these questions.
        codec: The model's box language.
        metrics: What answers are scored by.
        max_new_tokens: Most tokens of an answer.
        shown: Names of the scores that stand in the table; None shows all but those of groups of questions.
        headline: Names of the scores that get an interval; None: those that are shown.
        version: Changed whenever the same answers would get other figures.
        source: Where the files come from, in a line.
        published: Figures published for GeoChat-7B, by the name of the score, in its unit.
        scoring: One of :data:`SCORING`.

    Attributes:
        protocols: Names of the papers whose ways to score are used beside the exact one; they stand before the names of
            the scores.

    Raises:
        ConfigError: If ``scoring`` is none of these, or an answer may not have a token.
    """

    def __init__(
        self,
        name: str,
        reader: 'BenchmarkReader | Sequence[Question]',
        task: 'TaskPrompt | Mapping[str, TaskPrompt]',
        codec: 'BoxCodec',
        metrics: Sequence['BaseMetric'],
        max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
        shown: Sequence[str] | None = None,
        headline: Sequence[str] | None = None,
        version: int = 1,
        source: str = '',
        published: Mapping[str, float] | None = None,
        scoring: str = 'answer',
    ):
        if scoring not in SCORING:
            raise ConfigError(f'benchmarks.{name}.scoring is one of {", ".join(SCORING)}, not {scoring!r}')
        if not isinstance(max_new_tokens, int) or max_new_tokens < 1:
            raise ConfigError(f'benchmarks.{name}.max_new_tokens is a whole number from 1, not {max_new_tokens!r}')
        self.name = name
        self.reader = reader
        self.task = task
        self.codec = codec
        self.metrics = metrics
        self.max_new_tokens = max_new_tokens
        self.shown = shown
        self.headline = headline
        self.version = version
        self.source = source
        self.published = dict(published or {})
        self.scoring = scoring
        protocols = [metric.prefix for metric in metrics if getattr(metric, 'protocol', 'exact') != 'exact']
        self.protocols = tuple(dict.fromkeys(protocols))
        self._image_sizes: dict[str, tuple[int, int]] = {}

    def prompt(self, question: Question, image_size: tuple[int, int] | None) -> str:
        """Put a question into the user's words, without the image placeholders."""
        return self._task_of(question).render(question.query, self.codec, image_size)

    def answer(
        self,
        question: Question,
        prompt: str,
        text: str,
        image_size: tuple[int, int] | None,
        tokens: int | None = None,
        log_prob: float | None = None,
        box_scores: tuple[float, ...] | None = None,
    ) -> Answer:
        """Read a model's words as an answer; :class:`~geochat.structures.Answer` has the arguments.

        Confidences of boxes that were read otherwise, by another box codec, are dropped.
        """
        parsed = self._task_of(question).parse(text, self.codec, image_size)
        if box_scores is not None and (parsed.boxes is None or len(parsed.boxes) != len(box_scores)):
            box_scores = None
        return Answer(question, prompt, text, parsed, image_size, tokens, log_prob, box_scores)

    def no_answer(self, question: Question, error: str) -> Answer:
        """Return what stands for the answer to a question that has none: an empty one, which is wrong."""
        return replace(self.answer(question, '', '', NO_PICTURE), image_size=None, error=error)

    def _task_of(self, question: Question) -> 'TaskPrompt':
        if not isinstance(self.task, Mapping):
            return self.task
        kind = question.groups.get('type')
        if kind not in self.task:
            known = ', '.join(map(repr, self.task))
            raise ConfigError(
                f'benchmarks.{self.name}.task has {known}, but none for the type {kind!r} of question {question.id!r}'
            )
        return self.task[kind]

    def score(self, answers: Sequence[Answer]) -> Scores:
        """Score all answers of the benchmark."""
        return {name: value for _, _, values in self._scored(answers) for name, value in values.items()}

    def assess(
        self, answers: Sequence[Answer], comparisons: Sequence[str] = (), problems: Sequence[Problem] = ()
    ) -> BenchmarkResult:
        """Score all answers of the benchmark, with intervals, and what they are compared with.

        Args:
            answers: The answers.
            comparisons: Those of :data:`~geochat.engine.results.COMPARISONS` that take no model are scored.
            problems: What was wrong with questions and answers; the result tells of it.
        """
        scores: Scores = {}
        rated = []
        for metric, results, values in self._scored(answers):
            scores.update(values)
            if hasattr(metric, 'intervals'):  # MMEngine's own metrics have none
                rated.append((metric, list(results)))
        intervals, remarks = {}, {}
        for metric, results in rated:
            found = metric.intervals(results, self._headline_of(metric, scores))
            intervals.update({full_name(metric, name): interval for name, interval in found.items()})
            remarks.update({full_name(metric, name): text for name, text in metric.remarks(dict(results)).items()})
        return BenchmarkResult(
            benchmark=self,
            scores={'score': scores, **compare(self, answers, comparisons)},
            intervals=intervals,
            malformed=count_malformed(answers),
            problems=problems,
            remarks=remarks,
            rated=rated,
        )

    def _headline_of(self, metric: Any, scores: Scores) -> list[str]:
        """Return the scores of a metric that get an interval, without what stands before the metric's names."""
        names = [*shown_scores(self, scores), *self.published] if self.headline is None else self.headline
        own = f'{metric.prefix}/' if metric.prefix else ''
        others = tuple(f'{protocol}/' for protocol in self.protocols if f'{protocol}/' != own)
        return [name.removeprefix(own) for name in names if name.startswith(own) and not name.startswith(others)]

    def _scored(self, answers: Sequence[Answer]) -> Iterator[tuple[Any, list, Scores]]:
        """Yield each metric with its results and scores."""
        for metric in self.metrics:
            metric.results.clear()
            metric.process(None, answers)
            # MMEngine's evaluate() would gather over the ranks once more; these answers are all there are.
            values = metric.compute_metrics(metric.results)
            yield metric, metric.results, {full_name(metric, name): _number(value) for name, value in values.items()}

    def place(self, question: Question) -> str:
        """Return where a question stands, for messages: its file and line, if the reader knows them."""
        return getattr(self.reader, 'places', {}).get(question.id, f'question {question.id!r}')

    def image_size(self, question: Question) -> tuple[int, int] | None:
        """Return width and height in pixels of a question's (first) picture, which is looked at once for all questions.

        Returns:
            None for a question without a picture.

        Raises:
            OSError: If the picture cannot be read.
        """
        from geochat.datasets.transforms import image_size

        if not question.images:
            return None
        name = question.images[0]
        if name not in self._image_sizes:
            self._image_sizes[name] = image_size(self.reader.image_source, name)
        return self._image_sizes[name]

    def choices(self, question: Question) -> tuple[str, ...]:
        """Return the answers that a question gives to choose from: its classes, or the letters of its options.

        Raises:
            ConfigError: If it gives none.
        """
        if question.query.get('classes'):
            return tuple(question.query['classes'])
        if question.query.get('options'):
            return tuple(chr(ord('A') + place) for place in range(len(question.query['options'])))
        raise ConfigError(
            f"benchmarks.{self.name}.scoring='likelihood' needs questions with classes or options to choose from; "
            f'question {question.id!r} has none'
        )

    def reads_boxes(self, question: Question) -> bool:
        """Tell whether answers to a question are read for boxes."""
        return self._task_of(question).parse('', self.codec, NO_PICTURE).boxes is not None

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the questions were read from; none if they came with the answers."""
        return getattr(self.reader, 'files', ())

    def same_answers(self, answers: Sequence[Answer]) -> list[Answer]:
        """Return the answers of one who does not look: always the most frequent true answer.

        Where the true answers are boxes, it is the median of their centres, sides and angles.
        """
        texts = self._median_boxes(answers) if 'boxes' in answers[0].question.truth else _most_frequent(answers)
        return [
            self.answer(answer.question, answer.prompt, text, answer.image_size or NO_PICTURE)
            for answer, text in zip(answers, texts, strict=True)
        ]

    def _median_boxes(self, answers: Sequence[Answer]) -> Iterator[str]:
        sizes = [answer.image_size or NO_PICTURE for answer in answers]
        scales = [np.array([*size, *size, 1]) for size in sizes]
        boxes = [answer.question.truth['boxes'] / scale for answer, scale in zip(answers, scales, strict=True)]
        median = np.median(np.concatenate(boxes), axis=0, keepdims=True)
        for size, scale in zip(sizes, scales, strict=True):
            yield self.codec.encode(median * scale, size)


def _number(value: Any) -> int | float:
    return value if isinstance(value, int) else float(value)


def _most_frequent(answers: Sequence[Answer]) -> list[str]:
    truths = (answer.question.truth['text'] for answer in answers)
    counts = Counter(truth if isinstance(truth, str) else truth[0] for truth in truths)  # several may be right
    return [counts.most_common(1)[0][0]] * len(answers)


def without_angles(answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers with the angle of every predicted box set to 0."""
    upright = []
    for answer in answers:
        boxes = answer.parsed.boxes.copy()
        boxes[:, 4] = 0
        upright.append(replace(answer, parsed=replace(answer.parsed, boxes=boxes)))
    return upright


def compare(benchmark: Benchmark, answers: Sequence[Answer], comparisons: Sequence[str]) -> dict[str, Scores]:
    """Score what answers are compared with, as far as that takes no model; see
    :data:`~geochat.engine.results.COMPARISONS`.
    """
    scores = {}
    if 'majority' in comparisons:
        scores['majority'] = benchmark.score(benchmark.same_answers(answers))
    if 'angle_0' in comparisons and all(answer.parsed.boxes is not None for answer in answers):
        scores['angle_0'] = benchmark.score(without_angles(answers))
    return scores


def build_benchmarks(
    benchmarks: Mapping[str, Mapping[str, Any]],
    task_prompts: Mapping[str, Mapping[str, Any]],
    box_codec: Mapping[str, Any],
    names: Sequence[str] | None = None,
) -> list[Benchmark]:
    """Build benchmarks from a config.

    Args:
        benchmarks: Settings by name: ``reader``, ``task`` (the name of a task prompt template, or such names by the
            questions' type), ``metrics`` and what else :class:`Benchmark` takes of
            :data:`~geochat.engine.config.OPTIONAL_BENCHMARK_KEYS`.
        task_prompts: Settings of the task prompt templates by task.
        box_codec: Settings of the box codec.
        names: Which benchmarks; None takes all.

    Raises:
        ConfigError: If there is no benchmark of a name.
        FileNotFoundError: If a file of a benchmark is not there.
    """
    check_names(benchmarks, names or ())
    codec = build_part(BOX_CODECS, box_codec, 'box_codec')
    return [build_benchmark(name, benchmarks[name], task_prompts, codec) for name in names or benchmarks]


def build_available(
    benchmarks: Mapping[str, Mapping[str, Any]],
    task_prompts: Mapping[str, Mapping[str, Any]],
    box_codec: Mapping[str, Any],
) -> tuple[list[Benchmark], dict[str, str]]:
    """Build the benchmarks of a config whose files are there; see :func:`build_benchmarks`.

    Returns:
        The benchmarks, and by name which file each of the others lacks.

    Raises:
        ConfigError: If the files of none are there.
    """
    codec = build_part(BOX_CODECS, box_codec, 'box_codec')
    built, missing = [], {}
    for name, settings in benchmarks.items():
        try:
            built.append(build_benchmark(name, settings, task_prompts, codec))
        except FileNotFoundError as error:
            missing[name] = str(error)
    if not built:
        reasons = '; '.join(f'{name}: {reason}' for name, reason in missing.items())
        raise ConfigError(f'the files of none of the benchmarks are there: {reasons}')
    return built, missing


def build_benchmark(
    name: str,
    settings: Mapping[str, Any],
    task_prompts: Mapping[str, Mapping[str, Any]],
    codec: 'BoxCodec',
    questions: Sequence[Question] | None = None,
) -> Benchmark:
    """Build one benchmark.

    Args:
        name: Its name.
        settings: Its settings.
        task_prompts: Settings of the task prompt templates by task.
        codec: The box codec.
        questions: What takes its reader's place; None builds the reader.

    Raises:
        FileNotFoundError: If a file or folder of it is not there; the message also says where to get it.
    """
    reader = _build_reader(name, settings) if questions is None else questions
    task = _build_task(settings['task'], task_prompts)
    metrics = [build_part(METRICS, metric, f'benchmarks.{name}.metrics') for metric in settings['metrics']]
    further = {key: settings[key] for key in OPTIONAL_BENCHMARK_KEYS if key in settings}
    return Benchmark(name, reader, task, codec, metrics, **further)


def _build_reader(name: str, settings: Mapping[str, Any]) -> 'BenchmarkReader':
    try:
        return build_part(DATASETS, settings['reader'], f'benchmarks.{name}.reader')
    except (FileNotFoundError, NotADirectoryError) as error:
        source = f'; where to get it: {settings["source"]}' if settings.get('source') else ''
        raise FileNotFoundError(f'{error}{source}') from error


def check_names(benchmarks: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse names of benchmarks that the config does not have.

    Raises:
        ConfigError: The message names the nearest ones.
    """
    for name in names:
        if name not in benchmarks:
            raise ConfigError(f'there is no benchmark {name!r}; {known_names(name, benchmarks)}')


def _build_task(
    task: str | Mapping[str, str], task_prompts: Mapping[str, Mapping[str, Any]]
) -> 'TaskPrompt | dict[str, TaskPrompt]':
    if isinstance(task, Mapping):
        return {kind: _build_task(name, task_prompts) for kind, name in task.items()}
    return build_part(TASK_PROMPT_TEMPLATES, task_prompts[task], f'task_prompts.{task}')
