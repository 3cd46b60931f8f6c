"""Benchmarks without a model: questions put into words, answers read and scored, results written."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import geochat
from geochat.engine.config import OPTIONAL_BENCHMARK_KEYS, ConfigError, load_config
from geochat.registry import BOX_CODECS, DATASETS, METRICS, TASK_PROMPT_TEMPLATES, near_misses
from geochat.structures import Answer, Question

if TYPE_CHECKING:
    from mmengine.evaluator import BaseMetric

    from geochat.box_codecs import BoxCodec
    from geochat.datasets.benchmarks import BenchmarkReader
    from geochat.prompts import TaskPrompt

COMPARISONS = {
    'majority': 'the same answer to every question: the most frequent true one',
    'grey': 'the same model, shown grey pictures of the same size',
    'angle_0': "the model's answers with the angle of every box set to 0",
}
"""What a score can be compared with."""

DEFAULT_MAX_NEW_TOKENS = 256
"""What the original's evaluation scripts allow for an answer."""

Scores = dict[str, float]


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
        published: Figures that GeoChat's authors published, by the name of the score, in its unit.
    """

    def __init__(
        self,
        name: str,
        reader: 'BenchmarkReader',
        task: 'TaskPrompt | Mapping[str, TaskPrompt]',
        codec: 'BoxCodec',
        metrics: Sequence['BaseMetric'],
        max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
        shown: Sequence[str] | None = None,
        headline: Sequence[str] | None = None,
        version: int = 1,
        source: str = '',
        published: Mapping[str, float] | None = None,
    ):
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

    def prompt(self, question: Question, image_size: tuple[int, int] | None) -> str:
        """Put a question into the user's words, without the image placeholders."""
        return self._task_of(question).render(question.query, self.codec, image_size)

    def answer(self, question: Question, prompt: str, text: str, image_size: tuple[int, int] | None) -> Answer:
        """Read a model's words as an answer."""
        parsed = self._task_of(question).parse(text, self.codec, image_size)
        return Answer(question, prompt, text, parsed, image_size)

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
        scores = {}
        for metric in self.metrics:
            metric.results.clear()
            metric.process(None, answers)
            # MMEngine's evaluate() would gather over the ranks once more; these answers are all there are.
            values = metric.compute_metrics(metric.results)
            prefix = f'{metric.prefix}/' if metric.prefix else ''
            scores.update({prefix + name: _plain_number(value) for name, value in values.items()})
        return scores

    def same_answers(self, answers: Sequence[Answer]) -> list[Answer]:
        """Return the answers of one who does not look: always the most frequent true answer.

        Where the true answers are boxes, it is the median of their centres, sides and angles.
        """
        texts = self._median_boxes(answers) if 'boxes' in answers[0].question.truth else _most_frequent(answers)
        return [
            self.answer(answer.question, answer.prompt, text, answer.image_size)
            for answer, text in zip(answers, texts, strict=True)
        ]

    def _median_boxes(self, answers: Sequence[Answer]) -> Iterator[str]:
        scales = [np.array([*answer.image_size, *answer.image_size, 1]) for answer in answers]
        boxes = [answer.question.truth['boxes'] / scale for answer, scale in zip(answers, scales, strict=True)]
        median = np.median(np.concatenate(boxes), axis=0, keepdims=True)
        for answer, scale in zip(answers, scales, strict=True):
            yield self.codec.encode(median * scale, answer.image_size)


