"""The lines of ``predictions.jsonl``: one an answer, what was asked, said and read."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geochat.engine.files import replace_text
from geochat.structures import Answer

if TYPE_CHECKING:
    from geochat.engine.benchmark import Benchmark

Row = dict[str, Any]


def answer_row(benchmark: str, answer: Answer, scores: Mapping[str, float] | None = None) -> Row:
    """Return the line of an answer as plain values: what was asked, what was said, and what was read from it.

    Args:
        benchmark: Name of the benchmark.
        answer: The answer.
        scores: What its metrics tell of the single answer; None if it is not scored yet.
    """
    parsed, question = answer.parsed, answer.question
    row = {
        'benchmark': benchmark,
        'id': question.id,
        'images': list(question.images),
        'image_size': None if answer.image_size is None else list(answer.image_size),
        'prompt': answer.prompt,
        'answer': answer.text,
        'text': parsed.text,
        # Four digits after the point, of pixels and radians, are far finer than any box language.
        'boxes': None if parsed.boxes is None else np.round(parsed.boxes, 4).tolist(),
        'labels': None if parsed.labels is None else list(parsed.labels),
        'box_scores': None if answer.box_scores is None else list(answer.box_scores),
        'malformed': parsed.malformed,
        'diagnostics': [diagnostic.code for diagnostic in parsed.grounded.diagnostics] if parsed.grounded else [],
        'truth': {key: _plain(value) for key, value in question.truth.items()},
        'groups': dict(question.groups),
        'scores': scores,
        'tokens': answer.tokens,
        'log_prob': answer.log_prob,
        'error': answer.error,
    }
    optional = ('boxes', 'labels', 'box_scores', 'scores', 'tokens', 'log_prob', 'error')
    return {key: value for key, value in row.items() if value is not None or key not in optional}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def answer_of_row(benchmark: 'Benchmark', question: Any, row: Mapping[str, Any]) -> Answer:
    """Read the answer of a line of :func:`answer_row` again: its words are parsed once more, the rest is taken over."""
    if row.get('error') is not None:
        return benchmark.no_answer(question, row['error'])
    size = None if row['image_size'] is None else tuple(row['image_size'])
    scores = row.get('box_scores')
    return benchmark.answer(
        question,
        row['prompt'],
        row['answer'],
        size,
        tokens=row.get('tokens'),
        log_prob=row.get('log_prob'),
        box_scores=None if scores is None else tuple(scores),
    )


def json_line(row: Row) -> str:
    """Return a line of JSON; characters stand as they are, unless one is half a pair, which no file can hold."""
    line = json.dumps(row, ensure_ascii=False)
    try:
        line.encode('utf-8')
    except UnicodeEncodeError:
        line = json.dumps(row)
    return f'{line}\n'


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write lines as a whole file."""
    replace_text(path, ''.join(map(json_line, rows)))
