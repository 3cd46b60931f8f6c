"""Choice among given answers: how likely the model finds each, instead of reading what it writes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from geochat.models.attention import positions
from geochat.prompts.tokenization import tokenize_dialogue
from geochat.structures import IGNORE_INDEX, IMAGE_TOKEN_INDEX, Message

if TYPE_CHECKING:
    from geochat.models import GeoChat
    from geochat.models.llms import HFCausalLM

_ROWS_OF_LOGITS = 1024
"""Most tokens whose logits over the whole vocabulary are held at a time: 131 MB of float32 for 32,000 tokens."""


def option_log_probs(
    model: 'GeoChat', batch: Mapping[str, torch.Tensor], options: Sequence[Sequence[str]], reduction: str = 'sum'
) -> list[np.ndarray]:
    """Return the natural log-probability of each given answer to each question.

    An answer's probability is that of its tokens one after the other, the one that ends the assistant's turn included:
    that the model says this and nothing more. Without the end ``parking`` could not be less likely than ``parking
    lot``. The sum is the log-probability itself, and favours short answers as the model's own words do; the mean over
    an answer's tokens takes its length out.

    Each picture is encoded and each question read once: its answers stand behind it in one row, as branches that do not
    see each other (:mod:`geochat.models.attention`).

    Args:
        model: The model, in evaluation mode.
        batch: Collated prompts of B questions, as :func:`~geochat.generation.generate` takes them.
        options: Of each question the texts of its possible answers, as the assistant would write them.
        reduction: ``'sum'``, or ``'mean'`` over an answer's tokens.

    Returns:
        B float64 arrays, one value an answer, in their order.

    Raises:
        ValueError: If the reduction is neither, or not every question has an answer to choose.
    """
    if reduction not in ('sum', 'mean'):
        raise ValueError(f"reduction is 'sum' or 'mean', not {reduction!r}")
    if len(options) != len(batch['input_ids']) or not all(options):
        counts = [len(texts) for texts in options]
        raise ValueError(f'{len(batch["input_ids"])} questions need one or more options each, not {counts}')
    ids = {text: answer_ids(model.llm, text) for texts in options for text in texts}
    answers = [[ids[text] for text in texts] for texts in options]
    tokens = token_log_probs(model, batch, answers)
    summed = [np.array([part.sum() for part in parts]) for parts in tokens]
    return summed if reduction == 'sum' else [np.array([part.mean() for part in parts]) for parts in tokens]


def answer_ids(llm: 'HFCausalLM', text: str) -> np.ndarray:
    """Return the ids of an assistant's answer as the LLM was trained on it, what ends the turn included: (T,) int64."""
    segments = llm.chat_template.segments([Message('user', ''), Message('assistant', text)])
    labels = tokenize_dialogue(segments, llm.tokenizer).labels
    return labels[labels != IGNORE_INDEX]


@torch.no_grad()
def token_log_probs(
    model: 'GeoChat', batch: Mapping[str, torch.Tensor], answers: Sequence[Sequence[np.ndarray]]
) -> list[list[np.ndarray]]:
    """Return the natural log-probability of each token of given answers, after all that stands before it.

    Args:
        model: The model, in evaluation mode.
        batch: Collated prompts of B questions.
        answers: Of each question the ids (T,) of one or more answers.

    Returns:
        Of each question and answer a float64 array (T,).
    """
    llm = model.llm
    features = model.encode_images(batch.get('pixels'), batch.get('image_index'))
    rows = [ids[mask] for ids, mask in zip(batch['input_ids'], batch['attention_mask'], strict=True)]
    ids, mask, branches = _with_branches(rows, answers)
    spliced = model.splice(ids, mask, features, documents=torch.zeros_like(ids), branches=branches)
    # A picture is one token before splicing and several after.
    growth = 0 if features is None else features.shape[1] - 1
    starts = [len(row) + growth * int((row == IMAGE_TOKEN_INDEX).sum()) for row in rows]
    width = spliced.mask.shape[1]
    places = [
        number * width + place for number, start in enumerate(starts) for place in _places(start, answers[number])
    ]
    # The first tokens of all answers to a question follow the same token, so its logits are computed once.
    needed, which = torch.tensor(places, device=ids.device).unique(return_inverse=True)
    is_needed = torch.zeros_like(spliced.mask).view(-1).index_fill(0, needed, True).view_as(spliced.mask)
    states = llm.hidden_states(spliced.embeds, spliced.layout, positions(spliced.layout), needed=is_needed)
    targets = torch.tensor(np.concatenate([part for parts in answers for part in parts]), device=ids.device)
    scores = _pick(llm, states.flatten(0, 1)[needed], which, targets).double().cpu().numpy()
    return _cut(scores, answers)


def _with_branches(
    rows: Sequence[torch.Tensor], answers: Sequence[Sequence[np.ndarray]]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Put each question's answers behind it: ids, mask and branches (B, T), padded on the right.

    The last token of an answer predicts nothing that is asked for and is left out.
    """
    device = rows[0].device
    tails = [torch.tensor(np.concatenate([part[:-1] for part in parts]), device=device) for parts in answers]
    ids = [torch.cat([row, tail]) for row, tail in zip(rows, tails, strict=True)]
    branches = [
        np.repeat(np.arange(len(parts) + 1), [len(row), *(len(part) - 1 for part in parts)])
        for row, parts in zip(rows, answers, strict=True)
    ]
    pad = torch.nn.utils.rnn.pad_sequence
    mask = pad([torch.ones_like(row, dtype=torch.bool) for row in ids], batch_first=True)
    numbers = [torch.tensor(row, device=device) for row in branches]
    return pad(ids, batch_first=True), mask, pad(numbers, batch_first=True)


def _places(start: int, parts: Sequence[np.ndarray]) -> Iterator[int]:
    """Yield where in a row stands the token before each token of each answer; the answers begin at ``start``."""
    place = start
    for part in parts:
        yield start - 1
        yield from range(place, place + len(part) - 1)
        place += len(part) - 1


def _pick(llm: 'HFCausalLM', states: torch.Tensor, which: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the log-probability (N,) of each target after the state that ``which`` names."""
    picked = torch.empty(len(targets), device=states.device)
    for start in range(0, len(states), _ROWS_OF_LOGITS):
        log_probs = llm.logits(states[start : start + _ROWS_OF_LOGITS]).log_softmax(-1)
        here = (which >= start) & (which < start + _ROWS_OF_LOGITS)
        picked[here] = log_probs[which[here] - start, targets[here]]
    return picked


def _cut(scores: np.ndarray, answers: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
    """Cut the scores of all tokens into those of each answer to each question."""
    parts = iter(np.split(scores, np.cumsum([len(part) for parts in answers for part in parts])[:-1]))
    return [[next(parts) for _ in texts] for texts in answers]
