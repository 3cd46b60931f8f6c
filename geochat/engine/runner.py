"""MMEngine's runners with one rule for weights: they go by name into the bare model, before anything wraps it."""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import FlexibleRunner, Runner
from torch import nn
from torch.utils.data import DataLoader

from geochat.engine.checkpoint import load_saved_weights, load_start
from geochat.engine.distributed import open_process_group
from geochat.engine.run_checkpoint import find_checkpoint, resume_run, run_elsewhere
from geochat.registry import FUNCTIONS, STRATEGIES


def _fill_with_weights(runner: Runner | FlexibleRunner, model: nn.Module) -> None:
    """Load the runner's ``load_from``; without it, the pretrained weights that the parts of the model name.

    A run that resumes lays its checkpoint's weights over them. MMEngine loads none of it again.
    """
    report = load_start(model, runner._load_from)
    if report is not None:
        runner.logger.info(str(report))
    if runner._resume:
        runner.checkpoint = find_checkpoint(runner.work_dir)
        runner.logger.info(str(load_saved_weights(model, runner.checkpoint, run_elsewhere(runner.cfg))))


class _GeoChatRunner:
    """What both runners share: data loaders by short names, checkpoints of :mod:`geochat.engine.run_checkpoint`.

    Attributes:
        checkpoint: The folder that the run goes on from, until it has; None in a new run.
    """

    checkpoint: Path | None = None

    def load_or_resume(self) -> None:
        """Put back what a checkpoint has beside the weights; those are in the model since it was built."""
        if self.checkpoint is not None:
            resume_run(self, self.checkpoint)
            self.checkpoint = None

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict[str, Any], seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build a data loader; MMEngine's way takes its own functions only for the short name of a ``collate_fn``.

        See :meth:`mmengine.runner.Runner.build_dataloader`.
        """
        if isinstance(dataloader, dict) and isinstance(collate := dataloader.get('collate_fn'), dict):
            dataloader = {**dataloader, 'collate_fn': {**collate, 'type': FUNCTIONS.resolve(collate['type'])}}
        return Runner.build_dataloader(dataloader, seed, diff_rank_seed)


class GeoChatRunner(_GeoChatRunner, Runner):
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
        """Build the model and load its weights; see :meth:`mmengine.runner.Runner.build_model`.

        A run that only tests, and lets a server answer, has none.
        """
        if self.cfg.get('train_cfg') is None and (self.cfg.get('test_cfg') or {}).get('backend'):
            return nn.Identity()
        built = super().build_model(model)
        _fill_with_weights(self, built)
        return built

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Wrap the model for DDP, if there is one; on CPUs without the device that MMEngine's way names."""
        if isinstance(model, nn.Identity):
            return model
        if self.distributed and model_wrapper_cfg is None and not torch.cuda.is_available():
            unused = self.cfg.get('find_unused_parameters', False)
            return MMDistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=unused)
        return super().wrap_model(model_wrapper_cfg, model)

    def _init_model_weights(self) -> None:
        """Leave the model as it is: its weights are there since it was built."""


class GeoChatFlexibleRunner(_GeoChatRunner, FlexibleRunner):
    """MMEngine's runner for strategies such as DeepSpeed."""

    def build_strategy(self, strategy: dict[str, Any], **environment: Any) -> Any:
        """Build the strategy that the config names: MMEngine's way takes its own for a short name, at this point."""
        return super().build_strategy({**strategy, 'type': STRATEGIES.resolve(strategy['type'])}, **environment)

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'GeoChatFlexibleRunner':
        """Build the runner, then the model and its weights, so that the strategy wraps a model that is ready."""
        runner = super().from_cfg(cfg)
        if hasattr(runner.strategy, 'configure'):  # ours; MMEngine's strategies take what their config says
            runner.strategy.configure(runner.cfg, runner.hooks)
        runner.model = runner.strategy.build_model(runner.model)
        _fill_with_weights(runner, runner.model)
        runner.strategy.dispatch_kwargs['init_weights_for_test_or_val'] = False  # the strategy would do it once more
        return runner
