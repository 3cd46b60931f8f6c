"""Batches that hold the records of a picture together, so that the picture is encoded and read once."""

import heapq
from collections.abc import Iterator, Sequence, Sized

import numpy as np

from geochat.datasets.samplers.length_grouped import told
from geochat.registry import DATA_SAMPLERS

_STEPS_A_WINDOW = 50


@DATA_SAMPLERS.register_module()
class ImageGroupedSampler:
    """Shuffled order in which the records of a picture stand in one batch of one rank.

    The pictures are shuffled, and their records among themselves. Batches of exactly ``batch_size`` records are filled
    with the next pictures whose records fit, so that few are cut in two; a picture with more records than a batch holds
    fills batches of its own, which are shuffled like the others. What the ranks take at the same time has about as many
    pictures and words. The dearest batch comes first, so that too little memory shows at once; what fills no batch of
    all ranks comes last.

    The order is a function of seed and epoch alone. All ranks get equally many records; the epoch's first ones are
    repeated where that needs it.

    Args:
        dataset: What is sampled; it tells ``pictures``, ``lengths`` and ``num_images`` (see
            :class:`~geochat.datasets.InstructionDataset`), or has ``datasets`` that do.
        batch_size: Records a batch and rank, the data loader's ``batch_size``.
        seed: The same on all ranks; None lets the ranks agree on a random one.

    Raises:
        TypeError: If the dataset does not tell its pictures or lengths.
        ValueError: If ``batch_size`` is not positive.
    """

    def __init__(self, dataset: Sized, batch_size: int, seed: int | None = None):
        from mmengine.dist import get_dist_info, sync_random_seed

        if batch_size < 1:
            raise ValueError(f'batch_size is a positive number, not {batch_size}')
        self.groups = _group_numbers(dataset)
        self.lengths = told(dataset, 'lengths')
        self.num_images = told(dataset, 'num_images')
        self.batch_size = batch_size
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0

    def __len__(self) -> int:
        """Return how many records an epoch has on this rank."""
        return -(-len(self.groups) // self.world_size)

    def __iter__(self) -> Iterator[int]:
        """Go through the records of this rank."""
        order, ranks = self.order(self.epoch), self.world_size
        full = len(order) - len(order) % (self.batch_size * ranks)
        share = -(-(len(order) - full) // ranks)
        rest = np.concatenate([order[full:], np.resize(order, share * ranks - (len(order) - full))])
        mine = order[:full].reshape(-1, ranks, self.batch_size)[:, self.rank]
        return iter([*mine.reshape(-1).tolist(), *rest[self.rank * share : (self.rank + 1) * share].tolist()])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration has."""
        self.epoch = epoch

    def order(self, epoch: int) -> np.ndarray:
        """Return an epoch's order over all ranks.

        Returns:
            int64 array (N,): batches of ``batch_size`` records, which the ranks take in turn.
        """
        rng = np.random.default_rng([self.seed, epoch])
        order = self._filled_batches(rng)
        in_step = self.batch_size * self.world_size
        full = len(order) - len(order) % in_step
        if not full:
            return order
        batches = order[:full].reshape(-1, self.batch_size)
        batches = batches[self._cost_order(batches, np.arange(len(batches)) // (_STEPS_A_WINDOW * self.world_size))]
        steps = rng.permutation(batches.reshape(-1, in_step))
        firsts = steps[:, : self.batch_size]
        dearest = self._cost_order(firsts, np.zeros(len(firsts), dtype=np.int64))[0]
        steps[[0, dearest]] = steps[[dearest, 0]]
        return np.concatenate([steps.reshape(-1), order[full:]])

    def _filled_batches(self, rng: np.random.Generator) -> np.ndarray:
        """Shuffle the pictures and fill batches with their records: int64 array (N,)."""
        records = rng.permutation(len(self.groups))
        records = records[np.argsort(self.groups[records], kind='stable')]
        _, begins, counts = np.unique(self.groups[records], return_index=True, return_counts=True)
        in_group = np.arange(len(records)) - np.repeat(begins, counts)
        starts = np.flatnonzero(in_group % self.batch_size == 0)
        sizes = np.diff(starts, append=len(records))
        shuffled = rng.permutation(len(starts))
        spans = [
            (starts[shuffled[chunk]] + offset, size) for chunk, offset, size in fill(sizes[shuffled], self.batch_size)
        ]
        begins, sizes = np.array(spans, dtype=np.int64).reshape(-1, 2).T
        ends = np.cumsum(sizes)
        return records[np.repeat(begins - (ends - sizes), sizes) + np.arange(len(records))]

    def _cost_order(self, batches: np.ndarray, windows: np.ndarray) -> np.ndarray:
        """Order batches (M, batch_size) by window, then by how dear they are, most distinct pictures first."""
        groups = self.groups[batches]
        by_group = np.argsort(groups, axis=1)
        groups = np.take_along_axis(groups, by_group, axis=1)
        is_first = np.concatenate([np.ones((len(groups), 1), dtype=bool), groups[:, 1:] != groups[:, :-1]], axis=1)
        images = (np.take_along_axis(self.num_images[batches], by_group, axis=1) * is_first).sum(axis=1)
        return np.lexsort((-self.lengths[batches].sum(axis=1), -images, windows))


def fill(sizes: Sequence[int], room: int) -> Iterator[tuple[int, int, int]]:
    """Fill batches of ``room`` with chunks, each time with the first one that fits.

    Where none fits, the first one is cut. So every batch is full but the last.

    Args:
        sizes: Size of each chunk, at most ``room``, in the order in which they are to be used.
        room: Size of a batch.

    Yields:
        The number of a chunk, where the part of it that is used begins, and the size of that part; each chunk is used
        up.
    """
    waiting: dict[int, list[tuple[int, int]]] = {size: [] for size in range(1, room + 1)}
    for chunk, size in enumerate(np.asarray(sizes).tolist()):
        waiting[size].append((chunk, 0))  # in order, which is a heap
    left, unused = room, int(np.sum(sizes))
    while unused:
        fitting = [size for size in range(1, left + 1) if waiting[size]]
        size = min(fitting or [size for size in waiting if waiting[size]], key=lambda size: waiting[size][0])
        chunk, offset = heapq.heappop(waiting[size])
        used = min(size, left)
        if used < size:
            heapq.heappush(waiting[size - used], (chunk, offset + used))
        yield chunk, offset, used
        left = left - used or room
        unused -= used


def _group_numbers(dataset: Sized) -> np.ndarray:
    """Number the records' pictures: (N,) int64, equal for equal pictures; a record without any is alone."""
    pictures = _picture_numbers(dataset)
    alone = pictures < 0
    return np.where(alone, pictures.max(initial=-1) + np.cumsum(alone), pictures)


def _picture_numbers(dataset: Sized) -> np.ndarray:
    """Return what a dataset tells of its records' pictures, numbered on over the datasets that it joins."""
    if not hasattr(dataset, 'datasets'):
        return told(dataset, 'pictures')
    numbers, used = [], 0
    for part in dataset.datasets:
        pictures = _picture_numbers(part)
        numbers.append(np.where(pictures < 0, pictures, pictures + used))
        used += pictures.max(initial=-1) + 1
    return np.concatenate(numbers)
