"""What every benchmark reader is: a sequence of questions, read from a file and checked at once."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from geochat.datasets.json_records import iterate_records
from geochat.registry import TRANSFORMS
from geochat.structures import Question


class BenchmarkReader(Sequence[Question]):
    """The questions of a benchmark file: JSONL or a JSON list, one row a question.

    Where a file gives an id to several rows, the second becomes ``ID#2`` and so on: ids are unique within a benchmark.

    Args:
        data_file: The file.
        image_source: Config of the image source, such as :class:`~geochat.datasets.transforms.ImageFolder`.

    Attributes:
        image_source: Gives the pictures of the questions.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is empty, not JSON, or a row is not of the form; the message names the file and the row.
    """

    def __init__(self, data_file: str, image_source: Mapping[str, Any]):
        self.data_file = data_file
        self.image_source = TRANSFORMS.build(dict(image_source))
        self._questions = tuple(self._read())
        if not self._questions:
            raise ValueError(f'{data_file} has no question that the reader is to keep')

    def __len__(self) -> int:
        return len(self._questions)

    def __getitem__(self, index: int | slice) -> Any:
        """Return a question, or a tuple of them for a slice."""
        return self._questions[index]

    @abstractmethod
    def question(self, row: Mapping[str, Any]) -> Question | None:
        """Read a row; None leaves it out.

        Raises:
            ValueError: If the row is not of the form.
        """

    def _read(self) -> Iterator[Question]:
        seen: Counter[str] = Counter()
        for record in iterate_records(self.data_file):
            try:
                question = self.question(_checked_row(record.value))
            except (ValueError, OSError) as error:
                raise ValueError(f'{self.data_file}, {record.place}: {error}') from error
            if question is not None:
                seen[question.id] += 1
                count = seen[question.id]
                yield question if count == 1 else replace(question, id=f'{question.id}#{count}')


def field(row: Mapping[str, Any], key: str) -> Any:
    """Return a field of a row.

    Raises:
        ValueError: If the row does not have it; the message names what it has.
    """
    if row.get(key) is None:
        raise ValueError(f'there is no {key!r}, only {", ".join(map(repr, row))}')
    return row[key]


def text_field(row: Mapping[str, Any], key: str) -> str:
    """Return a field of a row that holds a text.

    Raises:
        ValueError: If the row does not have it, or it is not a text.
    """
    value = field(row, key)
    if not isinstance(value, str):
        raise ValueError(f'{key!r} is a text, not {value!r}')
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


def _checked_row(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f'a row is an object, not {type(value).__name__}')
    return value
