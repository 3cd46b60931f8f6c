"""Leaves a model folder: the weights, the config of the parts and the tokenizer, ready to load anywhere."""

from pathlib import Path
from typing import Any

from mmengine.hooks import Hook

from geochat.engine.config import ConfigError
from geochat.engine.loops.step import bare_model
from geochat.registry import HOOKS


@HOOKS.register_module()
class ModelFolderHook(Hook):
    """Write the model folder ``model`` into the work directory at the end of the training.

    This folder is what ``tools/test.py`` and ``geochat.apis.load_model`` take.

    Args:
        whole: True writes all weights. False leaves out what was not trained and other files hold (``pretrained``,
            ``load_from``), which must be there when the folder is loaded; the projector is always written.

    Raises:
        ConfigError: If all weights are to be written and some are kept in 4 bits.
    """

    priority = 'VERY_LOW'

    def __init__(self, whole: bool = False):
        self.whole = whole

    def before_train(self, runner: Any) -> None:
        """Refuse what would fail after the training."""
        if self.whole and (runner.cfg.get('llm') or {}).get('quantization'):
            raise ConfigError(
                'default_hooks.model_folder.whole=True: weights in 4 bits are not written; leave it out, and make a '
                'whole model afterwards with tools/model_converters/merge_lora.py'
            )

    def after_train(self, runner: Any) -> None:
        """Write the folder; one process does, the others help it where weights are spread over them."""
        from geochat.engine.checkpoint import save_model
        from geochat.engine.run_checkpoint import run_parts

        model, base = bare_model(runner.model), runner.cfg.get('load_from')
        folder = save_model(model, run_parts(runner.cfg), Path(runner.work_dir) / 'model', self.whole, base)
        runner.logger.info(f'The model is in {folder}')
