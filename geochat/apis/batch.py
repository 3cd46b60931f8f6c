"""Files of questions answered into files of answers, which go on where they were interrupted."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from geochat.apis.errors import InputError
from geochat.apis.inferencer import GeoChatInferencer
from geochat.apis.interpreter import Asked
from geochat.datasets.json_records import iterate_records
from geochat.engine.files import replace_text, written
from geochat.engine.predictions import json_line, write_rows

if TYPE_CHECKING:
    from geochat.apis.interpreter import Prepared

TASK_OF_KEY = {
    'text': 'chat',
    'question': 'vqa',
    'phrase': 'refer',
    'boxes': 'identify',
    'options': 'multiple_choice',
    'classes': 'scene',
}
"""Keys of queries that a row may have, and the task of a row that names none: that of the last of its keys here."""

ORIGIN = '.run.json'
"""What the name of the file beside the answers ends in, which says what they depend on."""


@dataclass(frozen=True)
class QuestionRow:
    """A question of a file.

    Attributes:
        id: Its name, the only one of its kind in the file.
        images: Names of its pictures.
        task: Its task.
        query: The task's query.
    """

    id: str
    images: tuple[str, ...]
    task: str
    query: Mapping[str, Any]

    @property
    def told(self) -> dict[str, Any]:
        """What the file of answers tells of it."""
        return {'id': self.id, 'images': list(self.images), 'task': self.task, 'query': dict(self.query)}


def read_questions(path: str | Path) -> list[QuestionRow]:
    """Read a file of questions: JSON objects, one a line or in a list.

    A row has ``image`` or ``images``, unless it is about text only; the query of its task, as keys of its own
    (:data:`TASK_OF_KEY`) or as the object ``query``; ``task``, unless its keys tell; ``id`` or ``question_id``, else
    its number. What else it has is left alone.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is empty, a row is not as said, or an id comes twice; the message names file, row and key.
    """
    rows: dict[str, QuestionRow] = {}
    places: dict[str, str] = {}
    try:
        for number, record in enumerate(iterate_records(path), 1):
            row = _question(record.value, number, f'{path}, {record.place}')
            if row.id in rows:
                raise InputError(f'{path}, {record.place}: the id {row.id!r} is that of {places[row.id]} too')
            rows[row.id], places[row.id] = row, record.place
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from error
    return list(rows.values())


def _question(value: Any, number: int, place: str) -> QuestionRow:
    if not isinstance(value, Mapping):
        raise InputError(f'{place}: a question is a JSON object, not {json.dumps(value)[:60]}')
    images = value.get('images', value.get('image', []))
    images = [images] if isinstance(images, str) else images
    if not isinstance(images, list) or not all(isinstance(name, str) for name in images):
        raise InputError(f'{place}: "image" is the name of a file, "images" a list of them')
    keys = [key for key in TASK_OF_KEY if key in value]
    query = value.get('query', {key: value[key] for key in keys})
    task = value.get('task', TASK_OF_KEY[keys[-1]] if keys else None)
    if not isinstance(query, Mapping):
        raise InputError(f'{place}: "query" is a JSON object')
    if not isinstance(task, str):
        raise InputError(f'{place}: it needs one of the keys {", ".join(TASK_OF_KEY)}, or a "task"')
    return QuestionRow(str(value.get('id', value.get('question_id', number))), tuple(images), task, query)


@dataclass(frozen=True)
class BatchSummary:
    """What has become of a file of questions.

    Attributes:
        answered: Questions that have an answer.
        taken_over: Those of them that had one already.
        errors: Why others have none, by id.
        malformed: Answers that are not of the form that their task asks for.
    """

    answered: int
    taken_over: int
    errors: Mapping[str, str]
    malformed: int


class AnswerFile:
    """Answers on their way to a file: each is there as soon as it is known, a kill takes none away.

    Args:
        path: The file.
        origin: What the answers depend on beside the questions: weights, or server and model; settings; the stretch of
            pictures; and their folder.

    Raises:
        InputError: If the file is there already and is not of the same origin.
        geochat.engine.files.WriteError: If it cannot be written.
    """

    def __init__(self, path: Path, origin: Mapping[str, Any]):
        self.path = path
        beside = path.with_name(path.name + ORIGIN)
        self.rows: dict[str, dict[str, Any]] = {}
        if path.exists():
            _check_origin(path, beside, origin)
            self.rows = {row['id']: row for row in _whole_rows(path) if 'error' not in row}
        else:
            replace_text(beside, json.dumps(origin, indent=2))

    def keep(self, questions: list[QuestionRow]) -> None:
        """Keep the answers to these questions only, and begin to add."""
        asked = {question.id: json.loads(json.dumps(question.told)) for question in questions}
        self.rows = {
            name: row
            for name, row in self.rows.items()
            if name in asked and {key: row.get(key) for key in asked[name]} == asked[name]
        }
        write_rows(self.path, self.rows.values())

    def add(self, row: Mapping[str, Any]) -> None:
        """Add an answer."""
        self.rows[row['id']] = dict(row)
        with written(self.path), self.path.open('a', encoding='utf-8') as file:
            file.write(json_line(dict(row)))

    def finish(self, questions: list[QuestionRow]) -> None:
        """Put the answers into the order of their questions."""
        write_rows(self.path, (self.rows[question.id] for question in questions))


def _check_origin(path: Path, beside: Path, origin: Mapping[str, Any]) -> None:
    advice = 'name another file, or delete it'
    if not beside.is_file():
        raise InputError(f'{path} is there already, and no answers of an earlier run: {advice}')
    try:
        earlier = json.loads(beside.read_text(encoding='utf-8'))
    except ValueError as error:
        raise InputError(f'{beside} is damaged, and what {path} holds is not known: {advice}') from error
    other = [key for key in origin if not isinstance(earlier, dict) or earlier.get(key) != origin[key]]
    if other:
        raise InputError(f'{path} has answers of other {" and ".join(other)}: {advice}')


def _whole_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows that can be read; a kill cuts the last one short."""
    with path.open(encoding='utf-8', errors='replace', newline='\n') as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and 'id' in row:
                yield row


