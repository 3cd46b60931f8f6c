"""The engine that writes all answers: many at a time, those about one picture on the same keys and values of it."""

import itertools
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geochat.generation.answers import AnswerInProgress, BeamAnswer, Language, Offer, draw_tokens
from geochat.generation.fixed import FixedRow
from geochat.generation.prefixes import PrefixStore
from geochat.generation.requests import DEFAULT_MAX_NEW_TOKENS, Generated, GenerationSettings, Request
from geochat.generation.rows import Rows
from geochat.structures import IMAGE_TOKEN_INDEX

if TYPE_CHECKING:
    from geochat.box_codecs import BoxCodec
    from geochat.models import GeoChat

DEFAULT_BATCH_SIZE = 32
DEFAULT_PREFIX_MEMORY_MB = 4096
"""A picture of GeoChat-7B, 1,296 tokens in half precision, takes 650."""

FAILED = 'the model failed while it wrote this answer beside others; whoever asked for the next token was told why'


class GenerationEngine:
    """Writes answers in batches that others join and leave at any time; each is what the model would say alone.

    What stands before and at a request's pictures is computed once for all requests that begin so, and its keys and
    values serve them all; see :mod:`geochat.models.prefix_attention`. An LLM whose attention does not allow that
    computes each request whole, and a batch is finished before the next one begins.

    Args:
        model: The model, in evaluation mode.
        batch_size: Most answers that are written at the same time.
        share_prefixes: False computes each request whole.
        prefix_memory_mb: Most memory, in 2**20 bytes, for keys and values of prefixes: those of the batch, which takes
            as many as fit and at least one, and those kept for later requests, of which the ones used last stay.
        box_codec: The model's box language, for requests with ``stop_at_box`` or ``box_grammar``.
        compile: True writes one answer at a time, by steps that ``torch.compile`` has compiled over keys and values of
            a fixed size: the first answer waits for that. ``batch_size`` is 1 then.

    Raises:
        ValueError: If ``batch_size`` or ``prefix_memory_mb`` cannot be, ``compile`` comes with another ``batch_size``,
            or the LLM's attention does not allow it.
    """

    def __init__(
        self,
        model: 'GeoChat',
        batch_size: int = DEFAULT_BATCH_SIZE,
        share_prefixes: bool = True,
        prefix_memory_mb: float = DEFAULT_PREFIX_MEMORY_MB,
        box_codec: 'BoxCodec | None' = None,
        compile: bool = False,
    ):
        if batch_size < 1:
            raise ValueError(f'batch_size is at least 1, not {batch_size}')
        if not 0 <= prefix_memory_mb < math.inf:
            raise ValueError(f'prefix_memory_mb is a number from 0, not {prefix_memory_mb}')
        if compile and batch_size != 1:
            raise ValueError(f'compiled steps write one answer at a time: batch_size is 1, not {batch_size}')
        self.model = model
        self.batch_size = batch_size
        self.share_prefixes = share_prefixes and model.llm.can_share_prefixes
        self.prefixes = PrefixStore(int(prefix_memory_mb * 2**20))
        pattern = None if box_codec is None else box_codec.pattern
        self._language = Language(model.llm.tokenizer, model.llm.stop_ids, model.llm.vocabulary, pattern)
        self._waiting: deque[AnswerInProgress] = deque()
        self._rows = FixedRow(model) if compile else Rows(model)

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        """Answer requests.

        Args:
            requests: In any order; those that begin alike are answered together.

        Returns:
            The answers, in the order of the requests.

        Raises:
            ValueError: If a request is longer than the LLM's context, needs more rows than a batch has, or needs a box
                language that the engine does not know; nothing is answered then.
        """
        answers = [self._answer(request) for request in requests]
        firsts: dict[Any, int] = {}
        places = [firsts.setdefault(_begin(request, number), number) for number, request in enumerate(requests)]
        for number in sorted(range(len(requests)), key=places.__getitem__):
            self._queue(answers[number])
        try:
            while any(answer.finish is None for answer in answers):
                self.step()
        finally:
            for answer in answers:
                self.cancel(answer)
        return [answer.result for answer in answers]

    def check(self, request: Request) -> None:
        """Refuse a request that cannot be answered.

        Raises:
            ValueError: As :meth:`generate`.
        """
        self._answer(request)

    def check_settings(self, settings: GenerationSettings) -> None:
        """Refuse settings that no request can be answered with.

        Raises:
            ValueError: As :meth:`generate`.
        """
        if settings.num_beams > self.batch_size:
            raise ValueError(f'{settings.num_beams} beams do not fit into a batch of {self.batch_size}')
        if (settings.stop_at_box or settings.box_grammar) and self._language.box is None:
            raise ValueError('stop_at_box and box_grammar need a box language: give the engine the box_codec')

    def submit(self, request: Request) -> AnswerInProgress:
        """Let a request wait for the next step.

        Returns:
            The answer, which :meth:`step` writes on.

        Raises:
            ValueError: As :meth:`generate`.
        """
        answer = self._answer(request)
        self._queue(answer)
        return answer

    def cancel(self, answer: AnswerInProgress) -> None:
        """End an answer where it is, with ``finish='cancelled'``; its place is free at the next step."""
        if answer.finish is None:
            answer.end('cancelled')

    def stream(self, request: Request) -> Iterator[str]:
        """Answer a request and yield its text as it comes; pieces may be empty, all together are the answer's text.

        Whatever else waits or is being written goes on meanwhile. An iterator that is given up cancels the answer.

        Raises:
            ValueError: As :meth:`generate`.
            RuntimeError: If the model failed in a step that somebody else asked for.
        """
        answer = self.submit(request)
        try:
            while answer.finish is None:
                self.step()
                yield answer.take_text()
            if answer.finish == 'failed':
                raise RuntimeError(FAILED)
            yield answer.take_text()  # of steps that others asked for
        finally:
            self.cancel(answer)

    @property
    def idle(self) -> bool:
        """True if no answer is being written or waits."""
        return not self._waiting and not self._rows.answers

    def step(self) -> list[AnswerInProgress]:
        """Write the next token of all answers in the batch, after others have joined it where there is room.

        Returns:
            The answers that have a new token or have ended.

        Raises:
            Exception: What went wrong in the model, such as that memory ran out. What was computed of the answers in
                the batch is of no use then: they end with ``finish='failed'``. Those that wait go on to wait.
        """
        before = [*self._rows.answers, *self._waiting]
        try:
            return self._step()
        except BaseException:
            waiting = set(self._waiting)
            self._give_up([answer for answer in before if answer not in waiting])
            raise

    @torch.inference_mode()
    def _step(self) -> list[AnswerInProgress]:
        self._waiting = deque(answer for answer in self._waiting if answer.finish is None)
        self._drop_ended()
        self._rows.forward()
        self._admit()
        answers = list(dict.fromkeys(self._rows.answers))
        self._choose(answers)
        return answers

    def _give_up(self, answers: Sequence[AnswerInProgress]) -> None:
        """Empty the batch, whose rows may be half computed."""
        self._rows.clear()
        self.prefixes.release_all()
        for answer in answers:
            answer.prefix = None
            if answer.finish is None:
                answer.end('failed')

    def _drop_ended(self) -> None:
        """Drop the rows of answers that were cancelled."""
        self._keep([row for row, answer in enumerate(self._rows.answers) if answer.finish is None])

    def _keep(self, rows: Sequence[int]) -> None:
        before = dict.fromkeys(self._rows.answers)
        self._rows.keep(rows)
        for answer in before.keys() - set(self._rows.answers):
            if answer.prefix is not None:
                answer.prefix = None
                self.prefixes.release(answer.request.prefix_key)

    def _answer(self, request: Request) -> AnswerInProgress:
        self.check_settings(request.settings)
        kind = BeamAnswer if request.settings.num_beams > 1 else AnswerInProgress
        return kind(request, self._room(request), self._language)

    def _queue(self, answer: AnswerInProgress) -> None:
        if answer.room:
            self._waiting.append(answer)
        else:
            answer.end('length')

    def _room(self, request: Request) -> int:
        """Return how many tokens an answer may have."""
        limit, most = self.model.llm.context_length, request.settings.max_new_tokens
        if limit is None:
            return most
        length = request.num_tokens(self.model.vision_encoder)
        if length >= limit:
            raise ValueError(
                f"the question has {length} tokens with its {len(request.pixels)} pictures, and the LLM's context "
                f'{limit}: nothing is left for an answer'
            )
        return min(most, limit - length)

    def _admit(self) -> None:
        """Let waiting requests join the batch."""
        taken = sum(answer.max_rows for answer in dict.fromkeys(self._rows.answers))
        room = self.batch_size - taken
        if self._rows.answers:
            # Not every LLM's cache takes rows of another length, and a few at a time would be many small passes.
            wanted = min(sum(answer.max_rows for answer in self._waiting), max(1, self.batch_size // 4))
            if room < wanted or not self.model.llm.can_share_prefixes:
                return
        admitted: list[AnswerInProgress] = []
        while self._waiting and self._waiting[0].max_rows <= room and self._has_room(self._waiting[0].request):
            # It waits no longer before anything is computed: were it what the model fails at, it would be so each time.
            admitted.append(self._waiting.popleft())
            self._acquire(admitted[-1])
            room -= admitted[-1].max_rows
        if admitted:
            self._rows.join(admitted)

    def _shared(self, request: Request) -> tuple[Any, int] | None:
        """Return what the store knows a request's prefix by, and how many tokens it has; None if it is to have none."""
        key = request.prefix_key if self.share_prefixes else None
        return None if key is None else (key, request.prefix_length(self.model.vision_encoder))

    def _has_room(self, request: Request) -> bool:
        shared = self._shared(request)
        return shared is None or self.prefixes.has_room(*shared)

    def _acquire(self, answer: AnswerInProgress) -> None:
        shared = self._shared(answer.request)
        if shared is not None:
            answer.prefix = self.prefixes.acquire(*shared, lambda: self._rows.prefix_of(answer.request))

    def _choose(self, answers: Sequence[AnswerInProgress]) -> None:
        """Let each answer take its next token, and keep the rows that go on."""
        if not answers:
            return
        offer = self._offer()
        going_on: list[tuple[int, int]] = []
        row = 0
        for answer in answers:
            rows = len(answer.drafts)
            going_on += answer.advance(offer, row)
            row += rows
        self._keep([parent for parent, _ in going_on])
        self._rows.choose([token for _, token in going_on])

    def _offer(self) -> Offer:
        logits, answers = self._rows.logits, self._rows.answers
        log_sums = logits.logsumexp(-1)
        drafts = [draft for answer in dict.fromkeys(answers) for draft in answer.drafts]
        logits = _without_forbidden(logits, [draft.allowed for draft in drafts])
        tokens = logits.argmax(-1)
        drawn = [row for row, answer in enumerate(answers) if answer.request.settings.temperature > 0]
        if drawn:
            index = torch.tensor(drawn, device=logits.device)
            tokens[index] = draw_tokens(logits[index], [answers[row] for row in drawn])
        log_probs = logits.gather(1, tokens[:, None])[:, 0] - log_sums
        return Offer(logits, log_sums, tokens.tolist(), log_probs.tolist())


def _without_forbidden(logits: torch.Tensor, allowed: Sequence[np.ndarray | None]) -> torch.Tensor:
    """Return logits with minus infinity for what is not allowed in their rows."""
    rows = [row for row, tokens in enumerate(allowed) if tokens is not None]
    if not rows:
        return logits
    index = torch.tensor(rows, device=logits.device)
    forbidden = torch.from_numpy(~np.stack([allowed[row] for row in rows])).to(logits.device)
    return logits.index_copy(0, index, logits[index].masked_fill(forbidden, float('-inf')))


def _begin(request: Request, number: int) -> Any:
    """What requests that are to be answered together have in common."""
    key = request.prefix_key
    return number if key is None else key


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
    engine = GenerationEngine(
        model, batch_size=max(1, len(requests)), prefix_memory_mb=2**20
    )  # whatever the batch needs
    return engine.generate(requests)
