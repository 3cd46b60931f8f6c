"""The report of a run: its work directory read, and written as one page that a person can look at."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geochat.datasets.errors import DataError
from geochat.engine.files import replace_text
from geochat.engine.results import COMPARISONS
from geochat.registry import BOX_CODECS, TRANSFORMS
from geochat.visualization.report import (
    BenchmarkPart,
    BenchmarkScores,
    Case,
    Report,
    is_number,
    no_boxes,
    read_case,
    render,
)

PREDICTIONS, METRICS, RUN_CARD = 'predictions.jsonl', 'metrics.json', 'run_card.json'
"""What a run leaves behind; the report needs the first."""

MOST_NOTED = 10
"""Lines of a kind that are named one by one; the rest is counted."""

DEFAULT_NUM_CASES = 4

_UNBUILDABLE = (OSError, KeyError, TypeError, ValueError)
"""What building a part raises where its settings, or the files they name, are wrong."""


def write_report(
    run_dir: str | Path,
    output: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    num_cases: int = DEFAULT_NUM_CASES,
    progress: Callable[[str], None] = lambda name: None,
) -> tuple[Path, tuple[str, ...]]:
    """Write the report of a run.

    Nothing but :data:`PREDICTIONS` has to be there: what is missing or damaged is left out, and the page says so.

    Args:
        run_dir: The work directory of a test.
        output: The file to write; None is ``report.html`` in the work directory.
        config: The run's config, which says where the pictures are; None takes the one in :data:`RUN_CARD`.
        num_cases: Most answers that are shown as the best, and as many as the worst, of each benchmark.
        progress: Is called with the name of each benchmark before it is drawn.

    Returns:
        The file, and notes on what is missing in it.

    Raises:
        FileNotFoundError: If the directory or its predictions are not there.
        DataError: If no line of the predictions can be read.
    """
    folder = Path(run_dir)
    if not folder.is_dir():
        raise FileNotFoundError(f'there is no run directory {str(run_dir)!r}')
    notes: list[str] = []
    cases = _read_cases(folder / PREDICTIONS, notes)
    card = _read_object(folder / RUN_CARD, notes)
    config = card.get('config', {}) if config is None else config
    if not isinstance(config, Mapping):
        notes.append(f'{folder / RUN_CARD}: the config is not an object and was left out')
        config = {}
    metrics = _read_object(folder / METRICS, notes)
    notes += _unanswered(card, cases)
    asked_boxes = _asked_boxes(config, notes)
    parts = []
    for name, answers in cases.items():
        scores = _scores(name, metrics, card, config)
        if metrics and not scores.scores:
            notes.append(f'{folder / METRICS} has no scores of {name}')
        parts.append(_part(scores, answers, config, asked_boxes, notes))
    title = f'GeoChat: {folder.resolve().name}'
    page = render(Report(title, parts, COMPARISONS, card, notes), num_cases, progress)
    path = folder / 'report.html' if output is None else Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, page.html)
    return path, page.notes


def _read_cases(path: Path, notes: list[str]) -> dict[str, list[Case]]:
    """Return the answers by benchmark; lines that are not answers are left out and noted."""
    if not path.is_file():
        raise FileNotFoundError(f'{path.parent} has no {path.name}: it is not the directory of a test')
    cases: dict[str, dict[str, Case]] = {}
    bad: list[str] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            row = json.loads(line.decode('utf-8'))
            case = read_case(row)
            known = cases.setdefault(str(row.get('benchmark', '')) or '(unnamed)', {})
            if case.id in known:
                raise ValueError(f'a second answer to question {case.id!r}')
            known[case.id] = case
        except ValueError as error:
            bad.append(f'{path}, line {number} was left out: {error}')
    if not any(cases.values()):
        raise DataError(bad[0] if bad else f'{path} is empty')
    notes += _first_of(bad, 'lines of the predictions were left out')
    return {name: list(known.values()) for name, known in cases.items() if known}


def _unanswered(card: Mapping[str, Any], cases: Mapping[str, Sequence[Case]]) -> Iterator[str]:
    """Yield which benchmarks of a run that has not ended lack answers."""
    for name in _mapping(card.get('benchmarks')):
        questions, answers = _at(card, 'benchmarks', name).get('questions'), len(cases.get(name, ()))
        if isinstance(questions, int) and answers < questions:
            yield f'{name}: {answers} of {questions} questions have an answer so far'


def _first_of(messages: Sequence[str], what: str) -> Iterator[str]:
    yield from messages[:MOST_NOTED]
    if len(messages) > MOST_NOTED:
        yield f'{len(messages) - MOST_NOTED} more {what}'


def _read_object(path: Path, notes: list[str]) -> Mapping[str, Any]:
    """Return what a JSON file holds; an empty dict, and a note, if it is missing or not an object."""
    if not path.is_file():
        notes.append(f'there is no {path.name}: the run has not ended, or is of an earlier version')
        return {}
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, OSError) as error:
        notes.append(f'{path} cannot be read: {error}')
        return {}
    if isinstance(content, Mapping):
        return content
    notes.append(f'{path} is not an object and was left out')
    return {}


def _scores(
    name: str, metrics: Mapping[str, Any], card: Mapping[str, Any], config: Mapping[str, Any]
) -> BenchmarkScores:
    """Return what the files of a run say of a benchmark; what has another form is left out."""
    results, settings, entry = (
        _at(metrics, 'results', name),
        _at(config, 'benchmarks', name),
        _at(card, 'benchmarks', name),
    )
    facts = {key: entry.get(key, settings.get(key)) for key in ('version', 'source')}
    files = [f'{path} (SHA-256 {digest})' for path, digest in _mapping(entry.get('files')).items()]
    facts |= {'files' if len(files) > 1 else 'file': '\n'.join(files)}
    return BenchmarkScores(
        name=name,
        scores=_numbers(results.get('score')),
        comparisons={key: _numbers(values) for key, values in results.items() if key != 'score'},
        intervals=_intervals(_at(metrics, 'intervals', name)),
        published=_numbers(_at(metrics, 'published', name) or settings.get('published')),
        headline=_names(_mapping(metrics.get('shown')).get(name) or settings.get('shown')),
        facts={key: str(value) for key, value in facts.items() if value},
        malformed=_numbers(_at(metrics, 'malformed', name)),
        problems=_problems(_mapping(metrics.get('problems')).get(name)),
        remarks={key: str(remark) for key, remark in _at(metrics, 'remarks', name).items()},
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _at(content: Mapping[str, Any], section: str, name: str) -> Mapping[str, Any]:
    """Return what a section of a file says of a benchmark; an empty mapping if nothing."""
    return _mapping(_mapping(content.get(section)).get(name))


def _names(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()


def _numbers(values: Any) -> dict[str, float]:
    return {key: value for key, value in _mapping(values).items() if is_number(value)}


def _intervals(values: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    pairs = {key: tuple(bounds) for key, bounds in values.items() if isinstance(bounds, list | tuple)}
    return {key: pair for key, pair in pairs.items() if len(pair) == 2 and all(map(is_number, pair))}


def _problems(values: Any) -> tuple[str, ...]:
    problems = values if isinstance(values, list) else ()
    return tuple(f'{problem.get("place")}: {problem.get("message")}' for problem in map(_mapping, problems) if problem)


def _part(
    scores: BenchmarkScores,
    cases: Sequence[Case],
    config: Mapping[str, Any],
    asked_boxes: Callable[[Case], np.ndarray],
    notes: list[str],
) -> BenchmarkPart:
    """Put together what the page tells of a benchmark; a note says if it is not known where its pictures are."""
    load_picture = None
    settings = _at(_at(config, 'benchmarks', scores.name), 'reader', 'image_source')
    if not settings:
        notes.append(f'{scores.name}: no config says where its pictures are, so none are shown')
    else:
        try:
            load_picture = TRANSFORMS.build(dict(settings)).load
        except _UNBUILDABLE as error:
            notes.append(f'{scores.name}: its pictures are not shown: {error}')
    return BenchmarkPart(scores, cases, load_picture, asked_boxes)


def _asked_boxes(config: Mapping[str, Any], notes: list[str]) -> Callable[[Case], np.ndarray]:
    """Return what reads the boxes that a question speaks of, in the run's box language."""
    settings = _mapping(config.get('box_codec'))
    if not settings:
        return no_boxes
    try:
        codec = BOX_CODECS.build(dict(settings))
    except _UNBUILDABLE as error:
        notes.append(f'boxes that questions speak of are not shown: {error}')
        return no_boxes
    return lambda case: no_boxes(case) if case.image_size is None else codec.decode(case.prompt, case.image_size).boxes
