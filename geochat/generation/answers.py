"""Answers that are being written: which tokens they take of those that the model offers, and when they end."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from geochat.generation.grammar import BoxGrammar, box_grammar
from geochat.generation.requests import Generated, Request
from geochat.generation.text import AnswerText
from geochat.models.prefix_attention import Prefix


@dataclass(frozen=True)
class Language:
    """What the tokens of answers mean.

    Attributes:
        tokenizer: The LLM's tokenizer.
        stop_ids: The tokens that end an answer.
        vocabulary: How many tokens the LLM has.
        box: Regular expression of a box; None if there is no box language.
    """

    tokenizer: Any
    stop_ids: tuple[int, ...]
    vocabulary: int
    box: str | None = None

    @property
    def grammar(self) -> BoxGrammar:
        """Which tokens may follow in an answer whose boxes are well-formed."""
        return box_grammar(self.box, self.tokenizer, self.vocabulary, self.stop_ids)


@dataclass
class Offer:
    """What the model offers for the next place of each row.

    Attributes:
        logits: (R, vocabulary) float32; minus infinity for what is not allowed.
        log_sums: (R,), the logarithm of the sum of the exponentials of all logits, those not allowed among them.
        tokens: Of each row the token that it takes if it takes one: the likeliest, or the one drawn.
        log_probs: The log-probability of each of them.
    """

    logits: torch.Tensor
    log_sums: torch.Tensor
    tokens: list[int]
    log_probs: list[float]


class Draft:
    """One way in which an answer may go on.

    Args:
        request: What was asked.
        language: What tokens mean.

    Attributes:
        ids: The tokens so far.
        log_probs: Their log-probabilities.
        finish: Why it ended, see :class:`Generated`; None while it is being written.
        text: Their text.
        stop_ids: The tokens that end it.
    """

    def __init__(self, request: Request, language: Language):
        settings = request.settings
        self.ids: list[int] = []
        self.log_probs: list[float] = []
        self.finish: str | None = None
        self.text = AnswerText(language.tokenizer, settings.stop, language.box if settings.stop_at_box else None)
        self.stop_ids = language.stop_ids
        self._grammar = language.grammar if settings.box_grammar else None
        self._state = BoxGrammar.start
        self._watched = bool(settings.stop or settings.stop_at_box)

    def copy(self) -> 'Draft':
        """Return a draft that goes on from here by itself."""
        other = copy.copy(self)
        other.ids, other.log_probs, other.text = [*self.ids], [*self.log_probs], copy.copy(self.text)
        return other

    def add(self, token: int, log_prob: float, room: int) -> None:
        """Take the next token; end if it or what it completes ends the answer, or it is the last of ``room``."""
        if token in self.stop_ids:
            self.finish = 'end'
            return
        self.ids.append(token)
        self.log_probs.append(log_prob)
        if self._grammar is not None:
            self._state = self._grammar.advance(self._state, token)
        if self._watched:
            self.text.read(self.ids)
            self.finish = self.text.stopped_by
        if self.finish is None and len(self.ids) == room:
            self.finish = 'length'

    @property
    def allowed(self) -> np.ndarray | None:
        """Which tokens may follow: (vocabulary,) bool; None where all may."""
        return None if self._grammar is None else self._grammar.allowed(self._state)

    @property
    def result(self) -> Generated:
        """What was written."""
        return Generated(self.ids, self.log_probs, self.finish, self.text.finished(self.ids))


class AnswerInProgress:
    """An answer that is being written token by token: the likeliest ones, or such as are drawn.

    Args:
        request: What was asked.
        room: How many tokens it may have.
        language: What tokens mean.

    Attributes:
        prefix: What stands before its rows; None where they are whole, or there are none any more.
        drafts: What is being written, one a row of the batch.
    """

    def __init__(self, request: Request, room: int, language: Language):
        self.request, self.room = request, room
        self.prefix: Prefix | None = None
        self.drafts = [Draft(request, language)]
        self._random = np.random.default_rng(request.settings.seed)

    @property
    def max_rows(self) -> int:
        """Most rows of the batch that it takes."""
        return self.request.settings.num_beams

    @property
    def finish(self) -> str | None:
        """Why it ended, see :class:`Generated`; None while it is being written."""
        return self.drafts[0].finish

    @property
    def ids(self) -> list[int]:
        """Its tokens so far."""
        return self.drafts[0].ids

    @property
    def log_probs(self) -> list[float]:
        """Their log-probabilities."""
        return self.drafts[0].log_probs

    @property
    def result(self) -> Generated:
        """The answer, once it has ended."""
        return self.drafts[0].result

    def end(self, reason: str) -> None:
        """End it where it is."""
        self.drafts[0].finish = reason

    def take_text(self) -> str:
        """Return the text that has come since the last call.

        All pieces together are the answer's text, but for bytes that are no character, of which more or fewer may be
        shown as damaged.
        """
        draft = self.drafts[0]
        return draft.text.take(draft.ids, ended=draft.finish is not None)

    def draw(self) -> float:
        """Return a random number in [0, 1); the n-th is the same whatever else is being written."""
        return float(self._random.random())

    def advance(self, offer: Offer, row: int) -> list[tuple[int, int]]:
        """Take the next token.

        Args:
            offer: What the model offers.
            row: Where the answer's drafts begin among the batch's rows.

        Returns:
            The rows it goes on from, each with its next token; none if it has ended.
        """
        self.drafts[0].add(offer.tokens[row], offer.log_probs[row], self.room)
        return [] if self.finish else [(row, offer.tokens[row])]


class BeamAnswer(AnswerInProgress):
    """An answer for which several drafts are written at a time; the likeliest of them by the mean token wins.

    This is beam search as transformers has it by default (``length_penalty=1``, ``early_stopping=False``): a draft that
    ends counts if it is among the ``num_beams`` likeliest of its step; writing ends when as many have ended and the
    likeliest that is still being written is no better, by its mean up to here, than the worst of them.
    """

    def __init__(self, request: Request, room: int, language: Language):
        super().__init__(request, room, language)
        self._ended: list[tuple[float, Draft]] = []

    def take_text(self) -> str:
        """Return the text once the answer has ended: until then another draft may win."""
        return super().take_text() if self.finish else ''

    def advance(self, offer: Offer, row: int) -> list[tuple[int, int]]:
        """Take the next token of each draft; see :meth:`AnswerInProgress.advance`."""
        beams = self.request.settings.num_beams
        going_on: list[tuple[int, int]] = []
        drafts: list[Draft] = []
        for rank, (parent, token, log_prob) in enumerate(self._candidates(offer, row)):
            if len(drafts) == beams:
                break
            draft = self.drafts[parent].copy()
            draft.add(token, log_prob, self.room)
            if draft.finish is None:
                drafts.append(draft)
                going_on.append((row + parent, token))
            elif rank < beams:
                total = sum(draft.log_probs) + (log_prob if draft.finish == 'end' else 0.0)
                self._ended.append((total / (len(draft.ids) + (draft.finish == 'end')), draft))
        self._ended = sorted(self._ended, key=lambda pair: -pair[0])[:beams]
        if drafts and not self._is_settled(drafts[0]):
            self.drafts = drafts
            return going_on
        self.drafts = [self._ended[0][1]]
        return []

    def _candidates(self, offer: Offer, row: int) -> list[tuple[int, int, float]]:
        """Return the likeliest continuations of all drafts: draft, token and the token's log-probability."""
        rows = slice(row, row + len(self.drafts))
        log_probs = offer.logits[rows] - offer.log_sums[rows, None]
        before = torch.tensor([sum(draft.log_probs) for draft in self.drafts], device=log_probs.device)
        totals = (log_probs + before[:, None]).flatten()
        most = self.request.settings.num_beams * (1 + max(1, len(self.drafts[0].stop_ids)))
        best = totals.topk(min(most, len(totals)))
        vocabulary = log_probs.shape[1]
        return [
            (place // vocabulary, place % vocabulary, float(log_probs[place // vocabulary, place % vocabulary]))
            for total, place in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            if total > float('-inf')
        ]

    def _is_settled(self, best: Draft) -> bool:
        enough = len(self._ended) == self.request.settings.num_beams
        return enough and sum(best.log_probs) / len(best.ids) <= self._ended[-1][0]


def draw_tokens(logits: torch.Tensor, answers: Sequence[AnswerInProgress]) -> torch.Tensor:
    """Draw the next token of answers that are drawn.

    Of a row's tokens, the likeliest that together have ``top_p`` of the probability, after division of the logits by
    ``temperature``, are drawn from.

    Args:
        logits: (N, vocabulary).
        answers: The N answers.

    Returns:
        (N,) int64.
    """
    settings = [answer.request.settings for answer in answers]
    column = {'dtype': torch.float64, 'device': logits.device}
    temperature = torch.tensor([one.temperature for one in settings], **column)[:, None]
    top_p = torch.tensor([one.top_p for one in settings], **column)[:, None]
    drawn = torch.tensor([answer.draw() for answer in answers], **column)[:, None]
    probabilities, order = (logits.double() / temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
    up_to = probabilities.cumsum(-1)
    # A token belongs to the choice if those before it do not yet have top_p.
    chosen_from = torch.where(up_to - probabilities < top_p, probabilities, 0.0).cumsum(-1)
    place = torch.searchsorted(chosen_from, drawn * chosen_from[:, -1:], right=True)
    return order.gather(1, place.clamp(max=logits.shape[1] - 1))[:, 0]