def answer_file(
    inferencer: GeoChatInferencer,
    questions: str | Path,
    out: str | Path,
    images: str | Path = '.',
    progress: bool = True,
) -> BatchSummary:
    """Answer a file of questions.

    A line of the answers has what was asked (``id``, ``images``, ``task``, ``query``) and
    :meth:`~geochat.apis.Prediction.to_dict`, or ``error`` for a question that cannot be asked. Answers are on the disk
    as they come, at the end in the order of the questions. Called again, it goes on with the questions that have no
    answer yet, or another than was asked.

    Args:
        inferencer: Who answers, as its settings say.
        questions: The file; see :func:`read_questions`.
        out: The answers; ``OUT.run.json`` beside it says what they depend on.
        images: Folder that names of pictures are relative to.
        progress: True shows a progress bar.

    Raises:
        FileNotFoundError: If there is no such file of questions.
        InputError: If a row of it is not a question, or ``out`` holds something else.
        geochat.engine.files.WriteError: If the answers cannot be written.
        geochat.generation.BackendError: If the back end fails; the answers so far are in the file.
    """
    rows, out = read_questions(questions), Path(out)
    if out.resolve() == Path(questions).resolve():
        raise InputError('the answers would be written over the questions: name another file')
    origin = {
        **inferencer.backend.origin,
        'settings': dataclasses.asdict(inferencer.settings),
        'stretch': inferencer.pictures.stretch,
        'images': str(Path(images).resolve()),
    }
    answers = AnswerFile(out, json.loads(json.dumps(origin)))
    answers.keep(rows)
    taken_over = len(answers.rows)
    todo = _by_pictures([row for row in rows if row.id not in answers.rows])
    with tqdm(total=len(rows), initial=taken_over, unit='questions', disable=not progress) as bar:
        for number, prediction in inferencer.predict(_prepared(inferencer, todo, Path(images))):
            told = {'error': str(prediction)} if isinstance(prediction, InputError) else prediction.to_dict()
            answers.add({**todo[number].told, **told})
            bar.update()
    answers.finish(rows)
    errors = {name: row['error'] for name, row in answers.rows.items() if 'error' in row}
    malformed = sum(row.get('malformed', False) for row in answers.rows.values())
    return BatchSummary(len(rows) - len(errors), taken_over, errors, malformed)


def _by_pictures(rows: list[QuestionRow]) -> list[QuestionRow]:
    """Put questions about the same pictures behind each other: they share the work on them."""
    firsts: dict[tuple[str, ...], int] = {}
    places = {row.id: firsts.setdefault(row.images, number) for number, row in enumerate(rows)}
    return sorted(rows, key=lambda row: places[row.id])


def _prepared(
    inferencer: GeoChatInferencer, rows: list[QuestionRow], folder: Path
) -> 'Iterator[Prepared | InputError]':
    for row in rows:
        pictures = tuple(name if '://' in name or name.startswith('data:') else folder / name for name in row.images)
        try:
            yield inferencer.prepare(Asked(pictures, row.query, row.task))
        except InputError as error:
            yield error
