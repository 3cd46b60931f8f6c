"""Batched greedy decoding: every answer is what the model would have said to its question alone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from geochat.models import GeoChat

DEFAULT_MAX_NEW_TOKENS = 256
"""What the original's evaluation scripts allow for an answer."""


class Generated(NamedTuple):
    """What a model wrote.

    Attributes:
        ids: The token ids, without the one that ended the answer.
        log_probs: Natural log-probability of each of these tokens, given all before it.
    """

    ids: list[int]
    log_probs: list[float]


@torch.no_grad()
def generate(
    model: 'GeoChat', batch: Mapping[str, torch.Tensor], max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS
) -> list[Generated]:
    """Take the likeliest next token until each answer ends.

    Args:
        model: The model, in evaluation mode.
        batch: Collated prompts (``geochat.datasets.collate``): ``input_ids``, ``attention_mask`` and, where there are
            pictures, ``pixels`` and ``image_index``.
        max_new_tokens: Most tokens of an answer.

    Returns:
        The answers, in the order of the prompts.
    """
    llm = model.llm
    features = model.encode_images(batch.get('pixels'), batch.get('image_index'))
    embeds, mask, *_ = model.splice(batch['input_ids'], batch['attention_mask'], features, padding='left')
    cache = llm.new_cache()
    stop = torch.tensor(llm.stop_ids, device=embeds.device)
    positions = (mask.long().cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(embeds), dtype=torch.bool, device=embeds.device)
    chosen: list[torch.Tensor] = []
    log_probs: list[torch.Tensor] = []
    for _ in range(max_new_tokens):
        states = llm.hidden_states(embeds, mask, positions, cache)
        logits = llm.logits(states[:, -1])
        highest, tokens = logits.max(-1)
        running = running & ~torch.isin(tokens, stop)
        if not running.any():
            break
        chosen.append(torch.where(running, tokens, -1))
        log_probs.append(highest - logits.logsumexp(-1))
        embeds = llm.embed(tokens)[:, None]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        positions = positions[:, -1:] + 1
    if not chosen:
        return [Generated([], []) for _ in range(len(running))]
    ids, of_ids = torch.stack(chosen, 1).tolist(), torch.stack(log_probs, 1).tolist()
    lengths = [sum(token >= 0 for token in row) for row in ids]  # an answer that has ended does not begin again
    return [Generated(row[:length], values[:length]) for row, values, length in zip(ids, of_ids, lengths, strict=True)]
