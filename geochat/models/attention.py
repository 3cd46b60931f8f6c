"""Who sees whom: one mask function for rows that hold several texts, and the attention back ends that apply it.

A row may hold several *documents*, which do not see each other. A document may begin with something shared (branch 0: a
picture and what leads to it) that branches follow (1, 2, ...: questions about that picture, each with its answer). A
token sees, within its document, what is shared and its own branch, up to itself. Its position is what it would be if
its branch stood alone with what is shared. So a row gives each text what a row of its own would.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

PADDING = -1
"""Document number of padding."""

DOCUMENT_ATTENTION = 'geochat_documents'
"""Name under which transformers knows :func:`document_attention`."""


@dataclass(frozen=True)
class Layout:
    """The texts that the rows of a batch hold.

    Attributes:
        documents: (B, S) int64; which document of its row a token belongs to, :data:`PADDING` for padding; each
            document in one piece.
        branches: (B, S) int64; 0 for what the branches of a document share, which stands first, then the number of the
            branch, each in one piece; None where no document has branches.
    """

    documents: torch.Tensor
    branches: torch.Tensor | None = None


def mask_function(layout: Layout) -> Callable[..., torch.Tensor]:
    """Return the function that says who sees whom.

    Returns:
        ``sees(row, head, query, key)``: bool, whether in a row the token ``query`` sees the token ``key``. The
        arguments are whole numbers or tensors of them that broadcast; the head plays no part. It is FlexAttention's
        ``mask_mod``. Padding sees padding only, and itself in any case, so that no row of the softmax is empty.
    """
    documents, branches = layout.documents, layout.branches

    def sees(row: Any, head: Any, query: Any, key: Any) -> torch.Tensor:
        together = (key <= query) & (documents[row, query] == documents[row, key])
        if branches is None:
            return together
        branch = branches[row, key]
        return together & ((branch == 0) | (branch == branches[row, query]))

    return sees


def positions(layout: Layout) -> torch.Tensor:
    """Return the position of each token as if its branch stood alone with what is shared: (B, S) int64."""
    documents, branches = layout.documents, layout.branches
    places = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    in_document = places - _last_begin(documents, places)
    if branches is None:
        return in_document
    in_branch = places - torch.maximum(_last_begin(documents, places), _last_begin(branches, places))
    shared = (branches == 0).long().cumsum(1)
    shared = shared - (shared - (branches == 0).long()).gather(1, _last_begin(documents, places))
    return torch.where(branches == 0, in_document, shared + in_branch)


def _last_begin(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return where the run of equal values that a token belongs to begins: (B, S)."""
    begins = torch.ones_like(values, dtype=torch.bool)
    begins[:, 1:] = values[:, 1:] != values[:, :-1]
    return torch.where(begins, places, 0).cummax(dim=1).values


def dense_mask(layout: Layout) -> torch.Tensor:
    """Return who sees whom as one boolean tensor: (B, 1, S, S), [b, 0, i, j] True if token i sees token j."""
    rows, size = layout.documents.shape
    device = layout.documents.device
    row = torch.arange(rows, device=device)[:, None, None]
    place = torch.arange(size, device=device)
    return mask_function(layout)(row, None, place[:, None], place)[:, None]


def additive_mask(layout: Layout, dtype: torch.dtype) -> torch.Tensor:
    """Return :func:`dense_mask` as what eager attention adds to its scores: 0, or the least number of the dtype."""
    seen = dense_mask(layout)
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)


def block_mask(layout: Layout) -> Any:
    """Return who sees whom as FlexAttention's ``BlockMask``, with which blocks that nobody sees are never computed."""
    from torch.nn.attention.flex_attention import create_block_mask

    rows, size = layout.documents.shape
    return create_block_mask(mask_function(layout), rows, None, size, size, device=layout.documents.device)


class Piece(NamedTuple):
    """One document of a batch, as :func:`document_attention` takes it.

    Attributes:
        size: Its tokens.
        shared: How many of them, the first ones, its branches share; all of them where it has no branches.
        mask: (size - shared, size) bool: what the tokens of the branches see; None where it has no branches.
        is_padding: True for padding.
    """

    size: int
    shared: int
    mask: torch.Tensor | None = None
    is_padding: bool = False


