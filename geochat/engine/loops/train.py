"""The training loop: one iteration is one optimizer step, whatever the accumulation and the strategy."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from mmengine.dist import all_gather, get_world_size
from mmengine.runner import BaseLoop
from torch.utils.data import DataLoader

from geochat.engine.config import ConfigError
from geochat.engine.loops.step import LOSS_REDUCTIONS, forward_loss, mean_over_ranks, micro_batch_weights
from geochat.registry import LOOPS


@LOOPS.register_module()
class TrainLoop(BaseLoop):
    """Train for a number of epochs or optimizer steps.

    One iteration draws ``accumulation`` micro-batches and makes one optimizer step of them, alike under MMEngine's
    ``Runner`` on one process or DDP and under DeepSpeed. So ``max_iters``, schedules, warm-up, and the intervals of
    logging, validation and checkpoints all count optimizer steps. An epoch of M micro-batches has
    ``ceil(M / accumulation)`` steps; the last one takes what is left.

    Training resumes in the middle of an epoch at the next micro-batch, without loading those before it.

    Args:
        runner: MMEngine's runner; it fills this in.
        dataloader: Data loader of micro-batches, or its config; the runner fills this in.
        max_epochs: Passes over the data. Either this or ``max_iters``.
        max_iters: Optimizer steps.
        accumulation: Micro-batches that each rank takes for one optimizer step. It is said here and nowhere else.
        loss_reduction: ``'token'``: the mean over the supervised tokens of the global batch, whatever ranks and
            micro-batches they came in. ``'micro'``: the mean of the micro-batches' means.
        val_interval: Optimizer steps between validations; None validates after each epoch. The last step is
            always followed by one.
        val_begin: Optimizer step before which there is no validation.

    Raises:
        ConfigError: If a setting contradicts another, or the data loader is empty.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader | Mapping[str, Any],
        max_epochs: int | None = None,
        max_iters: int | None = None,
        accumulation: int = 1,
        loss_reduction: str = 'token',
        val_interval: int | None = None,
        val_begin: int = 1,
    ):
        _check_settings(max_epochs, max_iters, accumulation, loss_reduction)
        _check_accumulation_said_once(runner.optim_wrapper)
        if hasattr(strategy := getattr(runner, 'strategy', None), 'configure_training'):
            strategy.configure_training(accumulation, runner.hooks)
        super().__init__(runner, dataloader)
        self.accumulation = accumulation
        self.loss_reduction = loss_reduction
        self.steps_per_epoch = math.ceil(_micro_batches_per_epoch(self.dataloader) / accumulation)
        self._max_iters = max_iters or max_epochs * self.steps_per_epoch
        self._max_epochs = max_epochs or math.ceil(max_iters / self.steps_per_epoch)
        self._epoch = 0
        self._iter = 0
        self.val_interval = val_interval
        self.val_begin = val_begin
        self.stop_training = False  # MMEngine's EarlyStoppingHook sets it

    @property
    def max_epochs(self) -> int:
        """Epochs that the training enters."""
        return self._max_epochs

    @property
    def max_iters(self) -> int:
        """Optimizer steps of the whole training."""
        return self._max_iters

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return self._epoch

    @property
    def iter(self) -> int:
        """Optimizer steps completed."""
        return self._iter

    def run(self) -> Any:
        """Train to the end and return the model."""
        runner = self.runner
        # A checkpoint of an epoch that max_iters cut short calls it complete.
        self._epoch = min(self._epoch, self._iter // self.steps_per_epoch)
        runner.call_hook('before_train')
        runner.logger.info(self._describe())
        while self._iter < self._max_iters and not self.stop_training:
            self.run_epoch()
        runner.call_hook('after_train')
        return runner.model

    def _describe(self) -> str:
        start = f'from step {self._iter} on ' if self._iter else ''
        batch_size, ranks = getattr(self.dataloader.batch_sampler, 'batch_size', '?'), get_world_size()
        return (
            f'Training {start}to step {self._max_iters}; an epoch has {self.steps_per_epoch} optimizer steps. '
            f'A step takes micro-batches of {batch_size} records, {self.accumulation} on each of {ranks} processes.'
        )

    def run_epoch(self) -> None:
        """Run one epoch, or what is left of it after resuming."""
        done = self._iter - self._epoch * self.steps_per_epoch
        _set_epoch(self.dataloader, self._epoch)
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        batches = iter(_skip(self.dataloader, done * self.accumulation))
        for _ in range(done, self.steps_per_epoch):
            self.run_iter(list(islice(batches, self.accumulation)))
            if self.val_interval and (self._iter % self.val_interval == 0 or self._iter == self._max_iters):
                self._validate()
            if self._iter >= self._max_iters or self.stop_training:
                break
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
        if not self.val_interval:
            self._validate()

    def run_iter(self, batches: Sequence[Mapping[str, Any]]) -> None:
        """Make one optimizer step of the micro-batches of this rank."""
        runner, optim_wrapper = self.runner, self.runner.optim_wrapper
        runner.call_hook('before_train_iter', batch_idx=self._iter, data_batch=batches)
        weights = micro_batch_weights(batches, self.loss_reduction)
        logged: dict[str, torch.Tensor] = {}
        for index, (batch, weight) in enumerate(zip(batches, weights, strict=True), start=1):
            with self._micro_step(is_last=index == len(batches)):
                with optim_wrapper.optim_context(runner.model):
                    loss, scalars = forward_loss(runner.model, batch, training=True)
                optim_wrapper.backward(loss * weight)
            for name, value in scalars.items():
                logged[name] = logged.get(name, 0) + value * weight
        optim_wrapper.step()
        optim_wrapper.zero_grad()
        outputs = mean_over_ranks(logged)
        runner.call_hook('after_train_iter', batch_idx=self._iter, data_batch=batches, outputs=outputs)
        self._iter += 1

    def _micro_step(self, is_last: bool) -> contextlib.AbstractContextManager:
        """Exchange gradients between ranks at the last micro-batch of a step only."""
        runner = self.runner
        if hasattr(runner.optim_wrapper, 'micro_step'):
            return runner.optim_wrapper.micro_step(is_last)
        if is_last or not hasattr(runner.model, 'no_sync'):
            return contextlib.nullcontext()
        return runner.model.no_sync()

    def _validate(self) -> None:
        if self.runner.val_loop is not None and self._iter >= self.val_begin:
            self.runner.val_loop.run()
            self.runner.model.train()


def _check_settings(max_epochs: int | None, max_iters: int | None, accumulation: int, loss_reduction: str) -> None:
    if (max_epochs is None) == (max_iters is None):
        raise ConfigError(f'train_cfg takes either max_epochs or max_iters, not {max_epochs=} and {max_iters=}')
    for name, value in {'max_epochs': max_epochs, 'max_iters': max_iters, 'accumulation': accumulation}.items():
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ConfigError(f'train_cfg.{name} must be a whole number above 0, not {value!r}')
    if loss_reduction not in LOSS_REDUCTIONS:
        raise ConfigError(f'train_cfg.loss_reduction {loss_reduction!r} is none of {", ".join(LOSS_REDUCTIONS)}')


def _check_accumulation_said_once(optim_wrapper: Any) -> None:
    if isinstance(optim_wrapper, Mapping) and optim_wrapper.get('accumulative_counts', 1) != 1:
        raise ConfigError(
            'optim_wrapper.accumulative_counts is not used: the accumulation is said in train_cfg.accumulation'
        )


def _micro_batches_per_epoch(dataloader: DataLoader) -> int:
    """Return the length of the data loader, which must be the same on every rank."""
    lengths = [int(length) for length in all_gather(torch.tensor(len(dataloader)))]
    if len(set(lengths)) > 1:
        raise ConfigError(f'the ranks have different numbers of micro-batches an epoch: {lengths}')
    if not lengths[0]:
        raise ConfigError(f'the training data of {len(dataloader.dataset)} records makes no batch')
    return lengths[0]


def _set_epoch(dataloader: DataLoader, epoch: int) -> None:
    """Tell every sampler of a data loader the epoch, so that its order is a function of seed and epoch."""
    samplers = [dataloader.sampler, dataloader.batch_sampler, getattr(dataloader.batch_sampler, 'sampler', None)]
    for sampler in {id(sampler): sampler for sampler in samplers}.values():
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(epoch)


class _Rest:
    """The batches of a batch sampler from some position on; those before it are counted, never loaded."""

    def __init__(self, batch_sampler: Any, start: int):
        self.batch_sampler = batch_sampler
        self.start = start

    def __iter__(self) -> Iterator[list[int]]:
        return islice(iter(self.batch_sampler), self.start, None)

    def __len__(self) -> int:
        return len(self.batch_sampler) - self.start


def _skip(dataloader: DataLoader, count: int) -> DataLoader:
    """Return a data loader of the batches after the first ``count``."""
    if not count:
        return dataloader
    return DataLoader(
        dataloader.dataset,
        batch_sampler=_Rest(dataloader.batch_sampler, count),
        num_workers=dataloader.num_workers,
        collate_fn=dataloader.collate_fn,
        pin_memory=dataloader.pin_memory,
        timeout=dataloader.timeout,
        worker_init_fn=dataloader.worker_init_fn,
        multiprocessing_context=dataloader.multiprocessing_context,
        generator=dataloader.generator,
        prefetch_factor=dataloader.prefetch_factor,
    )
