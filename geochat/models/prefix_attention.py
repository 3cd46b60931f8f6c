"""Attention over a prefix that many rows share: its keys and values are there once, however many rows read them.

A row's token sees all of the prefix and, of its own row, what stands up to it. The two parts are computed apart and put
together by their log-sum-exp: with ``a`` and ``b`` the parts' softmax averages and ``A`` and ``B`` the logarithms of
the sums they were divided by, the whole average is ``(e^A a + e^B b) / (e^A + e^B)``. All rows of a prefix go through
it as one long row of queries, so its keys and values are read once a layer and are never repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

PREFIX_ATTENTION = 'geochat_shared_prefix'
"""Name under which transformers knows :func:`prefix_attention`."""

COMPILED_PREFIX_ATTENTION = 'geochat_shared_prefix_compiled'
"""Its name where it is compiled with the layers, for shapes that stay the same."""

MAX_SCORES = 2**26
"""Most scores that are held at a time where there is no fused kernel: 268 MB of float32."""


@dataclass(frozen=True, eq=False)
class Prefix:
    """Keys and values of what stands before the rows.

    Attributes:
        keys: Of each layer (1, K, P, D), with positions 0 to P - 1.
        values: Of each layer (1, K, P, D).
    """

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]

    def __len__(self) -> int:
        return self.keys[0].shape[2]

    @property
    def num_bytes(self) -> int:
        """Memory that keys and values take."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))


class PrefixSpan(NamedTuple):
    """Rows ``start`` to ``stop`` (not included) of a batch, and the prefix that stands before each of them."""

    start: int
    stop: int
    prefix: Prefix


def own_mask(mask: torch.Tensor, length: int) -> torch.Tensor:
    """Return what the last ``length`` tokens of each row see of their own row.

    Args:
        mask: (B, S) bool; False for padding.
        length: T, how many tokens are asked about.

    Returns:
        (B, 1, T, S) bool. Padding sees itself, so that no softmax is empty. A single token, which is none, sees all
        that the mask allows: its row may have room left behind it.
    """
    if length == 1:
        return mask[:, None, None]
    size = mask.shape[1]
    places = torch.arange(size, device=mask.device)
    queries = places[size - length :, None]
    return (((places <= queries) & mask[:, None]) | (places == queries))[:, None]


def prefix_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    prefixes: Sequence[PrefixSpan],
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend to the prefix of each row and to the row itself; for inference.

    This is one of transformers' attention functions: the arguments that it does not name are those of other
    implementations.

    Args:
        module: The attention layer; its ``layer_idx`` says which of the prefix's layers is its own.
        query: (B, H, T, D).
        key: (B, K, S, D), the rows' own; H is a multiple of K.
        value: (B, K, S, D).
        attention_mask: (B, 1, T, S) bool, see :func:`own_mask`.
        prefixes: The rows that have a prefix, and which.
        scaling: Factor of the scores; None for ``D ** -0.5``.

    Returns:
        (B, T, H, D), and None for the attention weights.
    """
    rows, heads, length, width = query.shape
    kept = key.shape[1]
    scaling = width**-0.5 if scaling is None else scaling
    # Heads that share keys are more queries of one head.
    query = query.reshape(rows, kept, heads // kept * length, width)
    output, log_sum = attend(query, key, value, attention_mask.repeat(1, 1, heads // kept, 1), scaling)
    for start, stop, prefix in prefixes:
        keys, values = prefix.keys[module.layer_idx], prefix.values[module.layer_idx]
        together = query[start:stop].transpose(0, 1).reshape(1, kept, -1, width)
        seen, log_seen = attend(together, keys, values, None, scaling)
        seen = seen.reshape(kept, stop - start, -1, width).transpose(0, 1)
        log_seen = log_seen.reshape(kept, stop - start, -1).transpose(0, 1)
        share = torch.sigmoid(log_seen - log_sum[start:stop])[..., None].to(output.dtype)
        output[start:stop] = torch.lerp(output[start:stop], seen, share)
    return output.reshape(rows, heads, length, width).transpose(1, 2), None


def has_fused_kernel(tensor: torch.Tensor) -> bool:
    """Tell whether PyTorch has a kernel here that gives the sums of the softmax too: on a CPU."""
    return tensor.device.type == 'cpu'


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return softmax attention and the logarithm of the sums that its softmax divided by.

    Args:
        query: (B, K, Q, D).
        key: (B, K, S, D).
        value: (B, K, S, D).
        mask: (B, 1, Q, S) bool, or None where all is seen.
        scaling: Factor of the scores.

    Returns:
        (B, K, Q, D), and (B, K, Q) float32.
    """
    if has_fused_kernel(query):
        # What scaled_dot_product_attention calls on a CPU; only this way does it give the sums too.
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        additive = None if mask is None else query.new_zeros(mask.shape).masked_fill_(~mask, float('-inf'))
        return fused(query, key, value, attn_mask=additive, scale=scaling)
    rows, heads, queries, _ = query.shape
    step = max(1, MAX_SCORES // (rows * heads * key.shape[2]))
    outputs, log_sums = [], []
    for start in range(0, queries, step):
        scores = (query[:, :, start : start + step] @ key.mT).float() * scaling
        if mask is not None:
            scores = scores.masked_fill(~mask[:, :, start : start + step], float('-inf'))
        log_sum = scores.logsumexp(-1)
        outputs.append((scores - log_sum[..., None]).exp().to(value.dtype) @ value)
        log_sums.append(log_sum)
    return torch.cat(outputs, dim=2), torch.cat(log_sums, dim=2)
