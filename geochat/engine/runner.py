"""MMEngine's runners with one rule for weights: they go by name into the bare model, before anything wraps it."""

from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import MMDistributedDataParallel
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import FlexibleRunner, Runner
from torch import nn

from geochat.engine.checkpoint import load_checkpoint
from geochat.engine.distributed import open_process_group
from geochat.engine.distributed import open_process_group
from geochat.registry import MODELS, STRATEGIES


def _fill_with_weights(model: nn.Module, load_from: str | None) -> None:
    """Load ``load_from``; without it, the pretrained weights that the parts of the model name."""
    if load_from is None:
        model.init_weights()
    else:
        print(load_checkpoint(model, load_from))


class GeoChatRunner(Runner):
    """MMEngine's runner for one process or DDP."""

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Open the process group where there is a launcher, on CPUs too, then do as MMEngine does."""
        if self.distributed:
            open_process_group(self.launcher)
        super().setup_env(env_cfg)

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Open the process group, which MMEngine's way does on GPUs only; then see :class:`mmengine.runner.Runner`."""
        if self.distributed:
            open_process_group(self.launcher)
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Wrap the model for DDP; on CPUs without the device that MMEngine's way names."""
        if self.distributed and model_wrapper_cfg is None and not torch.cuda.is_available():
            unused = self.cfg.get('find_unused_parameters', False)
            return MMDistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=unused)
        return super().wrap_model(model_wrapper_cfg, model)

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """Build the model and load its weights; see :meth:`mmengine.runner.Runner.build_model`."""
        built = super().build_model(model)
        weights = None if self._resume else self._load_from
        _fill_with_weights(built, weights)
        self._has_loaded = weights is not None
        return built

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Wrap the model for DDP; MMEngine's wrapping takes GPUs for granted."""
        if self.distributed and model_wrapper_cfg is None and get_device() == 'cpu':
            find_unused = self.cfg.get('find_unused_parameters', False)
            return MMDistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=find_unused)
        return super().wrap_model(model_wrapper_cfg, model)

    def _init_model_weights(self) -> None:
        """Leave the model as it is: its weights are there since it was built."""


class GeoChatFlexibleRunner(FlexibleRunner):
    """MMEngine's runner for strategies such as DeepSpeed."""

    def build_strategy(self, strategy: dict[str, Any], **environment: Any) -> Any:
        """Build the strategy that the config names: MMEngine's way takes its own for a short name, at this point."""
        return super().build_strategy({**strategy, 'type': STRATEGIES.resolve(strategy['type'])}, **environment)

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'GeoChatFlexibleRunner':
        """Build the runner, then the model and its weights, so that the strategy gets a whole model to spread."""
        runner = super().from_cfg(cfg)
        runner.model = MODELS.build(runner.model)
        weights = None if runner._resume else runner._load_from
        _fill_with_weights(runner.model, weights)
        runner._has_loaded = weights is not None
        runner.strategy.dispatch_kwargs['init_weights_for_test_or_val'] = False  # the strategy would do it once more
        return runner
