"""Scoring a file of answers, of a run of ours or of anyone's, without the model that gave them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from geochat.engine.benchmark import NO_PICTURE, Benchmark, build_benchmark, check_names
from geochat.engine.config import (
    PACKAGED_CONFIGS,
    ConfigError,
    as_config,
    build_part,
    change_config,
    load_config,
)
from geochat.engine.results import BenchmarkResult, Problem, write_metrics
from geochat.registry import BOX_CODECS
from geochat.structures import Answer, Question

DEFAULT_CONFIG = PACKAGED_CONFIGS / 'geochat_7b.py'
"""The config whose benchmarks are meant where none is named, and no run card lies beside the answers."""

FIELDS = {
    'id': ('id', 'question_id'),
    'answer': ('answer',),
    'truth': ('truth', 'ground_truth', 'groundtruth', 'annotation', 'gt_bbox'),
    'prompt': ('prompt', 'question'),
    'image_size': ('image_size',),
}
"""What the fields of a line may be called; the first that the line has is taken."""

GROUP_FIELDS = {
    'size': ('size_group',),
    'type': ('task_type', 'type'),
    'category': ('vqa_type', 'category'),
    'dataset': ('dataset',),
}
"""What scores are broken down by where a line brings its own ground truth."""

KEPT_GROUPS = {'categories': 'category', 'types': 'type'}
"""Settings of readers that name the groups which a benchmark keeps, and the group that each speaks of."""


@dataclass(frozen=True)
class Line:
    """A line of a file of answers.

    Attributes:
        place: File and line, for messages.
        row: What it holds.
        fields: What its fields are called.
    """

    place: str
    row: Mapping[str, Any]
    fields: Mapping[str, Sequence[str]]

    def get(self, name: str) -> Any:
        """Return the value of a field; None if the line does not have it."""
        return next((self.row[key] for key in self.fields[name] if self.row.get(key) is not None), None)

    def groups(self) -> dict[str, str]:
        """Return what scores are broken down by."""
        if isinstance(self.row.get('groups'), Mapping):
            return {key: str(value) for key, value in self.row['groups'].items()}
        found = {
            name: next((self.row[key] for key in keys if self.row.get(key) is not None), None)
            for name, keys in GROUP_FIELDS.items()
        }
        return {name: str(value) for name, value in found.items() if value is not None}

    def image_size(self) -> tuple[int, int] | None:
        """Return the picture's width and height in pixels, if the line has them.

        Raises:
            PredictionsError: If they are not two positive numbers.
        """
        size = self.get('image_size')
        if size is None:
            return None
        if not (isinstance(size, list) and len(size) == 2 and all(isinstance(n, int | float) and n > 0 for n in size)):
            raise PredictionsError(f'{self.place}: an image_size is [width, height] in pixels, not {size!r}')
        return tuple(size)

    def problem(self, code: str, message: str) -> Problem:
        """Return what is wrong with the line."""
        return Problem(code, self.place, message)


@dataclass
class _Gathered:
    """Answers of one benchmark, and what was wrong with lines and questions."""

    benchmark: Benchmark
    answers: list[Answer] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def score_predictions(
    predictions: str | Path,
    config: str | Path | None = None,
    cfg_options: Mapping[str, Any] | Sequence[str] = (),
    names: Sequence[str] | None = None,
    fields: Mapping[str, str] | None = None,
    work_dir: str | Path | None = None,
) -> list[BenchmarkResult]:
    """Score the answers of a file, of this program or of another: with other metrics, or another box codec.

    A line is joined with the benchmark's question of its id. Where the benchmark's files are not there, or the lines
    have no ids, the ground truth and the groups are the lines' own; boxes are then on a grid of 100 x 100 unless the
    line has the picture's size.

    Args:
        predictions: JSON lines, or a JSON list, with :data:`FIELDS`. A line may name its ``benchmark``.
        config: The config file with the benchmarks; None takes the run's own, from the card beside the answers, or else
            :data:`DEFAULT_CONFIG`.
        cfg_options: Changes, as :func:`~geochat.engine.load_config` takes them.
        names: Which benchmarks; None takes those that the lines name. Lines that name none belong to a single one.
        fields: What fields are called in this file where it is none of :data:`FIELDS`.
        work_dir: Where ``predictions.jsonl``, ``metrics.json`` and ``run_card.json`` go; None writes nothing.

    Returns:
        What the benchmarks' answers reach, and what was wrong with the lines.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: If the config has no such benchmark, or a line does not tell its benchmark.
        PredictionsError: If there is nothing to score.
    """
    if work_dir is not None and Path(work_dir).resolve() == Path(predictions).resolve().parent:
        raise ConfigError(f'the work directory {work_dir} has the answers that are to be scored: choose another one')
    cfg = _own_config(Path(predictions), cfg_options) if config is None else load_config(config, cfg_options)
    lines, problems = read_lines(predictions, fields or {})
    by_name = _by_benchmark(lines, names)
    check_names(cfg.get('benchmarks') or {}, list(by_name))
    comparisons = (cfg.get('test_cfg') or {}).get('comparisons', ())
    results, gathered = [], []
    for name, own_lines in by_name.items():
        part = _gather(name, cfg, own_lines, str(predictions))
        results.append(_assess(part, comparisons, problems))
        gathered.append(part)
    if work_dir is not None:
        _write(results, gathered, cfg, Path(predictions), Path(work_dir))
    return results


def _own_config(predictions: Path, cfg_options: Mapping[str, Any] | Sequence[str]) -> Config:
    from geochat.engine.run_card import read_card

    own = (read_card(predictions.parent) or {}).get('config')
    if isinstance(own, Mapping) and own.get('benchmarks'):
        return change_config(as_config(own, None), cfg_options)
    return load_config(DEFAULT_CONFIG, cfg_options)


def _assess(part: _Gathered, comparisons: Sequence[str], problems: Sequence[Problem]) -> BenchmarkResult:
    try:
        return part.benchmark.assess(part.answers, comparisons, [*problems, *part.problems])
    except ConfigError:
        raise
    except ValueError as error:  # a ground truth of another kind than the metric compares
        raise PredictionsError(f'{part.benchmark.name}: {error}') from error


class PredictionsError(ConfigError):
    """A file of answers cannot be scored; the message says why."""


def read_lines(path: str | Path, fields: Mapping[str, str]) -> tuple[list[Line], list[Problem]]:
    """Read a file of answers.

    Args:
        path: JSON lines, or a JSON list.
        fields: What fields are called, beside :data:`FIELDS`.

    Returns:
        Its lines, and what could not be read.

    Raises:
        FileNotFoundError: If it is not there.
        ConfigError: If ``fields`` names a field that there is not.
        PredictionsError: If nothing can be read.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f'the file of predictions {str(path)!r} does not exist')
    for name in fields:
        if name not in FIELDS:
            raise ConfigError(f'there is no field {name!r}; there are {", ".join(FIELDS)}')
    called = {name: (fields[name],) if name in fields else keys for name, keys in FIELDS.items()}
    text = file.read_text(encoding='utf-8-sig', errors='replace')
    lines, problems = [], []
    for place, value, error in _json_list(text) if text.lstrip()[:1] == '[' else _json_lines(text):
        if isinstance(value, Mapping):
            lines.append(Line(f'{file.name}, {place}', value, called))
        else:
            what = error or f'an object is needed, not {type(value).__name__}'
            problems.append(Problem('unreadable_line', f'{file.name}, {place}', what))
    if not lines:
        raise PredictionsError(f'{path} has no answers{": " + str(problems[0]) if problems else ""}')
    return lines, problems


