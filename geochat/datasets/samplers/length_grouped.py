"""Batches of records that are about equally long, so that little of a batch is padding."""

from collections.abc import Iterator, Sized

import numpy as np

from geochat.registry import DATA_SAMPLERS

_BATCHES_A_GROUP = 50
_LEAST_GROUPS = 4


@DATA_SAMPLERS.register_module()
class LengthGroupedSampler:
    """Shuffled order in which neighbours have as many pictures and about as many words.

    The shuffled records are cut into groups of up to 50 batches, each group is sorted by number of pictures and length
    and cut into batches, and the batches are shuffled. Batches stay random, yet hold like records. The longest batch
    comes first, so that too little memory shows at once; a last batch that is not full stays last.

    The order is a function of seed and epoch alone. All ranks get equally many records; the epoch's first ones are
    repeated where that needs it.

    Args:
        dataset: What is sampled; it tells ``lengths`` and ``num_images`` (see
            :class:`~geochat.datasets.InstructionDataset`), or has ``datasets`` that do.
        batch_size: Records a batch and rank, the data loader's ``batch_size``.
        seed: The same on all ranks; None lets the ranks agree on a random one.

    Raises:
        TypeError: If the dataset does not tell its lengths.
        ValueError: If ``batch_size`` is not positive.
    """

    def __init__(self, dataset: Sized, batch_size: int, seed: int | None = None):
        from mmengine.dist import get_dist_info, sync_random_seed

        if batch_size < 1:
            raise ValueError(f'batch_size is a positive number, not {batch_size}')
        self.lengths = told(dataset, 'lengths')
        self.num_images = told(dataset, 'num_images')
        self.batch_size = batch_size
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0

    def __len__(self) -> int:
        """Return how many records an epoch has on this rank."""
        return -(-len(self.lengths) // self.world_size)

    def __iter__(self) -> Iterator[int]:
        """Go through the records of this rank."""
        order = np.resize(self.order(self.epoch), len(self) * self.world_size)
        return iter(order[self.rank :: self.world_size].tolist())

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration has."""
        self.epoch = epoch

    def order(self, epoch: int) -> np.ndarray:
        """Return an epoch's order over all ranks, which take turns.

        Returns:
            int64 array (N,); each ``batch_size`` times the number of ranks form a batch.
        """
        size, batch = len(self.lengths), self.batch_size * self.world_size
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(size)
        group = batch * max(1, min(_BATCHES_A_GROUP, size // batch // _LEAST_GROUPS))
        order = order[np.lexsort((-self.lengths[order], -self.num_images[order], np.arange(size) // group))]
        full = size - size % batch
        batches = rng.permutation(order[:full].reshape(-1, batch))
        if len(batches):
            longest = np.lexsort((self.lengths[batches[:, 0]], self.num_images[batches[:, 0]]))[-1]
            batches[[0, longest]] = batches[[longest, 0]]
        return np.concatenate([batches.reshape(-1), order[full:]])


def told(dataset: Sized, name: str) -> np.ndarray:
    """Return what a dataset, or each of those that it joins, tells of its records."""
    if hasattr(dataset, 'datasets'):
        return np.concatenate([told(part, name) for part in dataset.datasets])
    if not hasattr(dataset, name):
        raise TypeError(
            f'{type(dataset).__name__} does not tell the {name} of its records; take DefaultSampler instead'
        )
    return np.asarray(getattr(dataset, name), dtype=np.int64)
