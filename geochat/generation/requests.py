"""What is asked of a model, and what it wrote."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geochat.structures import IMAGE_TOKEN_INDEX

DEFAULT_MAX_NEW_TOKENS = 256
"""What the original's evaluation scripts allow for an answer."""


@dataclass(frozen=True)
class GenerationSettings:
    """How an answer is to be written.

    Attributes:
        max_new_tokens: Most tokens of the answer.
    """

    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS

    def __post_init__(self):
        if self.max_new_tokens < 0:
            raise ValueError(f'max_new_tokens is at least 0, not {self.max_new_tokens}')


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

    @property
    def shared_length(self) -> int:
        """How many tokens stand before and at the last picture, with at least one after them; 0 without a picture."""
        places = np.flatnonzero(self.input_ids[:-1] == IMAGE_TOKEN_INDEX)
        has_one_at_its_end = self.input_ids[-1] == IMAGE_TOKEN_INDEX
        return int(places[-1]) + 1 if len(places) and not has_one_at_its_end else 0

    @property
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
        finish: Why it ended: ``'end'`` (the model ended it) or ``'length'`` (nothing more was allowed).
    """

    ids: list[int]
    log_probs: list[float]
    finish: str = 'length'
