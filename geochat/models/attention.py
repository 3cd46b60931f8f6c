"""Who sees whom: one mask function for rows in which several texts share what stands before them.

A row may hold a shared beginning (branch 0: a picture and what leads to it) and branches after it (1, 2, ...: questions
about that picture). A token sees the shared beginning and, of the rest, its own branch up to itself. Its position is
what it would be if its branch stood alone. So a row of k branches gives each of them what k separate rows would.
"""

import torch


def branch_mask(branches: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return which tokens each token sees.

    Args:
        branches: (B, S) int64; 0 for the shared beginning, then the number of the branch.
        mask: (B, S) bool; False for padding.

    Returns:
        (B, 1, S, S) bool, [b, 0, i, j] True if token i sees token j. A token of the padding sees itself, so that no row
        of the softmax is empty.
    """
    size = branches.shape[1]
    keys, queries = branches[:, None, :], branches[:, :, None]
    causal = torch.ones(size, size, dtype=torch.bool, device=branches.device).tril()
    seen = causal & mask[:, None, :] & ((keys == 0) | (keys == queries))
    return (seen | torch.eye(size, dtype=torch.bool, device=branches.device))[:, None]


def branch_positions(branches: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the position of each token as if its branch stood alone: (B, S) int64.

    Args:
        branches: (B, S) int64, as for :func:`branch_mask`; each branch in one piece.
        mask: (B, S) bool; False for padding, which is on the right.
    """
    places = torch.arange(branches.shape[1], device=branches.device).expand_as(branches)
    begins = torch.ones_like(mask)
    begins[:, 1:] = branches[:, 1:] != branches[:, :-1]
    in_branch = places - torch.where(begins, places, 0).cummax(dim=1).values
    shared = ((branches == 0) & mask).sum(dim=1, keepdim=True)
    return torch.where(branches == 0, places, shared + in_branch)
