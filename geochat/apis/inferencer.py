"""Questions about pictures, asked from Python: put into words, answered, and read by the task's own rules."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geochat.apis.errors import InputError
from geochat.apis.interpreter import Asked, Interpreter, Prepared, Query, SharedPicture, check_settings
from geochat.apis.loading import Assistant, Conventions, load_assistant, load_conventions
from geochat.apis.pictures import DEFAULT_SETTINGS, Picture, PictureSettings, read_picture
from geochat.apis.predictions import Prediction

if TYPE_CHECKING:
    import numpy as np

    from geochat.apis.dialogue import Dialogue
    from geochat.generation import Backend, GenerationSettings, Written
    from geochat.generation.backend import Writing


class GeoChatInferencer(Interpreter):
    """Asks a model about pictures.

    A picture is anything that :func:`~geochat.apis.pictures.read_picture` reads. Boxes are in pixels of the picture as
    it was given. Questions about the same picture share the work on it.

    Args:
        model: A model folder (ours, of the original GeoChat or LLaVA, or of Hugging Face's LLaVA), the work directory
            of a run, a config, or a loaded :class:`~geochat.apis.loading.Assistant`, which stays where and as it is.
            With a ``backend``, only its box language and tasks are read; None takes GeoChat's.
        checkpoint: The weights, for a config.
        cfg_options: Changes of the config: a dict of dotted keys, or ``KEY=VALUE`` texts.
        device: Such as ``'cuda:1'``; None takes a GPU if there is one.
        dtype: Of the weights, such as ``'bfloat16'``; None leaves them as the folder or config says.
        quantization: ``'8bit'`` or ``'4bit'``; see :func:`~geochat.apis.load_assistant`, as the next.
        device_map: Spreads the layers over several devices.
        batch_size: Most answers that are written at the same time.
        prefix_memory_mb: Most memory, in 2**20 bytes, for what is kept of pictures; None takes the engine's default.
        compile: True compiles the steps of an answer by ``torch.compile``, and writes one answer at a time whatever
            ``batch_size`` says: for single questions and dialogues on a GPU. The first answer waits for it.
        settings: How answers are written unless a call says otherwise; None takes the likeliest tokens.
        pictures: What pictures are taken, and how.
        backend: Who writes the answers instead of the engine in this process: a
            :class:`~geochat.generation.Backend`, or the settings of one, such as ``{'type': 'openai', 'base_url':
            'http://127.0.0.1:8000/v1'}``.

    Attributes:
        assistant: Box language, tasks and, without a ``backend``, the model.
        backend: Who writes the answers.

    Raises:
        FileNotFoundError: If there is no such folder or file, or the folder has no tokenizer.
        geochat.engine.ConfigError: If there is no model, a config comes without weights, the folder is of another kind,
            there is no such device or dtype, a setting of the engine comes with another back end, or one of loading
            (``checkpoint`` to ``device_map``) with a model that is loaded already.
        InputError: If the back end cannot write answers as ``settings`` say.
        TypeError: If ``settings`` or ``pictures`` is something else, such as a plain dict.
    """

    def __init__(
        self,
        model: str | Path | Conventions | None = None,
        checkpoint: str | Path | None = None,
        cfg_options: Sequence[str] | Mapping[str, Any] = (),
        device: str | None = None,
        dtype: str | None = None,
        quantization: str | None = None,
        device_map: str | Mapping[str, int | str] | None = None,
        batch_size: int = 32,
        prefix_memory_mb: float | None = None,
        compile: bool = False,
        settings: 'GenerationSettings | None' = None,
        pictures: PictureSettings = DEFAULT_SETTINGS,
        backend: 'Backend | Mapping[str, Any] | None' = None,
    ):
        from geochat.engine import ConfigError

        check_settings(settings, pictures)
        if backend is None and (model is None or type(model) is Conventions):
            raise ConfigError('name a model, or a backend that has one')
        placing = {'device': device, 'dtype': dtype, 'quantization': quantization, 'device_map': device_map}
        is_loaded = isinstance(model, Conventions)
        if is_loaded:
            _refuse_loading_settings(checkpoint=checkpoint, cfg_options=cfg_options or None, **placing)
        if backend is not None:
            own = {'checkpoint': checkpoint, 'prefix_memory_mb': prefix_memory_mb, 'compile': compile or None}
            _refuse_engine_settings(**own, **placing)
            assistant = model if is_loaded else load_conventions(model, cfg_options)
            self.backend = build_backend(backend, batch_size)
        else:
            assistant = model if is_loaded else load_assistant(model, checkpoint, cfg_options, **placing)
            self.backend = _engine(assistant, batch_size, prefix_memory_mb, compile)
        super().__init__(assistant, self.backend.processor, settings, pictures)
        try:
            self.backend.check(self.settings)
        except ValueError as error:
            raise InputError(str(error)) from error

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
        is_one = isinstance(questions, str | Mapping) or not isinstance(questions, Iterable)
        asked = None if is_one else list(questions)
        if shown is None:
            shown = [images] * (1 if asked is None else len(asked))
        asked = [questions] * len(shown) if asked is None else asked
        if len(shown) != len(asked):
            raise InputError(f'{len(shown)} pictures and {len(asked)} questions do not pair up')
        shared: dict[int, SharedPicture] = {}
        pairs = [
            Asked(tuple(self._share_once(one, shared) for one in _as_pictures(pictures)), question, task)
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
        self, image: Picture, box: 'Sequence[float] | np.ndarray', settings: 'GenerationSettings | None' = None
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

    def predict(self, questions: Iterable[Prepared | InputError]) -> Iterator[tuple[int, Prediction | InputError]]:
        """Answer questions as they come; those behind each other about one picture share the work on it.

        Args:
            questions: Questions, taken only as far as there is room for their answers; an error is passed through.

        Yields:
            The number of a question and its answer, or why it cannot be asked, in the order in which they are done.

        Raises:
            geochat.generation.BackendError: If the back end fails. The answers it has written by then have come.
        """
        open_questions: dict[Writing, tuple[int, Prepared]] = {}
        try:
            for number, prepared in enumerate(questions):
                if isinstance(prepared, InputError):
                    yield number, prepared
                    continue
                try:
                    open_questions[self.submit(prepared)] = number, prepared
                except InputError as error:
                    yield number, error
                while len(open_questions) >= 2 * self.backend.batch_size:
                    yield from self._done(open_questions)
            while open_questions:
                yield from self._done(open_questions)
        finally:
            for answer in open_questions:
                self.backend.cancel(answer)

    def submit(self, prepared: Prepared, streamed: bool = False) -> 'Writing':
        """Hand a question to the back end.

        Args:
            prepared: The question.
            streamed: True if the text of its answer will be taken piece by piece.

        Raises:
            InputError: If it is longer than the model's context, or its settings do not fit the back end's.
        """
        try:
            return self.backend.submit(prepared.sample, prepared.settings, streamed)
        except ValueError as error:
            raise InputError(str(error)) from error

    def result(self, answer: 'Writing') -> 'Written':
        """Return an answer that has ended.

        Raises:
            InputError: If it turned out that the question cannot be asked.
        """
        try:
            return self.backend.result(answer)
        except ValueError as error:
            raise InputError(str(error)) from error

    def _done(
        self, open_questions: dict['Writing', tuple[int, Prepared]]
    ) -> Iterator[tuple[int, Prediction | InputError]]:
        """Let the answers be written on, and yield those that have ended."""
        if all(answer.finish is None for answer in open_questions):
            self.backend.step()
        for answer in [answer for answer in open_questions if answer.finish is not None]:
            number, prepared = open_questions.pop(answer)
            try:
                yield number, self.read(prepared, self.result(answer))
            except InputError as error:
                yield number, error

    def _one(self, image: Picture, question: Query, task: str, settings: 'GenerationSettings | None') -> Prediction:
        return self(image, question, task, settings)[0]

    def _share_once(self, picture: Picture, shared: dict[int, SharedPicture]) -> SharedPicture:
        if id(picture) not in shared:
            shared[id(picture)] = self.share(picture)
        return shared[id(picture)]


def build_backend(backend: 'Backend | Mapping[str, Any]', batch_size: int) -> 'Backend':
    """Return a back end, built if its settings are given.

    Raises:
        geochat.engine.ConfigError: If there is no such back end, or it does not take a setting.
    """
    from geochat.engine import ConfigError
    from geochat.engine.config import build_part
    from geochat.registry import BACKENDS

    if not isinstance(backend, Mapping):
        return backend
    try:
        return build_part(BACKENDS, {'batch_size': batch_size, **backend}, 'backend')
    except (KeyError, TypeError) as error:
        raise ConfigError(f'backend: {error.args[0]}') from error


def _refuse_loading_settings(**settings: Any) -> None:
    from geochat.engine import ConfigError

    if given := [name for name, value in settings.items() if value is not None]:
        raise ConfigError(f'{", ".join(given)}: the model is loaded already; say so where it is loaded')


def _refuse_engine_settings(**settings: Any) -> None:
    from geochat.engine import ConfigError

    for name, value in settings.items():
        if value is not None:
            raise ConfigError(f'{name} is a setting of the built-in engine: leave it out, or leave the backend out')


def _engine(assistant: Assistant, batch_size: int, prefix_memory_mb: float | None, compile: bool) -> 'Backend':
    from geochat.engine import ConfigError
    from geochat.generation import EngineBackend

    memory = {} if prefix_memory_mb is None else {'prefix_memory_mb': prefix_memory_mb}
    size = 1 if compile else batch_size
    try:
        return EngineBackend(assistant.model, assistant.processor, assistant.box_codec, size, compile=compile, **memory)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _as_pictures(pictures: Picture | Sequence[Picture] | None) -> Sequence[Picture]:
    if pictures is None:
        return ()
    return pictures if isinstance(pictures, list | tuple) else (pictures,)
