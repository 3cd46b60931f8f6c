"""A benchmark's question, its ground truth, and a model's answer to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geochat.structures.grounded_text import GroundedText


@dataclass(frozen=True, eq=False)
class Question:
    """One question of a benchmark, before any template has put it into words.

    Attributes:
        id: Unique within the benchmark.
        images: Names of its pictures; empty for a question about text only.
        query: What the task prompt template renders, such as ``{'phrase': 'the red ship'}``.
        truth: Ground truth for the metrics: ``{'text': str}`` and/or ``{'boxes': (M, 5) array}`` in pixels of the
            original image, radians, clockwise on screen.
        groups: What scores are broken down by, such as ``{'size': 'small', 'type': 'refer'}``.
    """

    id: str
    images: tuple[str, ...]
    query: Mapping[str, Any]
    truth: Mapping[str, Any]
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ParsedAnswer:
    """What a task prompt template read from an answer.

    Attributes:
        text: The answer's words as the task wants them: a class, a word, a caption.
        boxes: float64 array (N, 5) in pixels of the original image, radians, clockwise on screen; None for a task
            whose answers have no boxes.
        grounded: The codec's full reading, where the task has boxes.
        malformed: True if the answer is not of the form that the task asks for.
        labels: The class of each box, for a task that asks for classes and boxes; None for others.
    """

    text: str
    boxes: np.ndarray | None = None
    grounded: GroundedText | None = None
    malformed: bool = False
    labels: tuple[str, ...] | None = None

    @property
    def box_labels(self) -> tuple[str, ...]:
        """The class of each box, or the phrase that it belongs to; empty for a box without one."""
        if self.labels is not None:
            return self.labels
        if self.grounded is not None:
            return self.grounded.box_labels
        return ('',) * (0 if self.boxes is None else len(self.boxes))


@dataclass(frozen=True, eq=False)
class Answer:
    """A model's answer to one question.

    Attributes:
        question: What was asked.
        prompt: The user's words as the model saw them.
        text: The model's words.
        parsed: What the task prompt template read from them.
        image_size: Width and height in pixels of the original image; None without a picture.
        tokens: How many tokens the model wrote; None if that is not known, as in a file of another program.
        log_prob: Sum of their natural log-probabilities; None if not known.
        box_scores: Confidence of each of the parsed boxes in [0, 1], the product of the probabilities of the tokens
            that it was read from; None if not known.
        error: Why there is no answer, such as a picture that is missing; None if there is one.
    """

    question: Question
    prompt: str
    text: str
    parsed: ParsedAnswer
    image_size: tuple[int, int] | None = None
    tokens: int | None = None
    log_prob: float | None = None
    box_scores: tuple[float, ...] | None = None
    error: str | None = None
