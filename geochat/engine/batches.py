"""The batches of a training: from any position of any epoch, each sample with random numbers of its own."""

import contextlib
import functools
import gc
import multiprocessing
import multiprocessing.util
import signal
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from geochat.datasets import DataError
from geochat.engine.randomness import seed_cpu_generators, undisturbed_randomness


class TrainBatches:
    """Batches of a data loader's data, epoch by epoch, without loading those before a position.

    The random numbers that a sample is made with follow from seed, epoch and the sample's number, whichever process
    makes it; iterating draws none of the training's.

    Args:
        dataloader: What is read, in which batches and by how many workers.
        seed: Seed of the samples' random numbers.
    """

    def __init__(self, dataloader: DataLoader, seed: int):
        self._places = _Places(dataloader.batch_sampler)
        self._loader = DataLoader(
            _SeededSamples(dataloader.dataset, seed),
            batch_sampler=self._places,
            num_workers=dataloader.num_workers,
            collate_fn=dataloader.collate_fn,
            pin_memory=dataloader.pin_memory,
            timeout=dataloader.timeout,
            worker_init_fn=WorkerStart(dataloader.worker_init_fn),
            multiprocessing_context=dataloader.multiprocessing_context,
            generator=torch.Generator().manual_seed(seed),
            prefetch_factor=dataloader.prefetch_factor,
            persistent_workers=dataloader.persistent_workers,
        )

    def close(self) -> None:
        """End the worker processes, those that would stay for another epoch too."""
        self._loader = None

    def epoch(self, number: int, start: int) -> Iterator[Any]:
        """Go through an epoch's batches.

        Args:
            number: Number of the epoch, from 0.
            start: Batches at its beginning that are passed over; their samples are not loaded.

        Raises:
            DataError: If a dataset gives up; the message is the dataset's, whichever process it comes from.
        """
        self._places.epoch, self._places.start = number, start
        try:
            yield from self._loader
        except DataError as error:
            # A worker's error arrives with that process's stack for a message, which the error itself ends.
            raise DataError(str(error).rpartition('DataError: ')[2].strip()) from error


class _Places:
    """The batches of a batch sampler; each number comes with its epoch, so that workers know it."""

    def __init__(self, batch_sampler: Any):
        self.batch_sampler = batch_sampler
        self.epoch = 0
        self.start = 0

    def __iter__(self) -> Iterator[list[tuple[int, Any]]]:
        epoch = self.epoch
        for batch in islice(self.batch_sampler, self.start, None):
            yield [(epoch, index) for index in batch]

    def __len__(self) -> int:
        return len(self.batch_sampler) - self.start


class _SeededSamples(Dataset):
    """A dataset whose samples are made with random numbers of their own."""

    def __init__(self, dataset: Dataset, seed: int):
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: tuple[int, Any]) -> Any:
        epoch, index = place
        # In the training's own process, dropout draws from the same generators.
        alone = get_worker_info() is not None
        with contextlib.nullcontext() if alone else undisturbed_randomness(with_gpu=False):
            seed_cpu_generators(self.seed, epoch, *np.ravel(index).tolist())
            return self.dataset[index]


class WorkerStart:
    """What a worker does first.

    It leaves Ctrl-C and SIGTERM to the process that trains, which ends its workers itself. And it keeps what it has in
    common with that process so: Python's collector would touch, and so copy, every object that was there at the fork
    (100 MB a worker).

    Args:
        further: What it does then.
    """

    def __init__(self, further: Callable[[int], None] | None):
        self.further = further
        _end_workers_with_the_program()

    def __call__(self, worker: int) -> None:
        """Do it; ``worker`` is the worker's number."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        gc.freeze()
        if self.further is not None:
            self.further(worker)


SECONDS_TO_END = 1.0
"""How long a process that is told to end with the program has for it."""


@functools.cache
def _end_workers_with_the_program() -> None:
    """Let no worker outlive the program: see :func:`_end_workers`."""
    # Before Python does the same with those that heed it, and waits for them: that has no priority at all.
    multiprocessing.util.Finalize(None, _end_workers, exitpriority=0)


def _end_workers() -> None:
    """End the workers that are left, as where an error keeps the iterator of a data loader.

    They ignore SIGTERM, which Python sends to the processes that it still has before it waits for them, for ever.
    """
    left = [process for process in multiprocessing.active_children() if process.daemon]
    for process in left:
        process.terminate()
    deadline = time.monotonic() + SECONDS_TO_END
    for process in left:
        process.join(max(0.0, deadline - time.monotonic()))
        process.kill()
