"""Benchmarks whose answers are words: scene classification and visual question answering."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from geochat.datasets.benchmarks.base import BenchmarkReader, existing_file, field, groups, text_field
from geochat.registry import DATASETS
from geochat.structures import Question

IMAGE_SUFFIXES = ('.bmp', '.gif', '.jpeg', '.jpg', '.png', '.tif', '.tiff')
"""Endings of the files that are pictures, in lower case."""


@DATASETS.register_module()
class SceneBenchmark(BenchmarkReader):
    """Scene classification as in GeoChat-Bench's ``aid.jsonl`` and ``UCmerced.jsonl``.

    A row has ``question_id``, ``image``, ``text`` (the whole question with its classes) and ``ground_truth``. The
    classes are ``classes`` of the row where it has them, else what follows "Classes:" in the question.

    Args:
        data_file: The file.
        image_source: Config of the image source.
        truth_from: ``'ground_truth'``, or ``'question_id'``: the folder that a question's id begins with
            (``Airport/airport_1.jpg``). The original's scores are by the latter; one ``ground_truth`` of AID is
            misspelt.

    Raises:
        ValueError: Also if ``truth_from`` is neither.
    """

    def __init__(self, data_file: str, image_source: Mapping[str, Any], truth_from: str = 'ground_truth'):
        if truth_from not in ('ground_truth', 'question_id'):
            raise ValueError(f"truth_from is 'ground_truth' or 'question_id', not {truth_from!r}")
        self.truth_from = truth_from
        super().__init__(data_file, image_source)

    def question(self, row: Mapping[str, Any]) -> Question:
        """Read a row."""
        question_id = str(field(row, 'question_id'))
        text = text_field(row, 'text')
        truth = text_field(row, 'ground_truth') if self.truth_from == 'ground_truth' else _folder(question_id)
        classes = _classes(row, text)
        query = {'text': text, 'classes': classes} if classes else {'text': text}
        return Question(question_id, (text_field(row, 'image'),), query, {'text': truth})


@DATASETS.register_module()
class SceneFolderBenchmark(BenchmarkReader):
    """Scene classification of pictures that lie in a folder for each class, such as WHU-RS19.

    The classes are the folders' names in words: ``footballField`` is "football field".

    Args:
        data_file: The folder that has the classes' folders.
        image_source: Config of the image source; its names are ``CLASS/PICTURE``.
    """

    @property
    def files(self) -> tuple[str, ...]:
        """The pictures, sorted: their places are all that says what they show."""
        pictures = (path for path in Path(self.data_file).glob('*/*') if path.suffix.lower() in IMAGE_SUFFIXES)
        return tuple(map(str, sorted(pictures)))

    def records(self) -> Iterator[tuple[str, str]]:
        """Yield the names of the pictures."""
        if not Path(self.data_file).is_dir():
            raise FileNotFoundError(f'the folder of classes {self.data_file} does not exist')
        names = {path: Path(path).relative_to(self.data_file).as_posix() for path in self.files}
        self.classes = tuple(dict.fromkeys(_in_words(_folder(name)) for name in names.values()))
        yield from names.items()

    def question(self, row: str) -> Question:
        """Ask which class a picture shows."""
        return Question(row, (row,), {'classes': self.classes}, {'text': _in_words(_folder(row))})


@DATASETS.register_module()
class VQABenchmark(BenchmarkReader):
    """Visual question answering as in GeoChat-Bench's ``lrben.jsonl`` and ``hrben.jsonl``, or VRSBench's questions.

    A row has ``question_id``, the picture's file name (``image`` or ``image_id``), the kind of question (``category``
    or ``type``), and either ``text``, a question that says how to answer and is used as it is, or ``question``, which
    the task puts into its words. Its answer is in ``ground_truth`` or, as GeoChat-Bench leaves it out, in RSVQA's own
    file of answers.

    Args:
        data_file: The file.
        image_source: Config of the image source.
        answers_file: RSVQA's answers (``all_answers.json`` of RSVQA-LR, ``USGSanswers.json`` of RSVQA-HR); None if the
            rows have them.
        categories: Categories to keep; None keeps all. The published scores leave out counts and areas.
    """

    def __init__(
        self,
        data_file: str,
        image_source: Mapping[str, Any],
        answers_file: str | None = None,
        categories: Sequence[str] | None = None,
    ):
        self.answers_file = answers_file
        self.answers = {} if answers_file is None else _read_answers(answers_file)
        self.categories = categories
        super().__init__(data_file, image_source)

    @property
    def files(self) -> tuple[str, ...]:
        """The questions' file, and RSVQA's answers."""
        return (self.data_file,) if self.answers_file is None else (self.data_file, self.answers_file)

    def question(self, row: Mapping[str, Any]) -> Question | None:
        """Read a row; it is left out if its category is not to be kept."""
        question_id = str(field(row, 'question_id'))
        if self.categories is not None and str(field(row, 'category', 'type')) not in self.categories:
            return None
        asked = 'text' if row.get('text') is not None else 'question'
        return Question(
            id=question_id,
            images=(text_field(row, 'image', 'image_id'),),
            query={asked: text_field(row, 'text', 'question')},
            truth={'text': self._truth(row, question_id)},
            groups=groups(row, {'category': 'type' if row.get('category') is None else 'category'}),
        )

    def _truth(self, row: Mapping[str, Any], question_id: str) -> str:
        if self.answers_file is None:
            if row.get('ground_truth') is None:
                raise ValueError("there is no 'ground_truth'; name the benchmark's file of answers as answers_file")
            return str(row['ground_truth'])
        if question_id not in self.answers:
            raise ValueError(f'{self.answers_file} has no answer to question {question_id}')
        return self.answers[question_id]


def _folder(name: str) -> str:
    folder, slash, _ = name.partition('/')
    if not slash:
        raise ValueError(f'the question_id {name!r} begins with no folder that tells the class')
    return folder


def _in_words(folder: str) -> str:
    return re.sub(r'(?<=[a-z])(?=[A-Z])|[_-]+', ' ', folder).lower()


def _classes(row: Mapping[str, Any], text: str) -> tuple[str, ...]:
    """Return the classes that a question offers; none if it does not say."""
    if isinstance(row.get('classes'), Sequence) and not isinstance(row['classes'], str):
        return tuple(map(str, row['classes']))
    listed = re.search(r'classes\s*:\s*([^.\n]+)', text, re.IGNORECASE)
    return tuple(name.strip() for name in listed[1].split(',') if name.strip()) if listed else ()


def _read_answers(path: str) -> dict[str, str]:
    """Read RSVQA's answers by question: ``{"answers": [{"question_id": ..., "answer": ..., "active": true}, ...]}``.

    An entry without ``question_id`` answers the question of its position.
    """
    file = existing_file(path, 'file of answers')
    try:
        entries = json.loads(file.read_text(encoding='utf-8'))['answers']
        active = [(number, entry) for number, entry in enumerate(entries) if entry.get('active', True)]
        return {str(entry.get('question_id', number)): str(entry['answer']) for number, entry in active}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} is not a file of RSVQA answers ({type(error).__name__}: {error})') from error
