"""What every vision encoder offers to the model and to the data that is prepared for it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn


class VisionEncoder(nn.Module, ABC):
    """Pictures to rows of features.

    Attributes:
        hidden_size: Features of a row.
        image_size: Side in pixels of the square pictures it takes.
        patch_size: Side in pixels of the square that one row stands for.
    """

    hidden_size: int
    image_size: int
    patch_size: int

    @classmethod
    @abstractmethod
    def image_transform(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Tell from the part's config alone how pictures are prepared for it.

        Args:
            settings: The part's config without its ``type``.

        Returns:
            ``size`` (pixels), ``mean`` and ``std`` (three channels, of values in [0, 1]).
        """

    @abstractmethod
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode normalised pictures (N, 3, H, W) as features (N, L, hidden_size)."""

    @abstractmethod
    def num_tokens(self, size: int) -> int:
        """Rows ``L`` for a picture of ``size`` by ``size`` pixels."""

    def forward_flops(self) -> int:
        """Floating-point operations of one picture's forward pass, for model FLOP utilisation.

        This default counts the linear layers, each once a row of features; an encoder that knows better overrides it.
        """
        weights = sum(
            layer.in_features * layer.out_features for layer in self.modules() if isinstance(layer, nn.Linear)
        )
        return 2 * weights * self.num_tokens(self.image_size)

    def load_pretrained(self) -> None:
        """Read the weights that the part's config names, if it names any."""

    def adapt_weights(
        self, weights: Iterable[tuple[str, torch.Tensor]], prefix: str = ''
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Fit a checkpoint's weights to this encoder, such as a position table to its picture size.

        Args:
            weights: Names and tensors, of other parts too.
            prefix: What this encoder's names begin with in the checkpoint.

        Yields:
            Names and tensors.
        """
        yield from weights
