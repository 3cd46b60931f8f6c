"""The rows of a batch: what the LLM has computed of each answer, and how the next token is computed."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from geochat.generation.answers import AnswerInProgress
from geochat.generation.requests import Request
from geochat.models.prefix_attention import Prefix, PrefixSpan

if TYPE_CHECKING:
    from geochat.models import GeoChat


class Rows:
    """The answers of a batch as rows of tensors: what the LLM has computed of each, and what comes next.

    Args:
        model: The model.

    Attributes:
        answers: The answer of each row; those with the same prefix stand together, the drafts of an answer in order.
        logits: (R, vocabulary) float32, of the token that comes next.
    """

    def __init__(self, model: 'GeoChat'):
        self.model = model
        self.clear()

    def clear(self) -> None:
        """Drop all rows."""
        self.answers: list[AnswerInProgress] = []
        self.logits = self._next_ids = self._cache = self._mask = self._positions = None

    def prefix_of(self, request: Request) -> Prefix:
        """Compute keys and values of what stands before and at a request's pictures."""
        llm = self.model.llm
        embeds, mask = self._embed([request.input_ids[: request.shared_length]], [request])
        cache = llm.new_cache()
        needed = torch.zeros_like(mask)
        needed[:, -1] = True
        llm.hidden_states(embeds, mask, torch.arange(mask.shape[1], device=mask.device)[None], cache, needed)
        return Prefix(tuple(layer.keys for layer in cache.layers), tuple(layer.values for layer in cache.layers))

    def join(self, answers: Sequence[AnswerInProgress]) -> None:
        """Compute the requests of answers, their prefixes aside, and let them join the batch."""
        llm = self.model.llm
        starts = [answer.request.shared_length if answer.prefix else 0 for answer in answers]
        ids = [answer.request.input_ids[start:] for answer, start in zip(answers, starts, strict=True)]
        embeds, mask = self._embed(ids, [answer.request for answer in answers if answer.prefix is None])
        before = torch.tensor([len(answer.prefix or ()) for answer in answers], device=mask.device)
        positions = (mask.long().cumsum(1) - 1).clamp(min=0) + before[:, None]
        cache, needed = llm.new_cache(), torch.zeros_like(mask)
        needed[:, -1] = True
        states = llm.hidden_states(embeds, mask, positions, cache, needed, prefix_spans(answers))
        logits, ends = llm.logits(states[:, -1]), positions[:, -1]
        if self.answers:
            cache = _joined(self._cache, cache)
            size = max(self._mask.shape[1], mask.shape[1])
            mask = torch.cat([nn.functional.pad(part, (size - part.shape[1], 0)) for part in (self._mask, mask)])
            logits, ends = torch.cat([self.logits, logits]), torch.cat([self._positions, ends])
        self.answers = [*self.answers, *answers]
        self._cache, self._mask, self.logits, self._positions = cache, mask, logits, ends
        self._put_prefixes_together()

    def forward(self) -> None:
        """Compute the tokens that were chosen."""
        if not self.answers:
            return
        llm = self.model.llm
        self._mask = nn.functional.pad(self._mask, (0, 1), value=True)
        self._positions = self._positions + 1
        embeds = llm.embed(self._next_ids)[:, None]
        spans = prefix_spans(self.answers)
        states = llm.hidden_states(embeds, self._mask, self._positions[:, None], self._cache, prefixes=spans)
        self.logits, self._next_ids = llm.logits(states[:, -1]), None

    def choose(self, tokens: Sequence[int]) -> None:
        """Tell the next token of each row."""
        if tokens:
            self._next_ids = torch.tensor(tokens, device=self._mask.device)

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only some rows, in the order given; a row may be named several times."""
        if list(rows) == list(range(len(self.answers))):
            return
        if not rows:
            self.clear()
            return
        self.answers = [self.answers[row] for row in rows]
        index = torch.tensor(rows, device=self._mask.device)
        self._cache.reorder_cache(index)
        self._mask, self._positions = self._mask[index], self._positions[index]
        self.logits = self.logits[index]
        self._next_ids = None if self._next_ids is None else self._next_ids[index]
        if self.model.llm.can_share_prefixes:
            self._drop_padding()

    def _drop_padding(self) -> None:
        """Drop what is padding in all rows: a batch that others join again and again would grow without end."""
        first = int(self._mask.any(0).byte().argmax())
        if first:
            self._mask = self._mask[:, first:]
            for layer in self._cache.layers:
                layer.keys, layer.values = layer.keys[:, :, first:], layer.values[:, :, first:]

    def _put_prefixes_together(self) -> None:
        firsts: dict[int, int] = {}
        places = [firsts.setdefault(id(answer.prefix), row) for row, answer in enumerate(self.answers)]
        self.keep(sorted(range(len(places)), key=places.__getitem__))

    def _embed(self, rows: Sequence[np.ndarray], pictured: Sequence[Request]) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed rows of ids, padded on the left, with the pictures of some requests in the place of their tokens."""
        device = next(self.model.llm.parameters()).device
        size = max(map(len, rows))
        ids = torch.zeros(len(rows), size, dtype=torch.int64)
        mask = torch.zeros(len(rows), size, dtype=torch.bool)
        for number, row in enumerate(rows):
            ids[number, size - len(row) :] = torch.as_tensor(row)
            mask[number, size - len(row) :] = True
        distinct = {}
        for request in pictured:
            distinct.update(zip(request.image_keys, request.pixels, strict=True))
        features = None
        if distinct:
            pixels = torch.stack([torch.as_tensor(picture) for picture in distinct.values()]).to(device)
            names = {key: row for row, key in enumerate(distinct)}
            index = [names[key] for request in pictured for key in request.image_keys]
            features = self.model.encode_images(pixels, torch.tensor(index, device=device))
        embeds, mask, *_ = self.model.splice(ids.to(device), mask.to(device), features, padding='left')
        return embeds, mask


def prefix_spans(answers: Sequence[AnswerInProgress]) -> list[PrefixSpan]:
    """Tell which rows of a batch have which prefix before them."""
    spans, start = [], 0
    for _, group in itertools.groupby(answers, key=lambda answer: id(answer.prefix)):
        members = list(group)
        if members[0].prefix is not None:
            spans.append(PrefixSpan(start, start + len(members), members[0].prefix))
        start += len(members)
    return spans


def _joined(first: Any, second: Any) -> Any:
    """Put the rows of one cache below those of another, both ending at the same place."""
    for above, below in zip(first.layers, second.layers, strict=True):
        size = max(above.get_seq_length(), below.get_seq_length())
        for name in ('keys', 'values'):
            parts = [getattr(layer, name) for layer in (above, below)]
            padded = [nn.functional.pad(part, (0, 0, size - part.shape[2], 0)) for part in parts]
            setattr(above, name, torch.cat(padded))
    return first
