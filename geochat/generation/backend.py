"""Who writes answers: what every back end can do, and the one that is the engine in this process."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from geochat.generation.confidence import BoxScores, box_scores, token_ends
from geochat.generation.engine import DEFAULT_BATCH_SIZE, DEFAULT_PREFIX_MEMORY_MB, FAILED, GenerationEngine
from geochat.generation.requests import Generated, GenerationSettings, Request
from geochat.models.weights import weights_digest

if TYPE_CHECKING:
    from geochat.box_codecs import BoxCodec
    from geochat.datasets import SampleProcessor
    from geochat.generation.answers import AnswerInProgress
    from geochat.models import GeoChat

Sample = Mapping[str, Any]
"""A question as a back end's processor has prepared it."""


class BackendError(OSError):
    """A back end that does not answer as it should, whatever it is asked; the message says why."""


@dataclass(frozen=True, eq=False)
class Written:
    """An answer as every back end tells it.

    Attributes:
        text: The text, without white space around it.
        finish: Why it ended; see :class:`~geochat.generation.Generated`.
        tokens: How many tokens it has; None if that is not known.
        log_probs: Natural log-probability of each token; None if they are not known.
        ends: Tells, for each of these, how many characters the text has after it, int64 array (T,); or None.
    """

    text: str
    finish: str
    tokens: int | None = None
    log_probs: Sequence[float] | None = None
    ends: Callable[[], np.ndarray | None] = lambda: None

    @classmethod
    def of(cls, generated: Generated, tokenizer: Any) -> 'Written':
        """Return what the engine generated, given the tokenizer."""
        ids = generated.ids
        return cls(generated.text, generated.finish, len(ids), generated.log_probs, lambda: token_ends(ids, tokenizer))

    @property
    def log_prob(self) -> float | None:
        """Natural log-probability of the whole answer; None if it is not known."""
        return None if self.log_probs is None else float(sum(self.log_probs))

    def box_scores(self, spans: np.ndarray) -> BoxScores | None:
        """Tell how sure the model was of each box, given the characters it was read from; see :func:`box_scores`.

        None if the log-probabilities are not known, or not which characters they are of.
        """
        if not len(spans):
            return BoxScores()
        ends = None if self.log_probs is None else self.ends()
        return None if ends is None else box_scores(spans, ends, self.log_probs)


class Writing(Protocol):
    """An answer that is being written.

    Attributes:
        finish: Why it ended; None while it is being written.
    """

    finish: str | None

    def take_text(self) -> str:
        """Return the text that has come since the last call; all pieces together are the answer's text."""


class Processor(Protocol):
    """What puts questions into the form that a back end takes; in other processes too."""

    def prepare(self, image: Any) -> Any:
        """Prepare a picture, RGB, that several questions show."""

    def prompt_sample(self, messages: Sequence[Any], images: Sequence[Any]) -> Sample:
        """Prepare a dialogue that the model is to go on with; see :class:`~geochat.datasets.SampleProcessor`."""


