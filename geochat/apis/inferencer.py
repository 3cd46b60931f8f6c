"""Questions about pictures, asked from Python: put into words, answered, and read by the task's own rules."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from geochat.apis.errors import InputError
from geochat.apis.loading import Assistant, load_assistant
from geochat.apis.pictures import DEFAULT_SETTINGS, Picture, PictureSettings, read_picture
from geochat.apis.predictions import Prediction
from geochat.registry import near_misses
from geochat.structures import IMAGE_PLACEHOLDER, Message, with_pictures

if TYPE_CHECKING:
    from geochat.apis.dialogue import Dialogue
    from geochat.generation import AnswerInProgress, Generated, GenerationSettings, Request
    from geochat.prompts import TaskPrompt

Query = str | Mapping[str, Any]
"""A question: the words that its task asks for, or the task's own query such as ``{'classes': ['port', 'farm']}``."""

WORDS = ('question', 'phrase')
"""Keys of queries that a question in words alone fills."""


@dataclass(frozen=True, eq=False)
class Asked:
    """A question as the user put it.

    Attributes:
        pictures: Its pictures; boxes lie on the first one.
        question: The question.
        task: The task that puts it into words and reads the answer.
        history: What was said before. The pictures stand before its first words.
    """

    pictures: tuple[Picture, ...]
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
        request: What the engine is asked.
    """

    task: str
    query: Mapping[str, Any]
    prompt: str
    images: tuple[Image.Image, ...]
    request: 'Request'

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Width and height in pixels of the first picture; None without one."""
        return self.images[0].size if self.images else None


