"""The lines of ``predictions.jsonl``: one an answer, added as they come, and read again after an interruption."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.dist import all_gather_object, barrier, broadcast_object_list, get_rank, is_main_process

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


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write lines as a whole file."""
    replace_text(path, ''.join(f'{json.dumps(row, ensure_ascii=False)}\n' for row in rows))


class Journal:
    """Answers on their way to the disk: every rank adds its own to a file, flushed, so that a kill takes none away.

    The main process adds to ``NAME.jsonl``, the others to ``NAME.rank1.jsonl`` and so on. When a benchmark is finished
    its lines are put into ``NAME.jsonl`` in the order of its questions, and the other files go. Every rank must build
    it and finish each benchmark.

    Args:
        folder: The work directory.
        name: What the files are called.
        kept: Benchmarks whose answers are taken over from an interrupted run; lines of others are dropped.
    """

    def __init__(self, folder: Path, name: str, kept: Collection[str]):
        self.folder, self.name = folder, name
        self.path = folder / f'{name}.jsonl'
        found = [self._read(kept) if is_main_process() else None]
        broadcast_object_list(found)
        self.rows: dict[str, dict[str, Row]] = found[0]
        if is_main_process():
            self._write_all()
        barrier()
        self._mine = self.path if is_main_process() else folder / f'{name}.rank{get_rank()}.jsonl'
        self._file = self._mine.open('a', encoding='utf-8')

    def add(self, rows: Sequence[Row]) -> None:
        """Add lines of this rank."""
        self._file.write(''.join(f'{json.dumps(row, ensure_ascii=False)}\n' for row in rows))
        self._file.flush()

    def finish(self, benchmark: str, rows: Iterable[Row]) -> None:
        """Put a benchmark's lines, all of them and in their order, in the place of those that were added.

        Args:
            benchmark: Name of the benchmark.
            rows: Its lines; those of the main process count.
        """
        self._file.close()
        self.rows[benchmark] = {row['id']: row for row in rows}
        if is_main_process():
            self._write_all()
        barrier()
        self._file = self._mine.open('a' if is_main_process() else 'w', encoding='utf-8')

    def close(self) -> None:
        """Close the files, and delete those of the other ranks."""
        self._file.close()
        if not is_main_process():
            self._mine.unlink(missing_ok=True)

    def _read(self, kept: Collection[str]) -> dict[str, dict[str, Row]]:
        rows: dict[str, dict[str, Row]] = {}
        if not kept:
            return rows
        parts = journal_files(self.folder, self.name)
        for row in (row for path in parts for row in whole_lines(path)):
            if row['benchmark'] in kept and 'error' not in row:
                rows.setdefault(row['benchmark'], {})[row['id']] = row
        return rows

    def _write_all(self) -> None:
        write_rows(self.path, (row for rows in self.rows.values() for row in rows.values()))
        for path in journal_files(self.folder, self.name):
            if path != self.path:
                path.unlink()


def journal_files(folder: Path, name: str) -> list[Path]:
    """Return the files of a journal that are there, the main process's first."""
    main = folder / f'{name}.jsonl'
    return [path for path in (main, *sorted(folder.glob(f'{name}.rank*.jsonl'))) if path.is_file()]


def whole_lines(path: Path) -> Iterator[Row]:
    """Yield the lines of a journal; the last one is left out if a kill cut it short."""
    # Not by splitlines(), which also cuts at characters that stand unescaped in JSON.
    with path.open(encoding='utf-8', errors='replace', newline='\n') as file:
        for line in file:
            if line.endswith('\n'):
                yield json.loads(line)


def gather_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the lines of all ranks, on every rank."""
    return [row for part in all_gather_object(list(rows)) for row in part]
