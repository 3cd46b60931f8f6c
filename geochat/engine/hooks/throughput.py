"""How fast a run is: records and tokens a second, the share of the device's peak, and how long it waits for data."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook

from geochat.engine.flops import ModelFlops, Work, peak_flops, work_of
from geochat.engine.loops.step import bare_model
from geochat.registry import HOOKS


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Measure the whole path of a training step, from waiting for data to the update.

    Validation and checkpoints are no part of it.

    Every ``interval`` steps it gives the log, over the steps since the last time and all processes together:

    - ``samples_per_second``: records, however many rows they were packed into;
    - ``tokens_per_second``: tokens that are not padding, each picture's features among them;
    - ``mfu``, and its parts ``mfu_vision`` (encoder and projector) and ``mfu_language``: model FLOP utilisation, the
      operations that the model needs (:mod:`geochat.engine.flops`) as a share of what the devices could have done in
      that time. Chowdhery et al. 2022, arXiv 2204.02311, appendix B: what gradient checkpointing computes again is not
      counted;
    - ``data_waiting``: the share of the time in which this process waited for data;
    - ``memory`` where there is no GPU: the most memory in MB this process has had so far (MMEngine logs the GPU's).

    Args:
        interval: Optimizer steps between two measurements.
        peak_flops: Operations a second that one device can do at best, for ``mfu``; None takes the number of the
            device's data sheet (:data:`geochat.engine.flops.PEAK_FLOPS`), and leaves ``mfu`` out where there is none.
    """

    def __init__(self, interval: int = 10, peak_flops: float | None = None):
        self.interval = interval
        self.peak_flops = peak_flops

    def before_train(self, runner: Any) -> None:
        """Read from the model what a token and a picture cost, and start the clock."""
        self.flops = ModelFlops(bare_model(runner.model))
        if self.peak_flops is None and torch.cuda.is_available():
            self.peak_flops = peak_flops(name := torch.cuda.get_device_name())
            if self.peak_flops is None:
                runner.logger.warning(
                    f'The peak of {name} is not known: set peak_flops of ThroughputHook for its FLOP utilisation'
                )
        self._start()

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Note the time: the data is there, the step begins."""
        self._step_began = time.perf_counter()

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Sequence[Mapping[str, Any]] | None = None,
        outputs: Mapping[str, float] | None = None,
    ) -> None:
        """Count the step's work, and log if it is time to."""
        waited = runner.train_loop.data_seconds
        self._waited += waited
        self._elapsed += waited + time.perf_counter() - self._step_began
        for batch in data_batch:
            self._work += work_of(batch, self.flops.tokens_per_picture)
        if self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner):
            for name, value in self._measured().items():
                runner.message_hub.update_scalar(f'train/{name}', value)
            self._start()

    def _start(self) -> None:
        self._work, self._elapsed, self._waited = Work(), 0.0, 0.0

    def _measured(self) -> dict[str, float]:
        vision, language = self.flops.vision(self._work), self.flops.language(self._work)
        sums = torch.tensor([self._work.records, self._work.tokens, vision, language], dtype=torch.float64)
        all_reduce(sums)
        records, tokens, vision, language = (sums / self._elapsed).tolist()
        measured = {
            'samples_per_second': records,
            'tokens_per_second': tokens,
            'data_waiting': self._waited / self._elapsed,
        }
        if self.peak_flops is not None:
            peak = self.peak_flops * get_world_size()
            measured |= {
                'mfu': (vision + language) / peak,
                'mfu_vision': vision / peak,
                'mfu_language': language / peak,
            }
        if not torch.cuda.is_available():
            measured['memory'] = peak_resident_memory() / 2**20
        return measured


def peak_resident_memory() -> int:
    """Return the most bytes of main memory that this process has had so far."""
    import resource  # Windows has none

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024  # macOS counts bytes, Linux KiB
