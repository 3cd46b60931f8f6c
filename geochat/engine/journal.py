"""Answers on their way to the disk: added as they come, on every process, and read again after an interruption."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from mmengine.dist import all_gather_object, broadcast_object_list, get_rank, is_main_process

from geochat.engine.files import failing_together, written
from geochat.engine.predictions import Row, json_line, write_rows


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
        with failing_together():
            if is_main_process():
                self._write_all()
        self._mine = self.path if is_main_process() else folder / f'{name}.rank{get_rank()}.jsonl'
        self._file = self._mine.open('a', encoding='utf-8')

    def add(self, rows: Sequence[Row]) -> None:
        """Add lines of this rank.

        Raises:
            WriteError: If they cannot be written.
        """
        with written(self._mine):
            self._file.write(''.join(map(json_line, rows)))
            self._file.flush()

    def finish(self, benchmark: str, rows: Iterable[Row]) -> None:
        """Put a benchmark's lines, all of them and in their order, in the place of those that were added.

        Args:
            benchmark: Name of the benchmark.
            rows: Its lines; those of the main process count.

        Raises:
            WriteError: On every rank, if they cannot be written.
        """
        self._file.close()
        self.rows[benchmark] = {row['id']: row for row in rows}
        with failing_together():
            if is_main_process():
                self._write_all()
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
