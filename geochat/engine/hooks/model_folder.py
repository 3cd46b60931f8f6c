"""Leaves a model folder: the weights, the config of the parts and the tokenizer, ready to load anywhere."""

import contextlib
from pathlib import Path
from typing import Any

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from torch import nn

from geochat.engine.loops.step import bare_model
from geochat.registry import HOOKS, PART_REGISTRIES


@HOOKS.register_module()
class ModelFolderHook(Hook):
    """Write the model folder ``model`` into the work directory at the end of the training.

    Checkpoints are for resuming; this folder is what ``tools/test.py`` and ``geochat.apis.load_model`` take.
    """

    priority = 'VERY_LOW'

    def after_train(self, runner: Any) -> None:
        """Write the folder; one process does, the others wait."""
        from geochat.engine.checkpoint import save_model

        model = bare_model(runner.model)
        with _whole_weights(model):
            if is_main_process():
                parts = {name: runner.cfg[name] for name in PART_REGISTRIES}
                folder = save_model(model, parts, Path(runner.work_dir) / 'model')
                runner.logger.info(f'The model is in {folder}')
        barrier()


def _whole_weights(model: nn.Module) -> contextlib.AbstractContextManager:
    """Bring the weights together on every process, where ZeRO-3 has spread them."""
    spread = [weight for weight in model.parameters() if hasattr(weight, 'ds_id')]
    if not spread:
        return contextlib.nullcontext()
    from deepspeed.runtime.zero import GatheredParameters

    return GatheredParameters(spread)
