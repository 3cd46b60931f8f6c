"""The training loop: one iteration is one optimizer step, whatever the accumulation and the strategy."""

import contextlib
import math
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import mmengine.hooks
import torch
from mmengine.dist import all_gather, all_reduce, get_world_size
from mmengine.runner import BaseLoop
from torch.utils.data import DataLoader

from geochat.engine.batches import TrainBatches
from geochat.engine.config import ConfigError
from geochat.engine.interruption import StopSignals, TrainingInterrupted
from geochat.engine.loops.step import LOSS_REDUCTIONS, check_share, forward_loss, mean_over_ranks, micro_batch_weights
from geochat.engine.randomness import set_random_state, undisturbed_randomness
from geochat.registry import LOOPS

_ORDER = {
    'num_records': 'the number of training records was',
    'batch_size': 'train_dataloader.batch_size was',
    'accumulation': 'train_cfg.accumulation was',
    'num_ranks': 'the number of processes was',
    'steps_per_epoch': 'the number of optimizer steps of an epoch was',
}
"""What a position in the data depends on, and how a message says it."""


@LOOPS.register_module()
class TrainLoop(BaseLoop):
    """Train for a number of epochs or optimizer steps.

    One iteration draws ``accumulation`` micro-batches and makes one optimizer step of them, alike under MMEngine's
    ``Runner`` on one process or DDP and under DeepSpeed. So ``max_iters``, schedules, warm-up, and the intervals of
    logging, validation and checkpoints all count optimizer steps. An epoch of M micro-batches has
    ``ceil(M / accumulation)`` steps; the last one takes what is left.

    Training resumes in the middle of an epoch at the next micro-batch, without loading those before it, and goes on
    exactly as it would have without the interruption. After each step, its validation included, the loop calls the
    hooks' ``after_step(runner)``: what is saved there is all that the step did. SIGTERM and Ctrl-C end the training
    there (see :class:`~geochat.engine.interruption.StopSignals`).

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

    Attributes:
        saved_to: The newest checkpoint; the hook that writes it says so here.
        random_state: What the generators of this rank are to be set to before the first step; None leaves them.

    Raises:
        ConfigError: If a setting contradicts another, or there are fewer records than ranks.
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
        super().__init__(runner, dataloader)
        check_share(self.dataloader, 'train_dataloader')
        self.accumulation = accumulation
        self.loss_reduction = loss_reduction
        self.steps_per_epoch = math.ceil(_micro_batches_per_epoch(self.dataloader) / accumulation)
        self._max_iters = max_iters or max_epochs * self.steps_per_epoch
        self._max_epochs = max_epochs or math.ceil(max_iters / self.steps_per_epoch)
        self._epoch = 0
        self._iter = 0
        self.val_interval = val_interval
        self.val_begin = val_begin
        self.seed = runner.seed
        self.stop_training = False  # MMEngine's EarlyStoppingHook sets it
        self.data_seconds = 0.0  # that the last step waited for its micro-batches
        self.saved_to: str | None = None
        self.random_state: Mapping[str, Any] | None = None
        self._signals = StopSignals()
        self._stop_signal = 0
        _refuse_other_checkpoints(runner.hooks)

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

    @property
    def is_interrupted(self) -> bool:
        """Whether a signal asked for the end of the training; the ranks agree on it at the end of each step."""
        return self._stop_signal != 0

    def run(self) -> Any:
        """Train to the end and return the model.

        Raises:
            TrainingInterrupted: If a signal asked for it; the step was finished, and is saved if a hook saves.
        """
        runner = self.runner
        self._epoch = self._iter // self.steps_per_epoch
        runner.call_hook('before_train')
        runner.logger.info(self._describe())
        self._batches = TrainBatches(self.dataloader, self.seed)
        with self._signals, contextlib.closing(self._batches):
            while self._iter < self._max_iters and not self.stop_training:
                self.run_epoch()
        runner.call_hook('after_train')
        return runner.model

    def state_dict(self) -> dict[str, Any]:
        """Return where in the data the training is, and what that position depends on."""
        seeds = [getattr(sampler, 'seed', None) for sampler in _samplers(self.dataloader)]
        return {'step': self._iter, 'seed': self.seed, 'sampler_seeds': seeds, **self._order()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where a training was.

        Args:
            state: What :meth:`state_dict` returned.

        Raises:
            ConfigError: If the position means another one here, because the data or the batches are others.
        """
        for key, value in self._order().items():
            if state[key] != value:
                raise ConfigError(
                    f'--resume: {_ORDER[key]} {state[key]} when the checkpoint was made and {value} now, so the next '
                    'record cannot be found: go back to that, or start anew from its weights with load_from'
                )
        self._iter, self.seed = state['step'], state['seed']
        for sampler, seed in zip(_samplers(self.dataloader), state['sampler_seeds'], strict=True):
            if seed is not None:
                sampler.seed = seed

    def _order(self) -> dict[str, int]:
        """What the order of the records and the length of an epoch follow from, beside the seed."""
        return {
            'num_records': len(self.dataloader.dataset),
            'batch_size': getattr(self.dataloader.batch_sampler, 'batch_size', 0),
            'accumulation': self.accumulation,
            'num_ranks': get_world_size(),
            'steps_per_epoch': self.steps_per_epoch,
        }

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
        self._go_on_with_random_state()
        # Closed here, an error's traceback does not keep the data workers alive.
        with contextlib.closing(self._batches.epoch(self._epoch, done * self.accumulation)) as batches:
            for _ in range(done, self.steps_per_epoch):
                self._step(batches)
                if self._iter >= self._max_iters or self.stop_training:
                    break
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _step(self, batches: Iterator[Mapping[str, Any]]) -> None:
        """Draw the micro-batches of a step, make it, and do what follows it."""
        begin = time.perf_counter()
        drawn = list(islice(batches, self.accumulation))
        self.data_seconds = time.perf_counter() - begin
        self.run_iter(drawn)
        if self._is_time_to_validate():
            self._validate()
        self._stop_signal = self._agree_on_signal()
        self.runner.call_hook('after_step')
        if self.is_interrupted:
            raise TrainingInterrupted(self._say_how_to_go_on(), self._stop_signal)

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

    def _is_time_to_validate(self) -> bool:
        if self.runner.val_loop is None or self._iter < self.val_begin:
            return False
        return self._iter % (self.val_interval or self.steps_per_epoch) == 0 or self._iter == self._max_iters

    def _validate(self) -> None:
        with undisturbed_randomness(with_gpu=True):
            self.runner.val_loop.run()
        self.runner.model.train()

    def _go_on_with_random_state(self) -> None:
        """After resuming, take up the random numbers at the last moment: what a start draws is not the training's."""
        if self.random_state is not None:
            set_random_state(self.random_state)
            self.random_state = None

    def _agree_on_signal(self) -> int:
        """Return the signal that any rank received; 0 if none did."""
        received = torch.tensor(self._signals.received)
        all_reduce(received, 'max')
        return int(received)

    def _say_how_to_go_on(self) -> str:
        name = signal.Signals(self._stop_signal).name
        saved = 'nothing saved it: the config has no checkpoints'
        if self.saved_to:
            saved = f'all is saved in {self.saved_to}. Go on with the same command and --resume'
        return f'{name} ended the training after step {self._iter} of {self._max_iters}; {saved}'


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


def _refuse_other_checkpoints(hooks: Sequence[Any]) -> None:
    if any(isinstance(hook, mmengine.hooks.CheckpointHook) for hook in hooks):
        raise ConfigError(
            "MMEngine's CheckpointHook leaves files that --resume does not read: "
            'take geochat.engine.hooks.CheckpointHook'
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
    for sampler in _samplers(dataloader):
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(epoch)


def _samplers(dataloader: DataLoader) -> list[Any]:
    """Return the samplers that a data loader's batches come from, each once."""
    samplers = [dataloader.sampler, dataloader.batch_sampler, getattr(dataloader.batch_sampler, 'sampler', None)]
    return list({id(sampler): sampler for sampler in samplers}.values())
