"""Validation during training: the loss on held-out records, nothing generated."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import all_gather, all_reduce
from mmengine.runner import BaseLoop
from torch.utils.data import DataLoader

from geochat.engine.batches import WorkerStart
from geochat.engine.config import ConfigError
from geochat.engine.loops.step import LOSS_REDUCTIONS, check_share, count_supervised, forward_loss
from geochat.registry import LOOPS


@LOOPS.register_module()
class ValLoop(BaseLoop):
    """Compute the mean loss over the validation data; every rank makes the same number of forwards.

    Generation and benchmarks are ``tools/test.py``'s.

    Args:
        runner: MMEngine's runner; it fills this in.
        dataloader: Data loader, or its config; the runner fills this in.
        evaluator: MMEngine's runner hands over ``val_evaluator``, which must be an empty list.
        loss_reduction: ``'token'``: the mean over the supervised tokens. ``'micro'``: the mean over the batches.

    Raises:
        ConfigError: If there are metrics in ``val_evaluator``, or fewer records than ranks.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader | Mapping[str, Any],
        evaluator: Sequence[Any] = (),
        loss_reduction: str = 'token',
    ):
        if evaluator:
            raise ConfigError('validation is the loss only: leave val_evaluator empty and test with tools/test.py')
        if loss_reduction not in LOSS_REDUCTIONS:
            raise ConfigError(f'val_cfg.loss_reduction {loss_reduction!r} is none of {", ".join(LOSS_REDUCTIONS)}')
        super().__init__(runner, dataloader)
        check_share(self.dataloader, 'val_dataloader')
        if not len(self.dataloader):
            raise ConfigError(f'the validation data of {len(self.dataloader.dataset)} records makes no batch')
        self.dataloader.worker_init_fn = WorkerStart(self.dataloader.worker_init_fn)
        self.loss_reduction = loss_reduction

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        """Validate.

        Returns:
            ``loss`` and every other scalar of the model whose name contains ``loss``, over all ranks.
        """
        runner = self.runner
        runner.call_hook('before_val')
        runner.call_hook('before_val_epoch')
        runner.model.eval()
        sums: dict[str, float] = {}
        weight_sum = 0.0
        last = None
        with contextlib.closing(self._batches()) as batches:
            for index in range(self._forwards()):
                batch = next(batches, None)
                # A rank with fewer batches repeats its last one without weight: collectives inside the model need it.
                weight = self._weight(batch)
                last = batch if batch is not None else last
                runner.call_hook('before_val_iter', batch_idx=index, data_batch=last)
                with runner.optim_wrapper.optim_context(runner.model):
                    _, scalars = forward_loss(runner.model, last, training=False)
                runner.call_hook('after_val_iter', batch_idx=index, data_batch=last, outputs=None)
                weight_sum += weight
                for name, value in scalars.items():
                    sums[name] = sums.get(name, 0.0) + (value.item() * weight if weight else 0.0)
        metrics = _weighted_means(sums, weight_sum)
        runner.call_hook('after_val_epoch', metrics=metrics)
        runner.call_hook('after_val')
        return metrics

    def _batches(self) -> Iterator[Mapping[str, Any]]:
        """Go through the data; the worker processes end with it, since they ignore the signal by which Python would."""
        try:
            yield from self.dataloader
        finally:
            self.dataloader._iterator = None  # PyTorch's, of ``persistent_workers``

    def _forwards(self) -> int:
        return int(max(all_gather(torch.tensor(len(self.dataloader)))))

    def _weight(self, batch: Mapping[str, Any] | None) -> float:
        if batch is None:
            return 0.0
        return float(count_supervised(batch)) if self.loss_reduction == 'token' else 1.0


def _weighted_means(sums: Mapping[str, float], weight: float) -> dict[str, float]:
    totals = torch.tensor([*sums.values(), weight], dtype=torch.float64)
    all_reduce(totals)
    if not totals[-1]:
        raise ValueError('no token of the validation data carries loss: its records have no answer')
    return dict(zip(sums, (totals[:-1] / totals[-1]).tolist(), strict=True))
