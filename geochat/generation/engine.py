"""The engine that writes all answers: many at a time, those about one picture on the same keys and values of it."""

import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from geochat.generation.prefixes import PrefixStore
from geochat.generation.requests import DEFAULT_MAX_NEW_TOKENS, Generated, GenerationSettings, Request
from geochat.models.prefix_attention import Prefix, PrefixSpan
from geochat.structures import IMAGE_TOKEN_INDEX

if TYPE_CHECKING:
    from geochat.models import GeoChat

DEFAULT_BATCH_SIZE = 32
DEFAULT_PREFIX_MEMORY_MB = 1024
"""A picture of GeoChat-7B, 1,296 tokens in half precision, takes 680."""


class Answer:
    """An answer that is being written.

    Attributes:
        request: What was asked.
        room: How many tokens it may have.
        prefix: What stands before its row; None where the row is whole.
        ids: The tokens so far.
        log_probs: Their log-probabilities.
        finish: Why it ended, see :class:`Generated`; None while it is being written.
    """

    def __init__(self, request: Request, room: int):
        self.request, self.room = request, room
        self.prefix: Prefix | None = None
        self.ids: list[int] = []
        self.log_probs: list[float] = []
        self.finish: str | None = None

    @property
    def result(self) -> Generated:
        """The finished answer."""
        return Generated(self.ids, self.log_probs, self.finish)

    def add(self, token: int, log_prob: float, stop_ids: Sequence[int]) -> None:
        """Take the next token, and end if it is one that ends answers or the last that is allowed."""
        if token in stop_ids:
            self.finish = 'end'
            return
        self.ids.append(token)
        self.log_probs.append(log_prob)
        if len(self.ids) == self.room:
            self.finish = 'length'


