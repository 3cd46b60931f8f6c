"""Where each record of an instruction file stands and what it is like: built once, kept in a file, memory-mapped."""

import contextlib
import hashlib
import json
import logging
import os
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from geochat.datasets.instruction_record import estimate_length, parse_record, task_tag
from geochat.datasets.json_records import JsonRecord, iterate_records, read_record
from geochat.structures import Record

_VERSION = 2
"""Part of the index file's head: another number, and old indexes are built anew."""

_PACKED = struct.Struct('<qqiiiii')
_ENTRY = np.dtype(
    [
        ('start', '<i8'),
        ('stop', '<i8'),
        ('number', '<i4'),
        ('length', '<i4'),
        ('kind', '<i4'),
        ('num_images', '<i4'),
        ('pictures', '<i4'),
    ]
)

_MAX_COMPLAINTS = 10
_SECONDS_BETWEEN_REPORTS = 5


class RecordIndex:
    """The usable records of an instruction file, each read from the file when it is asked for.

    The entries are mapped from the index file: worker processes share its pages whether they are forked or spawned, and
    a process holds no text of the data. The index lies beside the data file or, where that folder cannot be written,
    under ``$XDG_CACHE_HOME/geochat``; it is built anew when the data file's size or time of change differ.

    Args:
        data_file: JSON list or JSONL file of records (see :func:`~geochat.datasets.instruction_record.parse_record`).

    Attributes:
        entries: Structured array (N,) with the fields ``start`` and ``stop`` (bytes), ``number`` (of the record in its
            file, counted from 1), ``length`` (estimated tokens of text), ``kind`` (equal for records of one task and
            number of pictures), ``num_images`` and ``pictures`` (equal for records of the same pictures in the same
            order, counted from 0 as they come; -1 without a picture).
        num_bad: Records that cannot be used, and are not among the entries.
        complaints: What is wrong with the first of them, and where.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty or not JSON; the message names the file and the record.
    """

    def __init__(self, data_file: str | Path):
        self.data_file = str(data_file)
        candidates = _index_paths(Path(data_file))
        found = next((index for path in candidates if (index := _load(path, _identity(data_file)))), None)
        if found is None:
            head, entries = _build(data_file)
            found = next((index for path in candidates if (index := _store(path, head, entries))), (head, entries))
        head, self.entries = found
        self.num_bad: int = head['num_bad']
        self.complaints: list[str] = head['complaints']

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Record:
        """Read a record from the data file.

        Raises:
            IndexError: If there is no such record.
            ValueError: If the file has changed since the index was built.
        """
        entry = self.entries[index]
        return parse_record(read_record(self.data_file, entry['start'], entry['stop']), str(entry['number']))

    def keep_tasks(self, tasks: Sequence[str]) -> None:
        """Leave out the records of other tasks; the index file stays as it is.

        Args:
            tasks: Task marks, such as ``'[refer]'``; ``''`` for dialogues without one (see
                :func:`~geochat.datasets.instruction_record.task_tag`).

        Raises:
            ValueError: If no record has one of the marks; the message names those that there are.
        """
        kinds, firsts = np.unique(self.entries['kind'], return_index=True)
        marks = [task_tag(self[first].messages) for first in firsts]
        if missing := [task for task in tasks if task not in marks]:
            there = ', '.join(sorted({repr(mark) for mark in marks}))
            raise ValueError(f'{self.data_file} has no records of the task {missing[0]!r}; its tasks are {there}')
        kept = kinds[[mark in tasks for mark in marks]]
        self.entries = self.entries[np.isin(self.entries['kind'], kept)]

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker maps the index file; it gets the entries themselves only where no file could be written.
        kept = ('data_file',) if isinstance(self.entries, np.memmap) else tuple(self.__dict__)
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if 'entries' in state:
            self.__dict__.update(state)
        else:
            self.__init__(state['data_file'])


def _identity(data_file: str | Path) -> dict[str, int]:
    if not Path(data_file).is_file():
        raise FileNotFoundError(f'the data file {data_file} does not exist')
    status = Path(data_file).stat()
    return {'version': _VERSION, 'size': status.st_size, 'mtime_ns': status.st_mtime_ns}


def _index_paths(data_file: Path) -> list[Path]:
    """Return where an index may lie, the best place first."""
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'geochat'
    name = f'{data_file.name}.index'
    digest = hashlib.sha256(str(data_file.resolve()).encode()).hexdigest()[:16]
    return [data_file.with_name(name), cache / f'{digest}-{name}']


def _load(path: Path, identity: dict[str, int]) -> tuple[dict[str, Any], np.ndarray] | None:
    """Map an index file; None if there is none that fits the data file."""
    try:
        with path.open('rb') as file:
            head = json.loads(file.readline())
            offset = file.tell()
        if {key: head[key] for key in identity} != identity:
            return None
        return head, np.memmap(path, dtype=_ENTRY, mode='r', offset=offset, shape=(head['num_records'],))
    except (OSError, ValueError, KeyError, TypeError):  # not there, cut short, or not an index at all
        return None


def _store(path: Path, head: dict[str, Any], entries: np.ndarray) -> tuple[dict[str, Any], np.ndarray] | None:
    """Write an index file and map it; None if it cannot be written there."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open('wb') as file:
            file.write(json.dumps(head).encode() + b'\n')
            file.write(entries.tobytes())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        return None
    return _load(path, head)


def _build(data_file: str | Path) -> tuple[dict[str, Any], np.ndarray]:
    """Read a data file once, from end to end."""
    identity = _identity(data_file)
    entries = bytearray()
    complaints: list[str] = []
    kinds: dict[tuple[str, int], int] = {}
    pictures: dict[tuple[str, ...], int] = {(): -1}
    num_bad = 0
    for number, item in enumerate(_with_progress(data_file, identity['size']), 1):
        try:
            entries += _describe(item, number, kinds, pictures)
        except ValueError as error:
            num_bad += 1
            if len(complaints) < _MAX_COMPLAINTS:
                complaints.append(f'{item.place}: {error}')
    array = np.frombuffer(entries, dtype=_ENTRY)
    return {**identity, 'num_records': len(array), 'num_bad': num_bad, 'complaints': complaints}, array


def _describe(
    item: JsonRecord, number: int, kinds: dict[tuple[str, int], int], pictures: dict[tuple[str, ...], int]
) -> bytes:
    """Pack a record's entry; kinds and pictures that are new get the next number."""
    record = parse_record(item.value, str(number))
    kind = kinds.setdefault((task_tag(record.messages), len(record.images)), len(kinds))
    length = estimate_length(record.messages)
    shown = pictures.setdefault(record.images, len(pictures) - 1)
    return _PACKED.pack(item.start, item.stop, number, length, kind, len(record.images), shown)


def _with_progress(data_file: str | Path, size: int) -> Iterator[JsonRecord]:
    """Read records; where it takes long, say how far it is."""
    begin = reported = time.monotonic()
    for record in iterate_records(data_file):
        yield record
        now = time.monotonic()
        if now - reported > _SECONDS_BETWEEN_REPORTS:
            reported, done = now, record.stop / size
            left = (now - begin) * (1 - done) / done
            print_log(f'indexing {data_file}: {done:.0%}, {left:.0f} s left', logger='current', level=logging.INFO)
