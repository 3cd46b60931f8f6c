"""How gradients become updates: mixed precision on any device, and the learning rate over a run."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from torch import nn

from geochat.engine.config import ConfigError
from geochat.registry import OPTIM_WRAPPERS, PARAM_SCHEDULERS

PRECISIONS = ('bfloat16', 'float16')


def check_precision(dtype: str) -> None:
    """Refuse a precision of mixed-precision training that is unknown or that this machine lacks.

    Raises:
        ConfigError: Says which precision to take instead.
    """
    if dtype not in PRECISIONS:
        raise ConfigError(
            f'optim_wrapper.dtype {dtype!r} is none of {", ".join(PRECISIONS)}; '
            'for float32 set optim_wrapper.type to OptimWrapper'
        )
    if dtype == 'float16' and not torch.cuda.is_available():
        raise ConfigError("optim_wrapper.dtype 'float16' needs a GPU; 'bfloat16' runs on the CPU too")
    if (
        dtype == 'bfloat16'
        and torch.cuda.is_available()
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        raise ConfigError(
            f"optim_wrapper.dtype 'bfloat16': {torch.cuda.get_device_name()} lacks it (GPUs have it from compute "
            "capability 8.0 on); use 'float16'"
        )


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(OptimWrapper):
    """Automatic mixed precision; MMEngine's class of this name runs on accelerators only.

    Args:
        optimizer: The optimizer.
        dtype: ``'bfloat16'`` (any device) or ``'float16'`` (with loss scaling; not on the CPU).
        clip_grad: Settings of gradient clipping, such as ``dict(max_norm=1.0)``.

    Raises:
        ConfigError: If the precision is unknown, or this machine lacks it.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        dtype: str = 'bfloat16',
        clip_grad: Mapping[str, Any] | None = None,
    ):
        super().__init__(optimizer, clip_grad=None if clip_grad is None else dict(clip_grad))
        check_precision(dtype)
        self.dtype = getattr(torch, dtype)
        self.loss_scaler = torch.amp.GradScaler('cuda') if dtype == 'float16' else None

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward in mixed precision on the model's device."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=self.dtype):
            yield

    def backward(self, loss: torch.Tensor) -> None:
        """Accumulate gradients."""
        super().backward(loss if self.loss_scaler is None else self.loss_scaler.scale(loss))

    def step(self) -> None:
        """Clip the gradients and update the parameters."""
        if self.loss_scaler is None:
            super().step()
            return
        if self.clip_grad_kwargs:
            self.loss_scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.loss_scaler.step(self.optimizer)
        self.loss_scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state and the loss scale."""
        state = super().state_dict()
        if self.loss_scaler is not None:
            state['loss_scaler'] = self.loss_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        scale = state_dict.pop('loss_scaler', None)
        if scale is not None and self.loss_scaler is not None:
            self.loss_scaler.load_state_dict(scale)
        super().load_state_dict(state_dict)


def cosine_with_warmup(step: int, warmup_steps: int, total_steps: int) -> float:
    """Return the share of the peak learning rate at an optimizer step.

    It rises linearly from 0 to 1 over ``warmup_steps``, then falls along a half cosine to 0 at ``total_steps``: the
    schedule ``'cosine'`` of Hugging Face's Trainer, with which LLaVA and GeoChat were trained.

    Args:
        step: The step about to be made, from 0.
        warmup_steps: Steps of the rise.
        total_steps: Steps of the whole run.
    """
    if step < warmup_steps:
        return step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


@PARAM_SCHEDULERS.register_module()
class CosineWithWarmupLR(LRSchedulerMixin, _ParamScheduler):
    """Warm-up, then cosine decay to 0; see :func:`cosine_with_warmup`.

    Args:
        optimizer: The optimizer or its wrapper; the runner fills this in.
        end: Optimizer steps of the whole run; the runner fills this in from the training loop.
        warmup_ratio: Share of the run that warms up, as in Hugging Face's Trainer: rounded up to whole steps.
        by_epoch: Must be False: it runs over optimizer steps. (MMEngine reads it from the config.)

    Raises:
        ConfigError: If ``by_epoch`` is True or the ratio is not in [0, 1].
    """

    def __init__(self, optimizer: Any, end: int, warmup_ratio: float = 0.03, by_epoch: bool = False):
        if by_epoch:
            raise ConfigError('CosineWithWarmupLR runs over optimizer steps: set by_epoch=False in param_scheduler')
        if not 0 <= warmup_ratio <= 1:
            raise ConfigError(f'param_scheduler.warmup_ratio must be in [0, 1], not {warmup_ratio!r}')
        self.total_steps = end
        self.warmup_steps = math.ceil(end * warmup_ratio)
        super().__init__(optimizer, end=end, by_epoch=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore how far the run was; how long it is, and its warm-up, are the config's."""
        lasting = ('end', 'total_steps', 'warmup_steps')
        super().load_state_dict({key: value for key, value in state_dict.items() if key not in lasting})

    def _get_value(self) -> list[float]:
        share = cosine_with_warmup(self.last_step, self.warmup_steps, self.total_steps)
        return [base * share for base in self.base_values]
