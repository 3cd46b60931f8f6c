"""Questions put into what a model takes, and what it wrote read by their tasks' own rules; who writes is left open."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from geochat.apis.errors import InputError
from geochat.apis.loading import Conventions
from geochat.apis.pictures import DEFAULT_SETTINGS, Picture, PictureSettings, read_picture
from geochat.apis.predictions import Prediction
from geochat.registry import known_names
from geochat.structures import IMAGE_PLACEHOLDER, Message, with_pictures

if TYPE_CHECKING:
    from geochat.generation import GenerationSettings, Written
    from geochat.generation.backend import Processor, Sample
    from geochat.prompts import TaskPrompt
    from geochat.structures import ParsedAnswer

Query = str | Mapping[str, Any]
"""A question: the words that its task asks for, or the task's own query such as ``{'classes': ['port', 'farm']}``."""

WORDS = ('question', 'phrase')
"""Keys of queries that a question in words alone fills."""


class SharedPicture(NamedTuple):
    """A picture that several questions are about; see :meth:`Interpreter.share`.

    Attributes:
        image: The picture, 8-bit RGB.
        prepared: What the processor has made of it.
    """

    image: Image.Image
    prepared: Any


@dataclass(frozen=True, eq=False)
class Asked:
    """A question as the user put it.

    Attributes:
        pictures: Its pictures; boxes lie on the first one.
        question: The question.
        task: The task that puts it into words and reads the answer.
        history: What was said before. The pictures stand before its first words.
    """

    pictures: tuple[Picture | SharedPicture, ...]
    question: Query
    task: str = 'chat'
    history: tuple[Message, ...] = ()


@dataclass(frozen=True, eq=False)
class Prepared:
    """A question as the model takes it.

    Attributes:
        task: Name of its task.
        query: The task's query.
        prompt: The user's words, without image placeholders.
        images: Its pictures.
        sample: What the processor has made of the dialogue and its pictures.
        settings: How the answer is to be written.
    """

    task: str
    query: Mapping[str, Any]
    prompt: str
    images: tuple[Image.Image, ...]
    sample: 'Sample'
    settings: 'GenerationSettings'

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Width and height in pixels of the first picture; None without one."""
        return self.images[0].size if self.images else None


def check_settings(settings: 'GenerationSettings | None', pictures: PictureSettings = DEFAULT_SETTINGS) -> None:
    """Refuse what are no settings, such as a plain dict of them.

    Raises:
        TypeError: If one is of another type.
    """
    from geochat.generation import GenerationSettings

    if not isinstance(settings, GenerationSettings | None):
        raise TypeError(f'settings is GenerationSettings(...), not a {type(settings).__name__}')
    if not isinstance(pictures, PictureSettings):
        raise TypeError(f'pictures is PictureSettings(...), not a {type(pictures).__name__}')


class Interpreter:
    """Stands between users and a model: puts questions into what it takes, and reads what it wrote.

    Args:
        assistant: The model's box language and tasks.
        processor: Prepares what the model is asked.
        settings: How answers are written unless a call says otherwise; None takes the likeliest tokens.
        pictures: What pictures are taken, and how.
    """

    def __init__(
        self,
        assistant: Conventions,
        processor: 'Processor',
        settings: 'GenerationSettings | None' = None,
        pictures: PictureSettings = DEFAULT_SETTINGS,
    ):
        from geochat.generation import GenerationSettings

        self.assistant, self.processor = assistant, processor
        self.settings = settings or GenerationSettings()
        self.pictures = pictures

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(self.assistant.task_prompts)

    def share(self, picture: Picture) -> SharedPicture:
        """Read and prepare a picture once for all questions about it: each would hold a copy of it otherwise.

        Raises:
            InputError: If it cannot be taken.
        """
        image = read_picture(picture, self.pictures)
        return SharedPicture(image, self.processor.prepare(image))

    def prepare(self, asked: Asked, settings: 'GenerationSettings | None' = None) -> Prepared:
        """Put a question into words, and into what the model takes.

        Raises:
            InputError: If it cannot be asked.
            TypeError: If the settings are none.
        """
        check_settings(settings)
        shown = [one if isinstance(one, SharedPicture) else self.share(one) for one in asked.pictures]
        images = tuple(one.image for one in shown)
        size = images[0].size if images else None
        prompt_of = self._task(asked.task)
        query = _checked_query(_as_query(asked.question, prompt_of), asked.task, size)
        if not query and frozenset() not in prompt_of.forms:
            needed = ' or '.join(' and '.join(sorted(form)) for form in prompt_of.forms) or 'text'
            raise InputError(f'the task {asked.task!r} needs {needed}')
        try:
            if size is None:
                prompt_of.parse('', self.assistant.box_codec, None)
            prompt = prompt_of.render(query, self.assistant.box_codec, size)
        except (TypeError, ValueError, AttributeError) as error:
            reason = f'the task {asked.task!r} needs a picture' if size is None else str(error)
            raise InputError(reason) from error
        if IMAGE_PLACEHOLDER in prompt:
            raise InputError(f'a question cannot have {IMAGE_PLACEHOLDER} in it, which stands for a picture')
        messages = [*asked.history, Message('user', prompt)]
        messages[0] = Message('user', with_pictures(messages[0].text, len(images)))
        sample = self.processor.prompt_sample(messages, [one.prepared for one in shown])
        return Prepared(asked.task, query, prompt, images, sample, settings or self.settings)

    def parse(self, prepared: Prepared, text: str) -> 'ParsedAnswer':
        """Read an answer's text, or what has come of it so far, as its task does."""
        codec = self.assistant.box_codec
        return self.assistant.task_prompts[prepared.task].parse(text, codec, prepared.image_size)

    def read(self, prepared: Prepared, written: 'Written') -> Prediction:
        """Read what the model wrote."""
        parsed = self.parse(prepared, written.text)
        prediction = Prediction(
            task=prepared.task,
            prompt=prepared.prompt,
            answer=written.text,
            text=parsed.text,
            image=prepared.images[0] if prepared.images else None,
            malformed=parsed.malformed,
            tokens=written.tokens,
            log_prob=written.log_prob,
            finish=written.finish,
        )
        return replace(prediction, **_boxes(prepared, parsed, written, prediction))

    def _task(self, name: str) -> 'TaskPrompt':
        prompts = self.assistant.task_prompts
        if name not in prompts:
            raise InputError(f'there is no task {name!r}; {known_names(str(name), prompts)}')
        return prompts[name]