class GenerationEngine:
    """Writes answers in batches that others join and leave at any time; each is what the model would say alone.

    What stands before and at a request's pictures is computed once for all requests that begin so, and its keys and
    values serve them all; see :mod:`geochat.models.prefix_attention`. An LLM whose attention does not allow that
    computes each request whole, and a batch is finished before the next one begins.

    Args:
        model: The model, in evaluation mode.
        batch_size: Most answers that are written at the same time.
        share_prefixes: False computes each request whole.
        prefix_memory_mb: Most memory, in 2**20 bytes, for keys and values that are kept for later requests; those used
            last stay. The one used last is kept in any case, and a batch holds those of its own requests.
    """

    def __init__(
        self,
        model: 'GeoChat',
        batch_size: int = DEFAULT_BATCH_SIZE,
        share_prefixes: bool = True,
        prefix_memory_mb: float = DEFAULT_PREFIX_MEMORY_MB,
    ):
        if batch_size < 1:
            raise ValueError(f'batch_size is at least 1, not {batch_size}')
        self.model = model
        self.batch_size = batch_size
        self.share_prefixes = share_prefixes and model.llm.can_share_prefixes
        self.prefixes = PrefixStore(int(prefix_memory_mb * 2**20))
        self._waiting: deque[Answer] = deque()
        self._rows = Rows(model)

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        """Answer requests.

        Args:
            requests: In any order; those that begin alike are answered together.

        Returns:
            The answers, in the order of the requests.

        Raises:
            ValueError: If a request is longer than the LLM's context; nothing is answered then.
        """
        answers = [self._answer(request) for request in requests]
        firsts: dict[Any, int] = {}
        places = [firsts.setdefault(_begin(request, number), number) for number, request in enumerate(requests)]
        for number in sorted(range(len(requests)), key=places.__getitem__):
            self._queue(answers[number])
        while any(answer.finish is None for answer in answers):
            self.step()
        return [answer.result for answer in answers]

    def submit(self, request: Request) -> Answer:
        """Let a request wait for the next step.

        Returns:
            The answer, which :meth:`step` writes on.

        Raises:
            ValueError: If the request is longer than the LLM's context.
        """
        answer = self._answer(request)
        self._queue(answer)
        return answer

    def cancel(self, answer: Answer) -> None:
        """End an answer where it is, with ``finish='cancelled'``; its place is free at the next step."""
        if answer.finish is None:
            answer.finish = 'cancelled'

    @property
    def idle(self) -> bool:
        """True if no answer is being written or waits."""
        return not self._waiting and not self._rows.answers

    @torch.inference_mode()
    def step(self) -> list[Answer]:
        """Write the next token of all answers in the batch, after others have joined it where there is room.

        Returns:
            The answers that have a new token or have ended.
        """
        self._waiting = deque(answer for answer in self._waiting if answer.finish is None)
        self._drop_ended()  # those cancelled since the step before
        self._rows.forward()
        self._admit()
        answers = list(self._rows.answers)
        self._choose()
        self._drop_ended()
        return answers

    def _drop_ended(self) -> None:
        self._rows.keep([row for row, answer in enumerate(self._rows.answers) if answer.finish is None])

    def _answer(self, request: Request) -> Answer:
        return Answer(request, self._room(request))

    def _queue(self, answer: Answer) -> None:
        if answer.room:
            self._waiting.append(answer)
        else:
            answer.finish = 'length'

    def _room(self, request: Request) -> int:
        """Return how many tokens an answer may have."""
        limit, most = self.model.llm.context_length, request.settings.max_new_tokens
        if limit is None:
            return most
        pictures = len(request.pixels)
        length = len(request.input_ids) + pictures * (self._tokens_of_picture(request) - 1)
        if length >= limit:
            raise ValueError(
                f"the question has {length} tokens with its {pictures} pictures, and the LLM's context {limit}: "
                'nothing is left for an answer'
            )
        return min(most, limit - length)

    def _tokens_of_picture(self, request: Request) -> int:
        return self.model.vision_encoder.num_tokens(request.pixels[0].shape[-1]) if request.pixels else 1

    def _admit(self) -> None:
        """Let waiting requests join the batch."""
        free = self.batch_size - len(self._rows.answers)
        if self._rows.answers and not self.model.llm.can_share_prefixes:
            free = 0
        # A few at a time would be many small passes.
        if not self._waiting or free < min(len(self._waiting), max(1, self.batch_size // 4)):
            return
        admitted = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
        for answer in admitted if self.share_prefixes else ():
            key = answer.request.prefix_key
            if key is not None:
                answer.prefix = self.prefixes.get(key, lambda request=answer.request: self._rows.prefix_of(request))
        self._rows.join(admitted)

    def _choose(self) -> None:
        rows = self._rows
        if not rows.answers:
            return
        highest, tokens = rows.logits.max(-1)
        log_probs = (highest - rows.logits.logsumexp(-1)).tolist()
        for answer, token, log_prob in zip(rows.answers, tokens.tolist(), log_probs, strict=True):
            answer.add(token, log_prob, self.model.llm.stop_ids)
        rows.next_ids = tokens


class Rows:
    """The answers of a batch as rows of tensors: what the LLM has computed of each, and what comes next.

    Args:
        model: The model.

    Attributes:
        answers: The answers, one a row; those with the same prefix stand together.
        logits: (R, vocabulary) float32, of the token that comes next.
        next_ids: (R,) int64, the tokens chosen for that place.
    """

    def __init__(self, model: 'GeoChat'):
        self.model = model
        self.answers: list[Answer] = []
        self.logits = self.next_ids = None
        self._cache = self._mask = self._positions = None

    def prefix_of(self, request: Request) -> Prefix:
        """Compute keys and values of what stands before and at a request's pictures."""
        llm = self.model.llm
        embeds, mask = self._embed([request.input_ids[: request.shared_length]], [request])
        cache = llm.new_cache()
        needed = torch.zeros_like(mask)
        needed[:, -1] = True
        llm.hidden_states(embeds, mask, torch.arange(mask.shape[1], device=mask.device)[None], cache, needed)
        return Prefix(tuple(layer.keys for layer in cache.layers), tuple(layer.values for layer in cache.layers))

    def join(self, answers: Sequence[Answer]) -> None:
        """Compute the requests of answers, their prefixes aside, and let them join the batch."""
        llm = self.model.llm
        starts = [answer.request.shared_length if answer.prefix else 0 for answer in answers]
        ids = [answer.request.input_ids[start:] for answer, start in zip(answers, starts, strict=True)]
        embeds, mask = self._embed(ids, [answer.request for answer in answers if answer.prefix is None])
        before = torch.tensor([len(answer.prefix or ()) for answer in answers], device=mask.device)
        positions = (mask.long().cumsum(1) - 1).clamp(min=0) + before[:, None]
        cache, needed = llm.new_cache(), torch.zeros_like(mask)
        needed[:, -1] = True
        states = llm.hidden_states(embeds, mask, positions, cache, needed, _spans(answers))
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
        embeds = llm.embed(self.next_ids)[:, None]
        spans = _spans(self.answers)
        states = llm.hidden_states(embeds, self._mask, self._positions[:, None], self._cache, prefixes=spans)
        self.logits, self.next_ids = llm.logits(states[:, -1]), None

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only some rows, in the order given; a row may be named several times."""
        if list(rows) == list(range(len(self.answers))):
            return
        before, self.answers = self.answers, [self.answers[row] for row in rows]
        for answer in before:
            if answer not in self.answers:
                answer.prefix = None  # whoever holds the answer shall not hold the memory
        if not rows:
            self.logits = self.next_ids = self._cache = self._mask = self._positions = None
            return
        index = torch.tensor(rows, device=self._mask.device)
        self._cache.reorder_cache(index)
        self._mask, self._positions = self._mask[index], self._positions[index]
        self.logits = self.logits[index]
        self.next_ids = None if self.next_ids is None else self.next_ids[index]

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


def _begin(request: Request, number: int) -> Any:
    """What requests that are to be answered together have in common."""
    key = request.prefix_key
    return number if key is None else key


def _spans(answers: Sequence[Answer]) -> list[PrefixSpan]:
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


def generate(
    model: 'GeoChat', batch: Mapping[str, torch.Tensor], max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS
) -> list[Generated]:
    """Write the likeliest answers to a batch of prompts, token by token.

    Args:
        model: The model, in evaluation mode.
        batch: Collated prompts (``geochat.datasets.collate``): ``input_ids``, ``attention_mask`` and, where there are
            pictures, ``pixels`` and ``image_index``.
        max_new_tokens: Most tokens of an answer.

    Returns:
        The answers, in the order of the prompts.
    """
    settings = GenerationSettings(max_new_tokens=max_new_tokens)
    rows = [ids[mask].cpu().numpy() for ids, mask in zip(batch['input_ids'], batch['attention_mask'], strict=True)]
    index = batch.get('image_index')
    pictures = iter([] if index is None else index.tolist())
    requests = []
    for ids in rows:
        shown = list(itertools.islice(pictures, int((ids == IMAGE_TOKEN_INDEX).sum())))
        pixels = [batch['pixels'][number] for number in shown]
        requests.append(Request(ids, pixels, [str(number) for number in shown], settings))
    engine = GenerationEngine(model, batch_size=len(requests), prefix_memory_mb=0)
    return engine.generate(requests)