def _json_lines(text: str) -> list[tuple[str, Any, str | None]]:
    found = []
    for number, line in enumerate(text.split('\n'), 1):
        if line.strip():
            try:
                found.append((f'line {number}', json.loads(line), None))
            except ValueError as error:
                found.append((f'line {number}', None, f'not JSON: {error}'))
    return found


def _json_list(text: str) -> list[tuple[str, Any, str | None]]:
    try:
        return [(f'record {number}', value, None) for number, value in enumerate(json.loads(text), 1)]
    except ValueError as error:
        return [('the whole of it', None, f'not JSON: {error}')]


def _by_benchmark(lines: Sequence[Line], names: Sequence[str] | None) -> dict[str, list[Line]]:
    by_name: dict[str, list[Line]] = {name: [] for name in names or ()}
    for line in lines:
        name = line.row.get('benchmark')
        if name is None:
            if names is None or len(names) != 1:
                raise ConfigError(f'{line.place} does not say which benchmark it answers: name one with --benchmark')
            name = names[0]
        if names is None or name in by_name:
            by_name.setdefault(name, []).append(line)
    for name, own_lines in by_name.items():
        if not own_lines:
            raise PredictionsError(f'the file has no answers to {name}')
    return by_name


def _gather(name: str, cfg: Mapping[str, Any], lines: Sequence[Line], source: str) -> _Gathered:
    """Find the questions that lines answer: in the benchmark's files, or in the lines themselves."""
    settings, codec = cfg['benchmarks'][name], build_part(BOX_CODECS, cfg['box_codec'], 'box_codec')
    lacking = None
    if any(line.get('id') is not None for line in lines):
        try:
            benchmark = build_benchmark(name, _without_pictures(settings), cfg['task_prompts'], codec)
            return _join(benchmark, lines)
        except FileNotFoundError as error:
            lacking = str(error)
    if all(line.get('truth') is None for line in lines):
        need = lacking or 'no ids to find the questions by'
        raise PredictionsError(f'{source} has no ground truth ({", ".join(FIELDS["truth"])}) for {name}, and {need}')
    benchmark = build_benchmark(name, settings, cfg['task_prompts'], codec, questions=[])
    return _take_own_truth(benchmark, settings, lines)


