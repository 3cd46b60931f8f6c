"""Checkpoints whose log is plain arrays, so that a reader who takes tensors only can read the file."""

from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer

from geochat.registry import HOOKS


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Writes the log in a checkpoint as arrays, and turns it back when a run resumes.

    MMEngine pickles its log buffers with their methods; PyTorch's safe loading refuses such a file, weights and all.
    """

    priority = 'LOWEST'

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Replace the log buffers by arrays."""
        scalars = checkpoint.get('message_hub', {}).get('log_scalars', {})
        for name, buffer in scalars.items():
            if isinstance(buffer, HistoryBuffer):
                values, counts = buffer.data
                scalars[name] = {'values': np.asarray(values, dtype=np.float64), 'counts': np.asarray(counts)}

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Turn the arrays back into log buffers."""
        scalars = checkpoint.get('message_hub', {}).get('log_scalars', {})
        for name, log in scalars.items():
            if isinstance(log, dict):
                scalars[name] = HistoryBuffer(log['values'].tolist(), log['counts'].tolist())