class GeoChatInferencer:
    """Asks a model about pictures.

    A picture is anything that :func:`~geochat.apis.pictures.read_picture` reads. Boxes are in pixels of the picture as
    it was given. Questions about the same picture share the work on it.

    Args:
        model: A model folder (ours, of the original GeoChat or LLaVA, or of Hugging Face's LLaVA), the work directory
            of a run, a config, or a loaded :class:`~geochat.apis.loading.Assistant`.
        checkpoint: The weights, for a config.
        cfg_options: Changes of the config: a dict of dotted keys, or ``KEY=VALUE`` texts.
        device: Such as ``'cuda:1'``; None takes a GPU if there is one.
        dtype: Of the weights, such as ``'bfloat16'``; None leaves them as the folder or config says.
        batch_size: Most answers that are written at the same time.
        prefix_memory_mb: Most memory, in 2**20 bytes, for what is kept of pictures; None takes the engine's default.
        settings: How answers are written unless a call says otherwise; None takes the likeliest tokens.
        pictures: What pictures are taken, and how.

    Raises:
        FileNotFoundError: If there is no such folder or file, or the folder has no tokenizer.
        geochat.engine.ConfigError: If a config comes without weights, the folder is of another kind, or there is no
            such device or dtype.
    """

    def __init__(
        self,
        model: str | Path | Assistant,
        checkpoint: str | Path | None = None,
        cfg_options: Sequence[str] | Mapping[str, Any] = (),
        device: str | None = None,
        dtype: str | None = None,
        batch_size: int = 32,
        prefix_memory_mb: float | None = None,
        settings: 'GenerationSettings | None' = None,
        pictures: PictureSettings = DEFAULT_SETTINGS,
    ):
        from geochat.generation import GenerationEngine, GenerationSettings

        loaded = isinstance(model, Assistant)
        self.assistant = model if loaded else load_assistant(model, checkpoint, cfg_options, device, dtype)
        memory = {} if prefix_memory_mb is None else {'prefix_memory_mb': prefix_memory_mb}
        self.engine = GenerationEngine(self.assistant.model, batch_size, box_codec=self.assistant.box_codec, **memory)
        self.settings = settings or GenerationSettings()
        self.pictures = pictures

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(self.assistant.task_prompts)

    def __call__(
        self,
        images: Picture | Sequence[Picture | Sequence[Picture] | None] | None,
        questions: Query | Sequence[Query],
        task: str = 'chat',
        settings: 'GenerationSettings | None' = None,
    ) -> list[Prediction]:
        """Answer questions.

        Args:
            images: A picture that all questions are about, or a list: of each question its picture, its pictures, or
                None.
            questions: A question that is asked about each picture, or a list.
            task: The task; ``'chat'`` asks in the user's own words.
            settings: How the answers are written; None takes the inferencer's.

        Returns:
            The answers, in the order of the questions.

        Raises:
            InputError: If a question cannot be asked; nothing is answered then.
        """
        shown = list(images) if isinstance(images, list | tuple) else None
        asked = None if isinstance(questions, str | Mapping) else list(questions)
        if shown is None:
            shown = [images] * (1 if asked is None else len(asked))
        asked = [questions] * len(shown) if asked is None else asked
        if len(shown) != len(asked):
            raise InputError(f'{len(shown)} pictures and {len(asked)} questions do not pair up')
        read: dict[int, Image.Image] = {}
        pairs = [
            Asked(tuple(self._read_once(one, read) for one in _as_pictures(pictures)), question, task)
            for pictures, question in zip(shown, asked, strict=True)
        ]
        predictions = {}
        for number, prediction in self.predict([self.prepare(pair, settings) for pair in pairs]):
            if isinstance(prediction, InputError):
                raise prediction
            predictions[number] = prediction
        return [predictions[number] for number in range(len(pairs))]

    def ask(self, image: Picture, question: str, settings: 'GenerationSettings | None' = None) -> Prediction:
        """Ask a question with a short answer: a number, yes or no, a word."""
        return self._one(image, question, 'vqa', settings)

    def refer(self, image: Picture, phrase: str, settings: 'GenerationSettings | None' = None) -> Prediction:
        """Ask where something is, such as ``'the red ship'``: its boxes."""
        return self._one(image, phrase, 'refer', settings)

    def ground(
        self, image: Picture, phrase: str | None = None, settings: 'GenerationSettings | None' = None
    ) -> Prediction:
        """Ask for a description whose phrases have boxes, or for all boxes of a phrase."""
        return self._one(image, {} if phrase is None else phrase, 'grounding', settings)

    def describe(self, image: Picture, settings: 'GenerationSettings | None' = None) -> Prediction:
        """Ask for a description of the picture."""
        return self._one(image, {}, 'caption', settings)

    def identify(
        self, image: Picture, box: Sequence[float] | np.ndarray, settings: 'GenerationSettings | None' = None
    ) -> Prediction:
        """Ask what stands in a box.

        Args:
            image: The picture.
            box: cx, cy, w, h in pixels and the angle in radians, clockwise on screen; or, of an upright box, its left,
                top, right and bottom edge in pixels.
            settings: How the answer is written; None takes the inferencer's.
        """
        return self._one(image, {'boxes': box}, 'identify', settings)

    def classify(
        self, image: Picture, classes: Sequence[str], settings: 'GenerationSettings | None' = None
    ) -> Prediction:
        """Ask which of some classes the picture shows. The model may say something else: see ``text``."""
        return self._one(image, {'classes': classes}, 'scene', settings)

    def chat(
        self, images: Picture | Sequence[Picture] | None = None, settings: 'GenerationSettings | None' = None
    ) -> 'Dialogue':
        """Begin a dialogue about a picture, about several, or about none."""
        from geochat.apis.dialogue import Dialogue

        pictures = [read_picture(picture, self.pictures) for picture in _as_pictures(images)]
        return Dialogue(self, pictures, settings)

    def prepare(self, asked: Asked, settings: 'GenerationSettings | None' = None) -> Prepared:
        """Put a question into words, and into what the model takes.

        Raises:
            InputError: If it cannot be asked.
        """
        from geochat.generation import Request

        images = tuple(read_picture(picture, self.pictures) for picture in asked.pictures)
        size = images[0].size if images else None
        prompt_of = self._task(asked.task)
        query = _checked_query(_as_query(asked.question, prompt_of), asked.task, size)
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
        sample = self.assistant.processor.prompt_sample(messages, images)
        return Prepared(asked.task, query, prompt, images, Request.of_sample(sample, settings or self.settings))

    def predict(self, questions: Iterable[Prepared | InputError]) -> Iterator[tuple[int, Prediction | InputError]]:
        """Answer questions as they come; those behind each other about one picture share the work on it.

        Args:
            questions: Questions, taken only as far as there is work for the engine; an error is passed through.

        Yields:
            The number of a question and its answer, or why it cannot be asked, in the order in which they are done.
        """
        open_questions: dict[AnswerInProgress, tuple[int, Prepared]] = {}
        try:
            for number, prepared in enumerate(questions):
                if isinstance(prepared, InputError):
                    yield number, prepared
                    continue
                try:
                    open_questions[self.submit(prepared)] = number, prepared
                except InputError as error:
                    yield number, error
                while len(open_questions) >= 2 * self.engine.batch_size:
                    yield from self._done(open_questions)
            while open_questions:
                yield from self._done(open_questions)
        finally:
            for answer in open_questions:
                self.engine.cancel(answer)

    def submit(self, prepared: Prepared) -> 'AnswerInProgress':
        """Hand a question to the engine.

        Raises:
            InputError: If it is longer than the model's context, or its settings do not fit the engine's.
        """
        try:
            return self.engine.submit(prepared.request)
        except ValueError as error:
            raise InputError(str(error)) from error

    def read(self, prepared: Prepared, generated: 'Generated') -> Prediction:
        """Read what the model wrote."""
        from geochat.generation import box_scores, token_ends

        codec = self.assistant.box_codec
        parsed = self.assistant.task_prompts[prepared.task].parse(generated.text, codec, prepared.image_size)
        boxes = {}
        if parsed.boxes is not None:
            ends = token_ends(generated.ids, self.assistant.processor.tokenizer)
            labels = parsed.box_labels
            if not any(labels) and 'phrase' in prepared.query:
                labels = (prepared.query['phrase'],) * len(labels)
            scores = box_scores(parsed.grounded.spans, ends, generated.log_probs)
            boxes = {'boxes': parsed.boxes, 'labels': labels, 'box_scores': scores, 'grounded': parsed.grounded}
        return Prediction(
            task=prepared.task,
            prompt=prepared.prompt,
            answer=generated.text,
            text=parsed.text,
            image=prepared.images[0] if prepared.images else None,
            malformed=parsed.malformed,
            tokens=len(generated.ids),
            log_prob=float(sum(generated.log_probs)),
            finish=generated.finish,
            **boxes,
        )

    def _done(self, open_questions: dict['AnswerInProgress', tuple[int, Prepared]]) -> Iterator[tuple[int, Prediction]]:
        """Write the next tokens, and yield the answers that have ended."""
        if not self.engine.idle:
            self.engine.step()
        for answer in [answer for answer in open_questions if answer.finish is not None]:
            number, prepared = open_questions.pop(answer)
            yield number, self.read(prepared, answer.result)

    def _one(self, image: Picture, question: Query, task: str, settings: 'GenerationSettings | None') -> Prediction:
        return self(image, question, task, settings)[0]

    def _task(self, name: str) -> 'TaskPrompt':
        prompts = self.assistant.task_prompts
        if name not in prompts:
            near = near_misses(str(name), prompts) or sorted(prompts)
            raise InputError(f'there is no task {name!r}; there are {", ".join(near)}')
        return prompts[name]

    def _read_once(self, picture: Picture, read: dict[int, Image.Image]) -> Image.Image:
        if id(picture) not in read:
            read[id(picture)] = read_picture(picture, self.pictures)
        return read[id(picture)]


def _as_pictures(pictures: Picture | Sequence[Picture] | None) -> Sequence[Picture]:
    if pictures is None:
        return ()
    return pictures if isinstance(pictures, list | tuple) else (pictures,)


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
