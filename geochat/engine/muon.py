"""Muon for the matrices of a model and AdamW for the rest: fewer steps for models that start from random weights."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from geochat.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS


@OPTIMIZERS.register_module()
class MuonAdamW(torch.optim.Optimizer):
    """PyTorch's Muon and AdamW as one optimizer.

    Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) makes the update of a matrix orthogonal, so
    that directions in which the gradient is small learn as fast as those in which it is large.

    Args:
        matrices: Weights of linear layers; Muon updates them.
        others: Embeddings, output head, norms and biases; AdamW updates them.
        lr: AdamW's learning rate.
        muon_lr: Muon's learning rate.
        momentum: Muon's momentum.
        betas: AdamW's decay rates.
        weight_decay: Of both.
    """

    def __init__(
        self,
        matrices: Iterable[torch.Tensor],
        others: Iterable[torch.Tensor],
        lr: float,
        muon_lr: float = 0.02,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.0,
    ):
        muon = torch.optim.Muon(matrices, lr=muon_lr, momentum=momentum, weight_decay=weight_decay)
        adamw = torch.optim.AdamW(others, lr=lr, betas=tuple(betas), weight_decay=weight_decay)
        super().__init__([*muon.param_groups, *adamw.param_groups], {'lr': lr})
        self.parts = {'muon': muon, 'adamw': adamw}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update all weights; see :meth:`torch.optim.Optimizer.step`."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts.values():
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        for name, part in self.parts.items():
            part.load_state_dict(state_dict[name])
        # Loading makes new groups; a schedule changes the groups of this optimizer.
        self.param_groups = [group for part in self.parts.values() for group in part.param_groups]


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MuonConstructor(DefaultOptimWrapperConstructor):
    """Builds :class:`MuonAdamW` for a model: its linear layers but the LLM's head go to Muon.

    The settings of ``optim_wrapper.optimizer`` are :class:`MuonAdamW`'s, without the weights.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer and its wrapper."""
        matrices, others = split_weights(getattr(model, 'module', model))
        optimizer = OPTIMIZERS.build({**self.optimizer_cfg, 'matrices': matrices, 'others': others})
        return OPTIM_WRAPPERS.build({**self.optim_wrapper_cfg, 'optimizer': optimizer})


def split_weights(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return a model's trained weights: those of linear layers but the LLM's head, and all others."""
    head = model.llm.model.get_output_embeddings()
    linear = {id(layer.weight) for layer in model.modules() if isinstance(layer, nn.Linear) and layer is not head}
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    matrices = [weight for weight in trained if id(weight) in linear]
    return matrices, [weight for weight in trained if id(weight) not in linear]
