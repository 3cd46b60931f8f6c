"""One answer at a time on keys and values of a fixed size, so that what a token takes is compiled once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from geochat.generation.rows import Rows, prefix_spans

if TYPE_CHECKING:
    from geochat.generation.answers import AnswerInProgress
    from geochat.models import GeoChat

SIZE_STEP = 256
"""Room for keys and values is a multiple of so many tokens: each other size is compiled anew."""


class FixedRow(Rows):
    """A batch of one answer, whose steps the LLM has compiled.

    The question is computed as in any batch; its keys and values then move into a cache that has room for all of the
    answer, and stay there. What a step computes has the same shape for each token.

    Args:
        model: The model; its LLM can share prefixes.

    Raises:
        ValueError: If it cannot.
    """

    def __init__(self, model: 'GeoChat'):
        super().__init__(model)
        if not model.llm.can_share_prefixes:
            raise ValueError("compiled steps need an LLM of full attention in all layers; this one's is not")
        self._fixed, self._size = None, 0
        self._place = 0

    def join(self, answers: 'Sequence[AnswerInProgress]') -> None:
        """Compute the request of the one answer, and make room for what it will have."""
        super().join(answers)
        own, length = self._cache, self._mask.shape[1]
        size = -(-(length + answers[0].room) // SIZE_STEP) * SIZE_STEP
        if size != self._size:  # a program serves all caches of its size, so none of another size is kept
            self._fixed, self._size = self.model.llm.new_cache(size), size
        self._cache = self._fixed
        self._cache.reset()
        for index, layer in enumerate(own.layers):
            self._cache.update(layer.keys, layer.values, index)
        self._mask = nn.functional.pad(self._mask, (0, size - length))
        self._place = length

    def forward(self) -> None:
        """Compute the token that was chosen."""
        if not self.answers:
            return
        llm = self.model.llm
        self._mask[:, self._place] = True
        self._place += 1
        self._positions = self._positions + 1
        embeds, spans = llm.embed(self._next_ids)[:, None], prefix_spans(self.answers)
        states = llm.hidden_states(embeds, self._mask, self._positions[:, None], self._cache, prefixes=spans)
        self.logits, self._next_ids = llm.logits(states[:, -1]), None
