"""A projector that hands the LLM fewer tokens than the vision encoder gives."""

import torch
from torch import nn

from geochat.registry import PROJECTORS


@PROJECTORS.register_module()
class PoolingProjector(nn.Module):
    """Averages each run of neighbouring picture tokens, then maps them linearly.

    Args:
        in_features: Width of the picture features.
        out_features: Width of the LLM's embeddings.
        stride: How many tokens become one.
    """

    def __init__(self, in_features: int, out_features: int, stride: int = 4):
        super().__init__()
        self.stride = stride
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map features (N, L, in_features) to (N, L / stride, out_features).

        Raises:
            ValueError: If L is no multiple of the stride.
        """
        if features.shape[1] % self.stride:
            raise ValueError(f'{features.shape[1]} picture tokens cannot be pooled by {self.stride}')
        return self.linear(features.unflatten(1, (-1, self.stride)).mean(2))
