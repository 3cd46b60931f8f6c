"""What is asked of a model, and what it wrote."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from geochat.structures import IMAGE_TOKEN_INDEX

if TYPE_CHECKING:
    from geochat.models.vision_encoders import VisionEncoder

DEFAULT_MAX_NEW_TOKENS = 256
"""What the original's evaluation scripts allow for an answer."""


@dataclass(frozen=True)
class GenerationSettings:
    """How an answer is to be written.

    Attributes:
        max_new_tokens: Most tokens of the answer.
        temperature: What the logits are divided by before a token is drawn; 0 takes the likeliest.
        top_p: Of the tokens, the likeliest are drawn from that together have this much of the probability.
        seed: Of the random numbers; the same seed gives the same answer, whatever else is being written.
        num_beams: How many drafts are written at a time; the likeliest wins.
        stop: Texts that end the answer; they are no part of it.
        stop_at_box: True ends the answer after its first box.
        box_grammar: True lets a box that was opened only be continued to a well-formed one, and the answer not end
            before (but for ``max_new_tokens``). Log-probabilities are the model's own all the same.
    """

    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    num_beams: int = 1
    stop: tuple[str, ...] = ()
    stop_at_box: bool = False
    box_grammar: bool = False

    def __post_init__(self):
        for name, least in (('max_new_tokens', 0), ('seed', 0), ('num_beams', 1)):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < least:
                raise ValueError(f'{name} is a whole number from {least}, not {value!r}')
        for name, holds, rule in (
            ('temperature', lambda value: isinstance(value, Real) and 0 <= value < math.inf, 'a number from 0'),
            ('top_p', lambda value: isinstance(value, Real) and 0 < value <= 1, 'above 0 and at most 1'),
            ('stop', _are_texts, 'a tuple of texts, none of them empty'),
        ):
            if not holds(getattr(self, name)):
                raise ValueError(f'{name} is {rule}, not {getattr(self, name)!r}')
        if self.num_beams > 1 and self.temperature > 0:
            raise ValueError('an answer is drawn (temperature above 0) or searched for (num_beams above 1), not both')


def _are_texts(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(value, str) and value for value in values)


@dataclass(frozen=True, eq=False)
class Request:
    """A dialogue that the model is to go on with.

    Attributes:
        input_ids: int64 array (T,); :data:`IMAGE_TOKEN_INDEX` where a picture stands.
        pixels: Pictures (3, H, W), arrays or tensors, in the order of their tokens.
        image_keys: A name of each picture; equal names stand for equal pictures.
        settings: How the answer is to be written.
    """

    input_ids: np.ndarray
    pixels: Sequence[Any] = ()
    image_keys: Sequence[str] = ()
    settings: GenerationSettings = field(default_factory=GenerationSettings)

    def __post_init__(self):
        if not len(self.input_ids):
            raise ValueError('a request has at least one token')
        pictures = int((self.input_ids == IMAGE_TOKEN_INDEX).sum())
        if not pictures == len(self.pixels) == len(self.image_keys):
            raise ValueError(
                f'{pictures} image tokens stand in the request, but {len(self.pixels)} pictures came with it and '
                f'{len(self.image_keys)} names of pictures'
            )

    @classmethod
    def of_sample(cls, sample: Mapping[str, Any], settings: GenerationSettings | None = None) -> 'Request':
        """Make a request of what :meth:`~geochat.datasets.SampleProcessor.prompt_sample` prepared."""
        return cls(sample['input_ids'], sample['pixels'], sample['image_keys'], settings or GenerationSettings())

    def num_tokens(self, encoder: 'VisionEncoder') -> int:
        """Return how many tokens the LLM is given: of each picture its features, not the one token it stands at."""
        return len(self.input_ids) + sum(encoder.num_tokens(picture.shape[-1]) - 1 for picture in self.pixels)

    @property
    def shared_length(self) -> int:
        """How many tokens stand before and at the last picture, with at least one after them; 0 without a picture."""
        places = np.flatnonzero(self.input_ids[:-1] == IMAGE_TOKEN_INDEX)
        has_one_at_its_end = self.input_ids[-1] == IMAGE_TOKEN_INDEX
        return int(places[-1]) + 1 if len(places) and not has_one_at_its_end else 0

    def prefix_length(self, encoder: 'VisionEncoder') -> int:
        """Return how many tokens :attr:`shared_length` is for the LLM, which is given features for pictures."""
        behind = len(self.input_ids) - self.shared_length
        return self.num_tokens(encoder) - behind if self.shared_length else 0

    @functools.cached_property
    def prefix_key(self) -> tuple[bytes, tuple[str, ...]] | None:
        """What tells one shared beginning from another; None if there is nothing to share."""
        shared = self.shared_length
        return (np.ascontiguousarray(self.input_ids[:shared]).tobytes(), tuple(self.image_keys)) if shared else None


@dataclass(frozen=True)
class Generated:
    """What a model wrote.

    Attributes:
        ids: The token ids, without the one that ended the answer.
        log_probs: Natural log-probability of each of these tokens by the model, given all before it.
        finish: Why it ended: ``'end'`` (the model ended it), ``'length'`` (nothing more was allowed), ``'stop'``
            (one of the texts that stop it came), ``'box'`` (its first box was closed), ``'cancelled'`` or ``'failed'``
            (the model did, while it was being written).
        text: The text of the ids, without special tokens, white space around it, and what stopped it.
    """

    ids: list[int]
    log_probs: list[float]
    finish: str = 'length'
    text: str = ''
