"""MMEngine's runners with one rule for weights: they go by name into the bare model, before anything wraps it."""

from typing import Any

from mmengine.config import Config
from mmengine.runner import FlexibleRunner, Runner
from torch import nn

from geochat.engine.checkpoint import load_checkpoint
from geochat.registry import MODELS


def _fill_with_weights(model: nn.Module, load_from: str | None) -> None:
    """Load ``load_from``; without it, the pretrained weights that the parts of the model name."""
    if load_from is None:
        model.init_weights()
    else:
        print(load_checkpoint(model, load_from))


class GeoChatRunner(Runner):
    """MMEngine's runner for one process or DDP."""

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """Build the model and load its weights; see :meth:`mmengine.runner.Runner.build_model`."""
        built = super().build_model(model)
        weights = None if self._resume else self._load_from
        _fill_with_weights(built, weights)
        self._has_loaded = weights is not None
        return built

    def _init_model_weights(self) -> None:
        """Leave the model as it is: its weights are there since it was built."""


class GeoChatFlexibleRunner(FlexibleRunner):
    """MMEngine's runner for strategies such as DeepSpeed."""

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
