"""Start values for a small LLM of random weights: words that are not drowned, numbers that are in order."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import nn

from geochat.models.partitioned import gathered

PERIODS = 8
LONGEST_PERIOD, SHORTEST_PERIOD = 400.0, 6.0
"""The waves that numbers start as have so many periods, in geometric steps from nearly linear over 0 to 100 down to a
few units. An encoder that tells numbers by the same waves, as the quick start's does, can be read by a linear map."""

LEAST_FAMILY = 10
"""Tokens that differ in their number alone are a family if there are at least so many."""

_NUMBERED = re.compile(r'([^0-9-]*)(-?[0-9]+)([^0-9]*)')


@torch.no_grad()
def set_start_values(
    model: nn.Module, vocabulary: Mapping[str, int], embedding_std: float = 0.5, head_std: float = 0.06
) -> None:
    """Set the embeddings and the head of a causal LM whose weights are random, in place.

    A token's embedding and its row of the head start alike. Embeddings are larger than transformers makes them, so that
    what the first layer adds does not drown a word. Tokens with a number in them, such as ``{<12``, start as sines and
    cosines of it (Vaswani et al. 2017, section 3.5, with other periods) beside what their family shares: near numbers
    are alike from the first step, and copying one from a picture's features is a linear map.

    Args:
        model: The causal LM; its head must not be tied to its embeddings.
        vocabulary: Token to id.
        embedding_std: Standard deviation of the embeddings.
        head_std: Standard deviation of the head's rows.
    """
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    with gathered(embeddings, head, written=True):
        values = torch.randn_like(embeddings)
        for numbers, ids in number_families(vocabulary):
            code = math.sqrt(2) * number_waves(torch.tensor(numbers, dtype=torch.float32), values.shape[1])
            shared = torch.randn(values.shape[1])
            values[ids] = ((code + shared) / math.sqrt(2)).to(values)
        embeddings.copy_(values * embedding_std)
        head.copy_(values * head_std)


def number_families(vocabulary: Mapping[str, int]) -> list[tuple[list[int], list[int]]]:
    """Group the tokens that differ in one whole number alone.

    Returns:
        The numbers and the ids of each family of at least :data:`LEAST_FAMILY`, in the order of their lowest ids.
    """
    families = defaultdict(list)
    # By id: a tokenizer gives its vocabulary in another order each time, and each family draws numbers.
    for token, index in sorted(vocabulary.items(), key=lambda item: item[1]):
        if match := _NUMBERED.fullmatch(token):
            families[match[1], match[3]].append((int(match[2]), index))
    members = [sorted(family) for family in families.values() if len(family) >= LEAST_FAMILY]
    return [([number for number, _ in family], [index for _, index in family]) for family in members]


def number_waves(numbers: torch.Tensor, width: int = 2 * PERIODS) -> torch.Tensor:
    """Sines and cosines of numbers (N,), in turn as often as the width has room: (N, width), mean square 1/2."""
    # The device is named: transformers patches such functions in a way that makes PyTorch forget its default device.
    first, last = math.log10(LONGEST_PERIOD), math.log10(SHORTEST_PERIOD)
    periods = torch.logspace(first, last, PERIODS, device=numbers.device)
    phases = 2 * math.pi * numbers[:, None] / periods
    waves = torch.cat([phases.sin(), phases.cos()], dim=1)
    return waves.repeat(1, -(-width // waves.shape[1]))[:, :width]