def _plain_number(value: Any) -> int | float:
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
    """Score what answers are compared with, as far as that takes no model; see :data:`COMPARISONS`."""
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
    """
    for name in names or ():
        if name not in benchmarks:
            known = near_misses(name, benchmarks) or sorted(benchmarks)
            raise ConfigError(f'there is no benchmark {name!r}; there are {", ".join(known)}')
    codec = BOX_CODECS.build(dict(box_codec))
    built = []
    for name in names or benchmarks:
        settings = benchmarks[name]
        reader = DATASETS.build(dict(settings['reader']))
        task = _build_task(settings['task'], task_prompts)
        metrics = [METRICS.build(dict(metric)) for metric in settings['metrics']]
        further = {key: settings[key] for key in OPTIONAL_BENCHMARK_KEYS if key in settings}
        built.append(Benchmark(name, reader, task, codec, metrics, **further))
    return built


def _build_task(
    task: str | Mapping[str, str], task_prompts: Mapping[str, Mapping[str, Any]]
) -> 'TaskPrompt | dict[str, TaskPrompt]':
    if isinstance(task, Mapping):
        return {kind: _build_task(name, task_prompts) for kind, name in task.items()}
    return TASK_PROMPT_TEMPLATES.build(dict(task_prompts[task]))


def write_predictions(answers: Mapping[str, Sequence[Answer]], path: Path) -> None:
    """Write the answers to benchmarks as JSON lines: what was asked, what was said, and what was read from it."""
    lines = [json.dumps(_row(name, answer), ensure_ascii=False) for name, rows in answers.items() for answer in rows]
    write_text(path, ''.join(f'{line}\n' for line in lines))


def _row(name: str, answer: Answer) -> dict[str, Any]:
    parsed, truth = answer.parsed, answer.question.truth
    row = {
        'benchmark': name,
        'id': answer.question.id,
        'images': list(answer.question.images),
        'image_size': answer.image_size,
        'prompt': answer.prompt,
        'answer': answer.text,
        'text': parsed.text,
        'malformed': parsed.malformed,
        'truth': {key: _plain_boxes(value) if key == 'boxes' else value for key, value in truth.items()},
    }
    return row if parsed.boxes is None else {**row, 'boxes': _plain_boxes(parsed.boxes)}


def _plain_boxes(boxes: np.ndarray) -> list[list[float]]:
    """Pixels and radians, to four digits after the point: far finer than any box language."""
    return np.round(boxes, 4).tolist()


def read_predictions(path: str | Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Read a file that :func:`write_predictions` wrote.

    Returns:
        Rows by benchmark and question id.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If a line is not of the form; the message names file and line.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f'the file of predictions {str(path)!r} does not exist')
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for number, line in enumerate(file.read_text(encoding='utf-8').splitlines(), start=1):
        try:
            row = json.loads(line)
            kept = {key: row[key] for key in ('prompt', 'answer', 'image_size')}
            rows.setdefault(row['benchmark'], {})[row['id']] = kept
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{path}, line {number} is not a prediction: {type(error).__name__}: {error}') from error
    return rows


def score_predictions(
    config: str | Path,
    predictions: str | Path,
    cfg_options: Mapping[str, Any] | Sequence[str] = (),
    names: Sequence[str] | None = None,
    work_dir: str | Path | None = None,
) -> tuple[list[Benchmark], dict[str, dict[str, Scores]]]:
    """Score the answers of an earlier run once more, without its model: with other metrics, or another box codec.

    Args:
        config: The config file with the benchmarks.
        predictions: A ``predictions.jsonl``.
        cfg_options: Changes, as :func:`~geochat.engine.load_config` takes them.
        names: Which benchmarks; None takes those that the file has answers to.
        work_dir: Where ``metrics.json`` goes; None writes nothing.

    Returns:
        The benchmarks, and their scores as :func:`score_table` takes them.

    Raises:
        ConfigError: If the config has no such benchmark.
        ValueError: If questions of a benchmark have no answer in the file.
    """
    cfg = load_config(config, cfg_options)
    rows = read_predictions(predictions)
    built = build_benchmarks(cfg.get('benchmarks') or {}, cfg.task_prompts, cfg.box_codec, names or list(rows))
    comparisons = (cfg.get('test_cfg') or {}).get('comparisons', ())
    results = {}
    for benchmark in built:
        answers = _answers_again(benchmark, rows.get(benchmark.name, {}), predictions)
        results[benchmark.name] = {'score': benchmark.score(answers), **compare(benchmark, answers, comparisons)}
    if work_dir is not None:
        write_metrics(results, built, Path(work_dir) / 'metrics.json', source=str(predictions))
    return built, results


def _answers_again(benchmark: Benchmark, rows: Mapping[str, Mapping[str, Any]], path: str | Path) -> list[Answer]:
    missing = [question.id for question in benchmark.reader if question.id not in rows]
    if missing:
        count, name = len(missing), benchmark.name
        raise ValueError(f'{path} has no answer to {count} questions of {name}, such as {missing[0]!r}')
    answers = []
    for question in benchmark.reader:
        row = rows[question.id]
        size = None if row['image_size'] is None else tuple(row['image_size'])
        answers.append(benchmark.answer(question, row['prompt'], row['answer'], size))
    return answers


def write_metrics(
    results: Mapping[str, Mapping[str, Scores]], benchmarks: Sequence[Benchmark], path: Path, source: str
) -> None:
    """Write scores with what is needed to get them again.

    Args:
        results: By benchmark: ``score``, and the scores of what it is compared with.
        benchmarks: The benchmarks.
        path: The file.
        source: The weights or the predictions that were scored.
    """
    data = {}
    for benchmark in benchmarks:
        file = Path(benchmark.reader.data_file)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        data[benchmark.name] = {'file': str(file), 'sha256': digest, 'questions': len(benchmark.reader)}
    content = {'geochat': geochat.__version__, 'source': source, 'data': data, 'results': results}
    write_text(path, json.dumps(content, indent=2))


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f'.{path.name}.unfinished')
    unfinished.write_text(text, encoding='utf-8')
    unfinished.replace(path)


COUNTS = ('questions', 'malformed')
"""Scores that count answers; they head a benchmark's rows in the table."""


def score_table(benchmarks: Sequence[Benchmark], results: Mapping[str, Mapping[str, Scores]]) -> str:
    """Lay out the scores of benchmarks, with what they are compared with, as one table.

    Args:
        benchmarks: The benchmarks, in the order of the table.
        results: By benchmark: ``score``, and the scores of what it is compared with.
    """
    from terminaltables import AsciiTable

    comparisons = [name for name in COMPARISONS if any(name in scores for scores in results.values())]
    rows = [['benchmark', *COUNTS, 'metric', 'score', *comparisons]]
    for benchmark in benchmarks:
        scores = results[benchmark.name]
        head = [benchmark.name, *(_number(scores['score'].get(name)) for name in COUNTS)]
        for metric in _shown(benchmark, scores['score']):
            columns = ('score', *comparisons)
            rows.append([*head, metric, *(_number(scores.get(column, {}).get(metric)) for column in columns)])
            head = [''] * len(head)
    table = AsciiTable(rows)
    table.justify_columns = {column: 'right' for column in range(1, len(rows[0])) if column != len(COUNTS) + 1}
    return '\n'.join([table.table, *(f'{name}: {COMPARISONS[name]}' for name in comparisons)])


def _shown(benchmark: Benchmark, scores: Scores) -> list[str]:
    """Names of the scores in the table; those of groups, such as ``size=small/acc@0.5``, are left to the file."""
    if benchmark.shown is None:
        return [name for name in scores if name not in COUNTS and '=' not in name]
    for name in benchmark.shown:
        if name not in scores:
            known = ', '.join(near_misses(name, scores) or sorted(scores))
            raise ConfigError(f'benchmarks.{benchmark.name}.shown: there is no score {name!r}, but {known}')
    return list(benchmark.shown)


def _number(value: float | None) -> str:
    if value is None:
        return ''
    return str(value) if isinstance(value, int) else f'{value:.3f}'