class Backend(ABC):
    """Writes answers, many at a time.

    Attributes:
        batch_size: Most answers that are written at the same time.
        processor: Prepares what is asked.
    """

    batch_size: int
    processor: Processor

    @property
    @abstractmethod
    def origin(self) -> dict[str, str]:
        """What the answers depend on beside questions and settings, as plain values that a file may hold."""

    @abstractmethod
    def check(self, settings: GenerationSettings) -> None:
        """Refuse settings that no answer can be written with.

        Raises:
            ValueError: If there are such.
        """

    @abstractmethod
    def submit(self, sample: Sample, settings: GenerationSettings, streamed: bool = False) -> Writing:
        """Let an answer be written.

        Args:
            sample: What was prepared.
            settings: How it is to be written.
            streamed: True if its text will be taken piece by piece; else the pieces may come all at the end.

        Raises:
            ValueError: If the question cannot be asked, or not with these settings.
        """

    @abstractmethod
    def step(self) -> None:
        """Wait until there is something new of the answers that are being written, if there are any.

        Raises:
            BackendError: If they cannot be written. Those that have ended before stay.
        """

    @abstractmethod
    def cancel(self, answer: Writing) -> None:
        """End an answer where it is."""

    @abstractmethod
    def result(self, answer: Writing) -> Written:
        """Return an answer that has ended.

        Raises:
            ValueError: If it turned out that the question cannot be asked.
            BackendError: If it could not be written, and another step has told so.
        """

    def generate(self, samples: Sequence[Sample], settings: GenerationSettings) -> list[Written | ValueError]:
        """Answer questions.

        Returns:
            Each one's answer, or why it cannot be asked, in their order.

        Raises:
            BackendError: If the answers cannot be written.
        """
        answers = [_or_refusal(self.submit, sample, settings) for sample in samples]
        writing = [answer for answer in answers if not isinstance(answer, ValueError)]
        try:
            while any(answer.finish is None for answer in writing):
                self.step()
        finally:
            for answer in writing:
                self.cancel(answer)
        return [one if isinstance(one, ValueError) else _or_refusal(self.result, one) for one in answers]


def _or_refusal(work: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return work(*arguments)
    except ValueError as error:
        return error


class EngineBackend(Backend):
    """The engine in this process.

    Args:
        model: The model, in evaluation mode.
        processor: Its sample processor.
        box_codec: Its box language; None if no setting asks for it.
        batch_size: See :class:`~geochat.generation.GenerationEngine`, as the next.
        prefix_memory_mb: Most memory for what is kept of pictures.
        compile: True writes one answer at a time, by compiled steps.

    Attributes:
        engine: The engine.
    """

    def __init__(
        self,
        model: 'GeoChat',
        processor: 'SampleProcessor',
        box_codec: 'BoxCodec | None' = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        prefix_memory_mb: float = DEFAULT_PREFIX_MEMORY_MB,
        compile: bool = False,
    ):
        settings = {'prefix_memory_mb': prefix_memory_mb, 'box_codec': box_codec, 'compile': compile}
        self.engine = GenerationEngine(model, batch_size, **settings)
        self.processor, self.batch_size = processor, batch_size

    @property
    def origin(self) -> dict[str, str]:
        """The weights as they are in memory."""
        return {'weights': weights_digest(self.engine.model)}

    def check(self, settings: GenerationSettings) -> None:
        """Refuse settings that do not fit the engine's; see :meth:`Backend.check`."""
        self.engine.check_settings(settings)

    def submit(self, sample: Sample, settings: GenerationSettings, streamed: bool = False) -> 'AnswerInProgress':
        """Hand a question to the engine; see :meth:`Backend.submit`."""
        return self.engine.submit(Request.of_sample(sample, settings))

    def step(self) -> None:
        """Write the next token of all answers."""
        if not self.engine.idle:
            self.engine.step()

    def cancel(self, answer: 'AnswerInProgress') -> None:
        """End an answer where it is."""
        self.engine.cancel(answer)

    def result(self, answer: 'AnswerInProgress') -> Written:
        """Return an answer that has ended; see :meth:`Backend.result`."""
        if answer.finish == 'failed':
            raise BackendError(FAILED)
        return Written.of(answer.result, self.processor.tokenizer)

    def generate(self, samples: Sequence[Sample], settings: GenerationSettings) -> list[Written | ValueError]:
        """Answer questions, those that begin alike together; see :meth:`Backend.generate`."""
        requests = [Request.of_sample(sample, settings) for sample in samples]
        refusals = [_or_refusal(self.engine.check, request) for request in requests]
        asked = [request for request, refusal in zip(requests, refusals, strict=True) if refusal is None]
        answers = iter(self.engine.generate(asked))
        tokenizer = self.processor.tokenizer
        return [refusal or Written.of(next(answers), tokenizer) for refusal in refusals]