def _without_pictures(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a benchmark's settings for a machine that does not have its pictures."""
    source = settings['reader']['image_source']
    root = source.get('root')
    if root is None or Path(root).is_dir():
        return dict(settings)
    absent = {'type': 'AbsentImages', 'root': root}
    return {**settings, 'reader': {**settings['reader'], 'image_source': absent}}


def _join(benchmark: Benchmark, lines: Sequence[Line]) -> _Gathered:
    """Join lines with a benchmark's questions by their ids."""
    part = _Gathered(benchmark)
    chosen = _lines_by_id(part, {question.id for question in benchmark.reader}, lines)
    for question in benchmark.reader:
        if question.id not in chosen:
            part.problems.append(Problem('unanswered', benchmark.place(question), f'question {question.id!r}'))
            part.answers.append(benchmark.no_answer(question, 'no answer'))
        else:
            part.answers.append(_read(part, question, chosen[question.id]))
    return part


def _lines_by_id(part: _Gathered, known: set[str], lines: Sequence[Line]) -> dict[str, Line]:
    chosen: dict[str, Line] = {}
    for line in lines:
        key = line.get('id')
        if key is None:
            part.problems.append(line.problem('no_id', _lacks(line, 'id')))
            continue
        key, count = str(key), 1
        name = key
        while name in chosen and f'{key}#{count + 1}' in known:  # a benchmark may have an id more than once
            count += 1
            name = f'{key}#{count}'
        if name in chosen:
            part.problems.append(line.problem('duplicate_id', f'{key!r}, as {chosen[name].place}'))
        elif name not in known:
            part.problems.append(line.problem('unknown_id', repr(key)))
        else:
            chosen[name] = line
    return chosen


def _lacks(line: Line, name: str) -> str:
    there = ', '.join(repr(key) for key, value in line.row.items() if value is not None)
    return f'there is no {" or ".join(map(repr, line.fields[name]))}, only {there}'


def _read(part: _Gathered, question: Question, line: Line) -> Answer:
    """Read the answer of a line to a question."""
    benchmark, said = part.benchmark, line.get('answer')
    if line.row.get('error') is not None:
        part.problems.append(line.problem('not_asked', str(line.row['error'])))
        return benchmark.no_answer(question, str(line.row['error']))
    if not isinstance(said, str | int | float):
        message = _lacks(line, 'answer') if said is None else f'an answer is a text, not {said!r}'
        part.problems.append(line.problem('no_answer', message))
        return benchmark.no_answer(question, 'no answer')
    scores = line.row.get('box_scores')
    return benchmark.answer(
        question,
        str(line.get('prompt') or ''),
        str(said),
        _image_size(benchmark, question, line),
        tokens=line.row.get('tokens'),
        log_prob=line.row.get('log_prob'),
        box_scores=tuple(scores) if isinstance(scores, list) else None,
    )


def _image_size(benchmark: Benchmark, question: Question, line: Line) -> tuple[int, int] | None:
    if line.image_size() is not None:
        return line.image_size()
    if not benchmark.files:  # the question came with the line
        return NO_PICTURE
    try:
        return benchmark.image_size(question)
    except OSError as error:
        if benchmark.reads_boxes(question):
            raise PredictionsError(
                f'{line.place}: boxes need the size of the picture, from an image_size [width, height] of the line or '
                f'from the picture: {error}'
            ) from error
        return NO_PICTURE


def _take_own_truth(benchmark: Benchmark, settings: Mapping[str, Any], lines: Sequence[Line]) -> _Gathered:
    """Make questions of lines that bring their own ground truth."""
    part = _Gathered(benchmark)
    kept = {group: settings['reader'].get(key) for key, group in KEPT_GROUPS.items()}
    seen: dict[str, Line] = {}
    for number, line in enumerate(lines, 1):
        groups = line.groups()
        key = str(line.get('id') if line.get('id') is not None else f'line {number}')
        others = [
            f'{name} {groups.get(name)!r}' for name, values in kept.items() if values and groups.get(name) not in values
        ]
        if others:
            part.problems.append(line.problem('left_out', ', '.join(others)))
        elif key in seen:
            part.problems.append(line.problem('duplicate_id', f'{key!r}, as {seen[key].place}'))
        elif (question := _own_question(part, line, key, groups)) is not None:
            seen[key] = line
            part.benchmark.reader.append(question)
            part.answers.append(_read(part, question, line))
    if not part.answers:
        raise PredictionsError(f'no line can be scored: {part.problems[0]}')
    return part


def _own_question(part: _Gathered, line: Line, key: str, groups: dict[str, str]) -> Question | None:
    """Return the question of a line with its ground truth; None if that cannot be read."""
    images, truth = line.row.get('images') or (), line.get('truth')
    if isinstance(part.benchmark.task, Mapping):  # what the types ask differs, not how their answers are read
        groups.setdefault('type', next(iter(part.benchmark.task)))
    query = {'text': str(line.get('prompt') or '')}
    question = Question(key, tuple(images), query, {}, groups)
    if isinstance(truth, Mapping) and 'boxes' in truth and _boxes(truth['boxes']) is None:
        part.problems.append(line.problem('no_truth', f'boxes are rows of five numbers, not {truth["boxes"]!r}'))
        return None
    if isinstance(truth, Mapping):
        found = {name: _boxes(value) if name == 'boxes' else value for name, value in truth.items()}
    elif isinstance(truth, str | int | float):
        found = _parsed_truth(part, question, str(truth), line)
    elif isinstance(truth, list) and truth and all(isinstance(text, str) for text in truth):
        found = {'text': truth}
    else:
        message = _lacks(line, 'truth') if truth is None else f'a ground truth is a text, not {truth!r}'
        part.problems.append(line.problem('no_truth', message))
        return None
    return replace(question, truth=found)


def _boxes(value: Any) -> np.ndarray | None:
    """Return boxes (N, 5) of a line; None if they are none."""
    try:
        return np.array(value, dtype=np.float64).reshape(-1, 5)
    except (ValueError, TypeError):
        return None


def _parsed_truth(part: _Gathered, question: Question, text: str, line: Line) -> dict[str, Any]:
    """Read a ground truth that is written as an answer would be."""
    parsed = part.benchmark.answer(question, '', text, line.image_size() or NO_PICTURE).parsed
    if parsed.boxes is None:
        return {'text': parsed.text}
    left_out = [diagnostic for diagnostic in parsed.grounded.diagnostics if diagnostic.left_out]
    if left_out:
        start, end = left_out[0].span
        part.problems.append(line.problem('unread_truth', f'{text[start:end]!r}: {left_out[0].message}'))
    return {'boxes': parsed.boxes, 'text': parsed.text}


def _write(
    results: Sequence[BenchmarkResult], gathered: Sequence[_Gathered], cfg: Any, predictions: Path, work_dir: Path
) -> None:
    from geochat.engine.predictions import answer_row, write_rows
    from geochat.engine.run_card import card_of, file_digest, write_card

    rows = [
        answer_row(part.benchmark.name, answer, told)
        for part, result in zip(gathered, results, strict=True)
        for answer, told in zip(part.answers, result.of_answers() or [None] * len(part.answers), strict=True)
    ]
    work_dir.mkdir(parents=True, exist_ok=True)
    write_rows(work_dir / 'predictions.jsonl', rows)
    write_metrics(results, work_dir / 'metrics.json', source=str(predictions))
    source = {'source': str(predictions), 'sha256': file_digest(predictions)}
    write_card(card_of([part.benchmark for part in gathered], cfg.to_dict(), predictions=source), work_dir)
