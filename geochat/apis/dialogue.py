"""A dialogue about pictures that remembers both sides."""

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from PIL import Image

from geochat.apis.interpreter import Asked, Interpreter, SharedPicture
from geochat.structures import IMAGE_PLACEHOLDER, Message

if TYPE_CHECKING:
    from geochat.apis.inferencer import GeoChatInferencer
    from geochat.apis.interpreter import Prepared, Query
    from geochat.apis.predictions import Prediction
    from geochat.generation import GenerationSettings, Written


class History:
    """What was said about pictures, by both sides; who writes the answers is left open.

    Args:
        interpreter: Puts what is said into what the model takes, and reads the answers.
        images: The pictures, as :func:`~geochat.apis.pictures.read_picture` returns them.
        settings: How answers are written; None takes the interpreter's.

    Attributes:
        predictions: The answers so far. Each change makes another list, so that one that was kept can be put back.
    """

    def __init__(
        self,
        interpreter: Interpreter,
        images: Sequence[Image.Image],
        settings: 'GenerationSettings | None' = None,
    ):
        self.interpreter = interpreter
        self.images = tuple(images)
        self.settings = settings
        self.predictions: list[Prediction] = []

    @property
    def messages(self) -> tuple[Message, ...]:
        """What was said, user and assistant in turn; the pictures stand before the first words."""
        said = []
        for prediction in self.predictions:
            # A model may write the mark of a picture, and there is no picture there.
            answer = prediction.answer.replace(IMAGE_PLACEHOLDER, '')
            said += [Message('user', prediction.prompt), Message('assistant', answer)]
        return tuple(said)

    def prepare(
        self, question: 'Query', task: str = 'chat', settings: 'GenerationSettings | None' = None
    ) -> 'Prepared':
        """Put what is said next into what the model takes; nothing is remembered yet.

        Args:
            question: The user's words, or a query of the task.
            task: The task that puts it into words and reads the answer.
            settings: How the answer is written; None takes the dialogue's.

        Raises:
            InputError: If it cannot be asked.
        """
        return self.interpreter.prepare(Asked(self._shared, question, task, self.messages), settings or self.settings)

    def remember(self, prepared: 'Prepared', written: 'Written') -> 'Prediction':
        """Remember a turn of both sides, and return the answer as its task reads it."""
        prediction = self.interpreter.read(prepared, written)
        self.predictions = [*self.predictions, prediction]
        return prediction

    @functools.cached_property
    def _shared(self) -> tuple[SharedPicture, ...]:
        """The pictures, prepared for all turns when the first is: in the thread that does that."""
        return tuple(SharedPicture(image, self.interpreter.processor.prepare(image)) for image in self.images)

    def undo(self) -> None:
        """Forget the last turn of both sides, if there is one."""
        self.predictions = self.predictions[:-1]

    def clear(self) -> None:
        """Forget all that was said; the pictures stay."""
        self.predictions = []


class Dialogue(History):
    """A dialogue; :meth:`~geochat.apis.GeoChatInferencer.chat` begins one.

    What the model computed of the pictures is kept by the built-in engine, so a turn costs its words alone.

    Args:
        inferencer: Who answers.
        images: The pictures, as :func:`~geochat.apis.pictures.read_picture` returns them.
        settings: How answers are written; None takes the inferencer's.
    """

    def __init__(
        self,
        inferencer: 'GeoChatInferencer',
        images: Sequence[Image.Image],
        settings: 'GenerationSettings | None' = None,
    ):
        super().__init__(inferencer, images, settings)
        self.inferencer = inferencer

    def say(self, question: 'Query', task: str = 'chat', settings: 'GenerationSettings | None' = None) -> 'Prediction':
        """Say something and wait for the answer.

        Args:
            question: The user's words, or a query of the task.
            task: The task that puts it into words and reads the answer.
            settings: How the answer is written; None takes the dialogue's.

        Raises:
            InputError: If it cannot be asked, as when the dialogue has become longer than the model's context.
        """
        for _ in self.stream(question, task, settings):
            pass
        return self.predictions[-1]

    def stream(
        self, question: 'Query', task: str = 'chat', settings: 'GenerationSettings | None' = None
    ) -> Iterator[str]:
        """Say something and get the answer's text piece by piece; all pieces together are the answer.

        Once all have come, the last of :attr:`predictions` is the answer. A turn that is given up before is forgotten.
        The question is checked when the first piece is asked for. See :meth:`say`.
        """
        yield from self._write(self.prepare(question, task, settings))

    def _write(self, prepared: 'Prepared') -> Iterator[str]:
        backend = self.inferencer.backend
        answer = self.inferencer.submit(prepared, streamed=True)
        try:
            while answer.finish is None:
                backend.step()
                if piece := answer.take_text():
                    yield piece
            written = self.inferencer.result(answer)
            if piece := answer.take_text():  # of steps that others asked for
                yield piece
        finally:
            backend.cancel(answer)
        self.remember(prepared, written)
