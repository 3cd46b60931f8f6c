"""MMEngine's runners with one rule for weights: they go by name into the bare model, before anything wraps it."""

from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import FlexibleRunner, Runner
from torch import nn

from geochat.engine.checkpoint import load_checkpoint
from geochat.engine.distributed import open_process_group
from geochat.registry import MODELS, STRATEGIES


def _fill_with_weights(runner: Runner | FlexibleRunner, model: nn.Module) -> None:
    """Load the runner's ``load_from``; without it, the pretrained weights that the parts of the model name.

    MMEngine loads neither again. A run that resumes reads its checkpoint later, over the pretrained weights.
    """
    if runner._load_from is None or runner._resume:
        model.init_weights()
    else:
        runner.logger.info(str(load_checkpoint(model, runner._load_from)))
        runner._has_loaded = True


class GeoChatRunner(Runner):
    """MMEngine's runner for one process or DDP."""

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Set the number of threads and open the process group, which MMEngine's way does on GPUs only.

        ``env_cfg.cpu_threads`` is PyTorch's threads for one operator. See :class:`mmengine.runner.Runner` for the rest.
        """
        if env_cfg.get('cpu_threads'):
            torch.set_num_threads(env_cfg['cpu_threads'])
        if self.distributed:
            open_process_group(self.launcher)
        super().setup_env(env_cfg)

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """Build the model and load its weights; see :meth:`mmengine.runner.Runner.build_model`."""
        built = super().build_model(model)
        _fill_with_weights(self, built)
        return built

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Wrap the model for DDP; on CPUs without the device that MMEngine's way names."""
        if self.distributed and model_wrapper_cfg is None and not torch.cuda.is_available():
            unused = self.cfg.get('find_unused_parameters', False)
            return MMDistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=unused)
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
        _fill_with_weights(runner, runner.model)
        runner.strategy.dispatch_kwargs['init_weights_for_test_or_val'] = False  # the strategy would do it once more
        return runner
