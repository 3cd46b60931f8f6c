"""Records of a JSON list or of a JSONL file, one after another, without holding the whole file."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_WINDOW = 1 << 20
"""Bytes read at a time."""

_WHITE_SPACE = re.compile(r'[ \t\r\n]*')

_LONGEST_MARK = 12
"""A number, literal or escape this close to the end of the window may go on behind it."""


@dataclass(frozen=True)
class JsonRecord:
    """One record of a data file.

    Attributes:
        value: What it holds.
        place: Where it stands, for messages: ``'record 17'`` of a list, ``'line 17'`` of a JSONL file, counted from 1.
        start: Its first byte in the file.
        stop: The byte after its last.
    """

    value: Any
    place: str
    start: int
    stop: int


def iterate_records(path: str | Path) -> Iterator[JsonRecord]:
    """Read a JSON list or a JSONL file (one record a line, empty lines allowed) record by record.

    Args:
        path: The file, in UTF-8. It is a list if its first character is ``[``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty or a record is not JSON; the message names the file and the record.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'the data file {path} does not exist')
    with Path(path).open('rb') as file:
        first = _first_character(file)
        if not first:
            raise ValueError(f'the data file {path} is empty')
        count = 0
        for record in _ListScanner(path, file).records() if first == b'[' else _lines(path, file):
            count += 1
            yield record
    if not count:
        raise ValueError(f'the data file {path} has no records')


def read_record(path: str | Path, start: int, stop: int) -> Any:
    """Read the record that stands in the bytes ``[start, stop)`` of a file.

    Raises:
        ValueError: If there is no JSON there: the file is no longer the one that the bytes were counted in.
    """
    with Path(path).open('rb') as file:
        file.seek(start)
        data = file.read(stop - start)
    try:
        return json.loads(data.decode('utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} has changed while it was in use: no record at byte {start} ({error})') from error


def _first_character(file: IO[bytes]) -> bytes:
    """Return the first byte that is not white space, and go back to where the text begins, behind a byte order mark."""
    begin = 3 if file.read(3) == b'\xef\xbb\xbf' else 0
    file.seek(begin)
    character = b''
    while (block := file.read(_WINDOW)) and not (character := block.lstrip()[:1]):
        pass
    file.seek(begin)
    return character


def _lines(path: str | Path, file: IO[bytes]) -> Iterator[JsonRecord]:
    position = file.tell()
    for number, line in enumerate(file, 1):
        text = line.strip()
        if text:
            start = position + line.index(text)
            try:
                value = json.loads(text.decode('utf-8'))
            except ValueError as error:
                raise ValueError(f'{path}, line {number}: not JSON: {error}') from error
            yield JsonRecord(value, f'line {number}', start, start + len(text))
        position += len(line)


class _ListScanner:
    """Walks through a JSON list, of which it holds only a window.

    The bytes are decoded as Latin-1, in which one byte is one character. JSON's own marks are ASCII and UTF-8 has no
    ASCII bytes within other characters, so the records begin and end at the same places, and places are bytes.
    """

    def __init__(self, path: str | Path, file: IO[bytes]):
        self.path = path
        self.file = file
        self.base = file.tell()
        self.text = ''
        self.position = 0
        self.number = 0
        self.decoder = json.JSONDecoder()

    def records(self) -> Iterator[JsonRecord]:
        self._next_character()
        self.position += 1  # the opening bracket
        if self._next_character() == ']':
            return
        while True:
            self.number += 1
            yield self._record()
            mark = self._next_character()
            self.position += 1
            if mark == ']':
                break
            if mark != ',':
                raise self._error('no comma or closing bracket after it' if mark else 'the file ends after it')
            self._next_character()
        if self._next_character():
            raise self._error('there is text after the end of the list')

    def _record(self) -> JsonRecord:
        value, end = self._scan()
        start, text = self.base + self.position, self.text[self.position : end]
        self.position = end
        if not text.isascii():
            try:
                value = json.loads(text.encode('latin-1').decode('utf-8'))
            except UnicodeDecodeError as error:
                raise self._error(f'not UTF-8: {error}') from error
        return JsonRecord(value, f'record {self.number}', start, start + len(text))

    def _scan(self) -> tuple[Any, int]:
        """Return the value at the position and where it ends in the window."""
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.position)
            except json.JSONDecodeError as error:
                message = f'not JSON: {error.msg} at byte {self.base + error.pos}'
                cut = error.msg.startswith('Unterminated') or self._near_end(error.pos)
                if cut and self._read_on():
                    continue
                raise self._error(message) from error
            if not self._near_end(end) or not self._read_on():
                return value, end

    def _near_end(self, position: int) -> bool:
        return position >= len(self.text) - _LONGEST_MARK

    def _next_character(self) -> str:
        """Skip white space and return the character that follows; empty at the end of the file."""
        while True:
            self.position = _WHITE_SPACE.match(self.text, self.position).end()
            if self.position < len(self.text) or not self._read_on():
                return self.text[self.position : self.position + 1]

    def _read_on(self) -> bool:
        """Drop what has been read and at least double the rest; False at the end of the file."""
        rest = self.text[self.position :]
        block = self.file.read(max(_WINDOW, len(rest)))
        if block:
            self.base += self.position
            self.text, self.position = rest + block.decode('latin-1'), 0
        return bool(block)

    def _error(self, message: str) -> ValueError:
        return ValueError(f'{self.path}, record {self.number}: {message}')