def pieces(layout: Layout) -> list[Piece]:
    """Return the documents of a batch, row after row in reading order, padding among them."""
    return list(_pieces(layout))


def _pieces(layout: Layout) -> Iterator[Piece]:
    sees, device = mask_function(layout), layout.documents.device
    for row, start, stop, shared, is_padding in document_spans(layout):
        size = stop - start
        mask = None
        if shared < size and not is_padding:
            queries = torch.arange(start + shared, stop, device=device)[:, None]
            mask = sees(row, None, queries, torch.arange(start, stop, device=device))
        yield Piece(size, shared, mask, is_padding)


def document_spans(layout: Layout) -> Iterator[tuple[int, int, int, int, bool]]:
    """Yield of each document its row, start, stop and number of shared tokens, and whether it is padding."""
    documents = layout.documents.cpu().numpy()
    branches = np.zeros_like(documents) if layout.branches is None else layout.branches.cpu().numpy()
    for row, (numbers, branch) in enumerate(zip(documents, branches, strict=True)):
        cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        for start, stop in itertools.pairwise(cuts):
            yield row, start, stop, int((branch[start:stop] == 0).sum()), bool(numbers[start] == PADDING)


def document_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    pieces: list[Piece],
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """PyTorch's SDPA, document by document: no score between documents is ever computed.

    What is shared is causal and needs no mask; the branches have a boolean one of their tokens only. This is one of
    transformers' attention functions: the arguments that it does not name are those of other implementations.

    Args:
        module: The attention layer.
        query: (B, H, S, D).
        key: (B, K, S, D); H is a multiple of K.
        value: (B, K, S, D).
        attention_mask: Not used.
        pieces: The documents of the batch, as :func:`pieces` gives them.
        scaling: Factor of the scores; None for ``D ** -0.5``.
        dropout: Dropout of the attention weights.

    Returns:
        (B, S, H, D), 0 for padding, and None for the attention weights.
    """
    rows, heads, size, width = query.shape
    repeats = heads // key.shape[1]
    if repeats > 1:
        key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
    sizes = [piece.size for piece in pieces]
    # Splitting once has a backward pass of one concatenation; slicing would fill a tensor of this size every time.
    split = [
        tensor.transpose(1, 2).reshape(1, rows * size, heads, width).transpose(1, 2).split(sizes, dim=2)
        for tensor in (query, key, value)
    ]
    outputs = []
    for piece, q, k, v in zip(pieces, *split, strict=True):
        outputs += _attend(piece, q, k, v, scaling, dropout)
    joined = torch.cat([output.transpose(1, 2) for output in outputs], dim=1)
    return joined.reshape(rows, size, heads, width), None


def _attend(
    piece: Piece, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None, dropout: float
) -> Iterator[torch.Tensor]:
    """Yield the outputs of a document: of what is shared, then of its branches."""
    attention, shared = nn.functional.scaled_dot_product_attention, piece.shared
    if piece.is_padding:
        yield torch.zeros_like(query)
        return
    if shared:
        parts = (tensor[:, :, :shared] for tensor in (query, key, value))
        yield attention(*parts, dropout_p=dropout, is_causal=True, scale=scaling)
    if piece.mask is not None:
        yield attention(query[:, :, shared:], key, value, attn_mask=piece.mask, dropout_p=dropout, scale=scaling)


def varlen_settings(layout: Layout) -> dict[str, Any]:
    """Return what transformers' FlashAttention takes for several documents in a row: their bounds and longest size.

    Raises:
        ValueError: If a document has branches, which these kernels cannot express.
    """
    if layout.branches is not None:
        raise ValueError(
            "FlashAttention cannot let branches share what stands before them: take the LLM's attention='auto', "
            "'flex_attention' or 'sdpa', or pack_samples with share_images=False and no independent_turns"
        )
    sizes = [stop - start for _, start, stop, *_ in document_spans(layout)]
    bounds = torch.tensor([0, *np.cumsum(sizes).tolist()], dtype=torch.int32, device=layout.documents.device)
    longest = max(sizes)
    return {'cu_seq_lens_q': bounds, 'cu_seq_lens_k': bounds, 'max_length_q': longest, 'max_length_k': longest}