def _boxes(prepared: Prepared, parsed: 'ParsedAnswer', written: 'Written', prediction: Prediction) -> dict[str, Any]:
    """Return the boxes that an answer is about, as a prediction has them: its own, or those of its question."""
    if parsed.boxes is not None:
        labels, scores = parsed.box_labels, written.box_scores(parsed.grounded.spans)
        if not any(labels) and 'phrase' in prepared.query:
            labels = (prepared.query['phrase'],) * len(labels)
        measures = {'box_scores': scores and scores.products, 'box_confidences': scores and scores.means}
        return {'boxes': parsed.boxes, 'labels': labels, 'grounded': parsed.grounded, **measures}
    boxes = prepared.query.get('boxes', ())
    if not len(boxes):
        return {}
    known = prediction.log_prob is not None
    return {
        'boxes': boxes,
        'labels': (parsed.text,) * len(boxes),
        'box_scores': (math.exp(prediction.log_prob),) * len(boxes) if known else None,
        'box_confidences': (prediction.confidence,) * len(boxes) if known else None,
    }


def _as_query(question: Query, prompt: 'TaskPrompt') -> Mapping[str, Any]:
    """Return the query of a question in words: the key that the task has for them, or ``text``."""
    if not isinstance(question, str):
        return question
    key = next((key for key in WORDS if frozenset({key}) in prompt.forms), 'text')
    return {key: question}


def _checked_query(query: Mapping[str, Any], task: str, size: tuple[int, int] | None) -> dict[str, Any]:
    """Return a query whose words are there and whose boxes lie on the picture.

    Raises:
        InputError: If it is no such query.
    """
    if not isinstance(query, Mapping):
        raise InputError(f'a question is words, or a dict of the task {task!r}, not {query!r}')
    checked = dict(query)
    for key, value in query.items():
        if key in ('text', *WORDS) and not isinstance(value, str):
            raise InputError(f'{key} is words, not {value!r}')
        if isinstance(value, str) and not value.strip():
            raise InputError('the question is empty' if key in ('text', *WORDS) else f'{key} is empty')
        if key in ('classes', 'options'):
            checked[key] = _checked_names(value, key)
        if key == 'boxes' and size is not None:
            checked[key] = as_boxes(value, size)
    return checked


def _checked_names(names: Any, key: str) -> list[str]:
    is_list = isinstance(names, Sequence) and not isinstance(names, str)
    if not is_list or not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(f'{key} is a list of names, none of them empty, not {names!r}')
    return list(names)


def as_boxes(boxes: Any, image_size: tuple[int, int]) -> np.ndarray:
    """Return a user's boxes as this project has them.

    Args:
        boxes: One or several: cx, cy, w, h in pixels and the angle in radians, clockwise on screen; or the left, top,
            right and bottom edge in pixels.
        image_size: Width and height in pixels of the picture.

    Returns:
        float64 array (N, 5).

    Raises:
        InputError: If they are no boxes, or one lies outside the picture.
    """
    try:
        rows = np.atleast_2d(np.asarray(boxes, dtype=np.float64))
    except (TypeError, ValueError):
        rows = np.zeros((0, 0))
    if rows.ndim != 2 or not len(rows) or rows.shape[1] not in (4, 5) or not np.isfinite(rows).all():
        raise InputError(
            f'a box is cx, cy, w, h in pixels and the angle in radians, or left, top, right, bottom; not {boxes!r}'
        )
    if rows.shape[1] == 4:
        low, high = rows[:, :2], rows[:, 2:]
        rows = np.column_stack([(low + high) / 2, high - low, np.zeros(len(rows))])
    for row in rows:
        if (row[2:4] <= 0).any():
            raise InputError(f'a box has a width and a height above 0, not {row[2]:g} x {row[3]:g}')
        if (row[:2] < 0).any() or (row[:2] > image_size).any():
            raise InputError(
                f'the centre ({row[0]:g}, {row[1]:g}) of a box is outside the picture of '
                f'{image_size[0]} x {image_size[1]} pixels'
            )
    return rows
