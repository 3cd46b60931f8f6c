"""The report of a run: its work directory read, and written as one page that a person can look at."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geochat.datasets.errors import DataError
from geochat.engine.benchmark import COMPARISONS, write_text
from geochat.registry import BOX_CODECS, TRANSFORMS
from geochat.visualization.report import BenchmarkPart, BenchmarkScores, Case, Report, no_boxes, read_case, render

PREDICTIONS, METRICS, RUN_CARD = 'predictions.jsonl', 'metrics.json', 'run_card.json'
"""What a run leaves behind; the report needs the first."""

MOST_NOTED = 10
"""Lines of a kind that are named one by one; the rest is counted."""

DEFAULT_NUM_CASES = 4


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
    scores = _read_scores(folder / METRICS, list(cases), config, notes)
    parts = [_part(scores[name], answers, config, notes) for name, answers in cases.items()]
    title = f'GeoChat: {folder.resolve().name}'
    page = render(Report(title, parts, COMPARISONS, card, notes), num_cases, progress)
    path = folder / 'report.html' if output is None else Path(output)
    write_text(path, page.html)
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


def _read_scores(
    path: Path, names: Sequence[str], config: Mapping[str, Any], notes: list[str]
) -> dict[str, BenchmarkScores]:
    metrics = _read_object(path, notes)
    scores = {}
    for name in names:
        results = _mapping(_mapping(metrics.get('results')).get(name))
        if metrics and not results:
            notes.append(f'{path} has no scores of {name}')
        data, settings = _mapping(_mapping(metrics.get('data')).get(name)), _settings(config, name)
        facts = {key: settings[key] for key in ('version', 'source', 'task') if key in settings}
        facts |= {key: data[key] for key in ('file', 'sha256', 'questions') if key in data}
        scores[name] = BenchmarkScores(
            name=name,
            scores=_numbers(results.get('score')),
            comparisons={key: _numbers(results[key]) for key in COMPARISONS if key in results},
            intervals=_intervals(_mapping(metrics.get('intervals')).get(name)),
            published=_numbers(settings.get('published')),
            headline=tuple(settings.get('headline') or settings.get('shown') or ()),
            facts={key: str(value) for key, value in facts.items()},
        )
    return scores


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _settings(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _mapping(_mapping(config.get('benchmarks')).get(name))


def _numbers(values: Any) -> dict[str, float]:
    return {key: value for key, value in _mapping(values).items() if isinstance(value, int | float)}


def _intervals(values: Any) -> dict[str, tuple[float, float]]:
    pairs = _mapping(values).items()
    return {key: (bounds[0], bounds[1]) for key, bounds in pairs if isinstance(bounds, Sequence) and len(bounds) == 2}


def _part(scores: BenchmarkScores, cases: Sequence[Case], config: Mapping[str, Any], notes: list[str]) -> BenchmarkPart:
    """Put together what the page tells of a benchmark; a note says if it is not known where its pictures are."""
    load_picture = None
    settings = _mapping(_settings(config, scores.name).get('reader')).get('image_source')
    if settings is None:
        notes.append(f'{scores.name}: no config says where its pictures are, so none are shown')
    else:
        try:
            load_picture = TRANSFORMS.build(dict(settings)).load
        except (OSError, KeyError, TypeError, ValueError) as error:
            notes.append(f'{scores.name}: its pictures are not shown: {error}')
    return BenchmarkPart(scores, cases, load_picture, _asked_boxes(config))


def _asked_boxes(config: Mapping[str, Any]) -> Callable[[Case], np.ndarray]:
    """Return what reads the boxes that a question speaks of, in the run's box language."""
    if not config.get('box_codec'):
        return no_boxes
    codec = BOX_CODECS.build(dict(config['box_codec']))
    return lambda case: no_boxes(case) if case.image_size is None else codec.decode(case.prompt, case.image_size).boxes
