"""The line that a run prints while it trains: how far it is, how it does, and how long it still takes."""

import datetime
from collections.abc import Mapping
from typing import Any

from mmengine.hooks import LoggerHook
from mmengine.runner import LogProcessor

from geochat.registry import HOOKS, LOG_PROCESSORS

SPEED = {
    'samples_per_second': '{:.1f} samples/s',
    'tokens_per_second': '{:.0f} tokens/s',
    'mfu': '{:.0%} MFU',
    'mfu_vision': '',
    'mfu_language': '',
    'data_waiting': '',
}
"""What ``ThroughputHook`` measures, and how a line says it; the rest is for curves."""


@HOOKS.register_module()
class ProgressHook(LoggerHook):
    """MMEngine's ``LoggerHook`` counting optimizer steps: it logs the first, the last and every ``interval``-th.

    Args:
        interval: Optimizer steps between two lines.
    """

    def __init__(self, interval: int = 10):
        super().__init__(interval=interval, log_metric_by_epoch=False)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Mapping[str, float] | None = None
    ) -> None:
        """Log if it is time to."""
        is_first = runner.iter == 0
        if not (is_first or self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            return
        scalars, line = runner.log_processor.get_log_after_iter(runner, batch_idx, 'train')
        runner.logger.info(line)
        runner.visualizer.add_scalars(scalars, step=runner.iter + 1, file_path=self.json_log_path)

    def after_test_epoch(self, runner: Any, metrics: Mapping[str, float] | None = None) -> None:
        """Do nothing: the benchmark loop prints a table of its own, and writes its own files."""


@LOG_PROCESSORS.register_module()
class ProgressLine(LogProcessor):
    """Writes training lines as ``step 50/1000 (5 %) | 0:01:35 left | loss 2.3101 | lr 1.0e-03 | 0.10 s/step``.

    What :class:`~geochat.engine.hooks.ThroughputHook` measures follows: ``96.0 samples/s | 72000 tokens/s | 41% MFU``.

    Args:
        window_size: Optimizer steps over which losses and times are averaged.
    """

    def __init__(self, window_size: int = 10):
        super().__init__(window_size=window_size, by_epoch=False)

    def get_log_after_iter(self, runner: Any, batch_idx: int, mode: str) -> tuple[dict[str, Any], str]:
        """Return the scalars for the visualisation back ends and the line for the terminal."""
        scalars, line = super().get_log_after_iter(runner, batch_idx, mode)
        return (scalars, self._training_line(runner, scalars)) if mode == 'train' else (scalars, line)

    def _training_line(self, runner: Any, scalars: Mapping[str, Any]) -> str:
        rest = dict(scalars)
        step, total = rest.pop('iter'), runner.max_iters
        parts = [f'step {step:>{len(str(total))}}/{total} ({100 * step // total:>3} %)']
        if 'eta' in runner.message_hub.runtime_info:
            left = datetime.timedelta(seconds=int(runner.message_hub.get_info('eta')))
            parts.append(f'{left} left')
        time, data_time = rest.pop('time', None), rest.pop('data_time', None)
        lr = rest.pop('lr', None)
        rest.pop('base_lr', None)
        memory = rest.pop('memory', None)
        speed = {name: rest.pop(name) for name in SPEED if name in rest}
        parts += [f'{name} {value:.4f}' for name, value in rest.items()]
        if lr is not None:
            parts.append(f'lr {lr:.1e}')
        if time is not None:
            waiting = f' ({100 * data_time / time:.0f} % waiting for data)' if data_time and time else ''
            parts.append(f'{time:.2f} s/step{waiting}')
        parts += [text.format(speed[name]) for name, text in SPEED.items() if text and name in speed]
        if memory is not None:
            parts.append(f'{memory:.0f} MB')
        return ' | '.join(parts)
