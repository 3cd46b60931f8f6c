"""What every benchmark reader is: a sequence of questions, read from files and checked at once."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from geochat.datasets.json_records import iterate_records
from geochat.datasets.transforms import image_size
from geochat.registry import TRANSFORMS
from geochat.structures import Question

UNKNOWN_SIZE = (100, 100)
"""Width and height that stand for those of a picture that cannot be read. Nobody is asked about such a picture, but its
question counts."""


class BenchmarkReader(Sequence[Question]):
    """The questions of a benchmark, by default those of one file: JSONL or a JSON list, one row a question.

    Where a file gives an id to several rows, the second becomes ``ID#2`` and so on: ids are unique within a benchmark.

    Args:
        data_file: The file, or for some benchmarks the folder, that has the questions.
        image_source: Config of the image source, such as :class:`~geochat.datasets.transforms.ImageFolder`.

    Attributes:
        data_file: As above; if it is there, so are the questions.
        image_source: Gives the pictures of the questions.
        places: Where each question stands, by its id: a file and a line or record.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If it is empty, not JSON, or a row is not of the form; the message names the file and the row.
    """

    def __init__(self, data_file: str, image_source: Mapping[str, Any]):
        self.data_file = data_file
        self.image_source = TRANSFORMS.build(dict(image_source))
        self._sizes: dict[str, tuple[int, int]] = {}
        self.places: dict[str, str] = {}
        self._questions = tuple(self._read())
        if not self._questions:
            raise ValueError(f'{data_file} has no question that the reader is to keep')

    def __len__(self) -> int:
        return len(self._questions)

    def __getitem__(self, index: int | slice) -> Any:
        """Return a question, or a tuple of them for a slice."""
        return self._questions[index]

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the questions and their truth were read from, in a fixed order."""
        return (self.data_file,)

    def records(self) -> Iterator[tuple[str, Any]]:
        """Yield what :meth:`question` is to read, each with its place for messages: the rows of the data file."""
        for record in iterate_records(self.data_file):
            yield f'{self.data_file}, {record.place}', record.value

    @abstractmethod
    def question(self, row: Any) -> Question | None:
        """Read what :meth:`records` yields; None leaves it out.

        Raises:
            ValueError: If it is not of the form.
        """

    def picture_size(self, name: str) -> tuple[int, int]:
        """Return a picture's width and height in pixels, for boxes that are written in per cent.

        Where the picture cannot be read it is :data:`UNKNOWN_SIZE`.
        """
        if name not in self._sizes:
            try:
                self._sizes[name] = image_size(self.image_source, name)
            except OSError:
                self._sizes[name] = UNKNOWN_SIZE
        return self._sizes[name]

    def _read(self) -> Iterator[Question]:
        seen: Counter[str] = Counter()
        for place, row in self.records():
            try:
                question = self.question(row)
            except (ValueError, OSError) as error:
                raise ValueError(f'{place}: {error}') from error
            if question is None:
                continue
            seen[question.id] += 1
            if seen[question.id] > 1:
                question = replace(question, id=f'{question.id}#{seen[question.id]}')
            self.places[question.id] = place
            yield question


def existing_file(path: str | Path, kind: str = 'data file') -> Path:
    """Return the path of a file that is there.

    Args:
        path: The file.
        kind: What it is, for the message.

    Raises:
        FileNotFoundError: If it is not there; the message names it.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'the {kind} {path} does not exist')
    return Path(path)


def field(row: Mapping[str, Any], *keys: str) -> Any:
    """Return a field of a row: the first of the keys that it has.

    Raises:
        ValueError: If the row has none of them or is no object; the message names what it has.
    """
    if not isinstance(row, Mapping):
        raise ValueError(f'a row is an object, not {type(row).__name__}')
    for key in keys:
        if row.get(key) is not None:
            return row[key]
    there = ', '.join(repr(key) for key, value in row.items() if value is not None)
    raise ValueError(f'there is no {" or ".join(map(repr, keys))}, only {there}')


def text_field(row: Mapping[str, Any], *keys: str) -> str:
    """Return a field of a row that holds a text: the first of the keys that it has.

    Raises:
        ValueError: If the row has none of them, or it is not a text.
    """
    value = field(row, *keys)
    if not isinstance(value, str):
        raise ValueError(f'{" or ".join(map(repr, keys))} is a text, not {value!r}')
    return value


def image_name(row: Mapping[str, Any], suffix: str) -> str:
    """Return the picture of a row whose ``image_id`` leaves out the file name's ending.

    Args:
        row: The row.
        suffix: The ending; it is not added twice.

    Raises:
        ValueError: If the row has no ``image_id``.
    """
    name = text_field(row, 'image_id').strip()
    return name if name.endswith(suffix) else name + suffix


def groups(row: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, str]:
    """Return what scores are broken down by, as far as a row has it.

    Args:
        row: The row.
        keys: The row's key of each group.
    """
    return {name: str(row[key]) for name, key in keys.items() if row.get(key) is not None}
