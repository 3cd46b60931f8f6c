"""From samples to a batch: one length, and each distinct picture once."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from geochat.registry import FUNCTIONS
from geochat.structures import IGNORE_INDEX

if TYPE_CHECKING:
    import torch

PADDING_ID = 0
"""Token id of padding. Any id would do, since padding is masked; LLaVA's data has 0 (``<unk>``)."""


@FUNCTIONS.register_module()
def collate_samples(samples: Sequence[Mapping[str, Any]], padding: str = 'right') -> dict[str, 'torch.Tensor']:
    """Put samples of a :class:`~geochat.datasets.SampleProcessor` into one batch.

    Args:
        samples: B samples; all or none have ``labels``.
        padding: ``'right'`` for training, ``'left'`` for generation, where every answer begins at the end of its row.

    Returns:
        ``input_ids`` (B, T) int64, ``attention_mask`` (B, T) bool, ``labels`` (B, T) int64 where the samples have them,
        ``branches`` (B, T) int64 where any has them (0 in the others), ``pixels`` (M, 3, H, W) float32 with one row a
        distinct picture (equal ``image_keys``), and ``image_index`` (P,) int64: the row of ``pixels`` for each image
        token in reading order. Without any picture ``pixels`` is (0, 3, 0, 0).

    Raises:
        ValueError: If ``padding`` is neither side.
    """
    import torch

    if padding not in ('right', 'left'):
        raise ValueError(f"padding is 'right' or 'left', not {padding!r}")
    ids = [sample['input_ids'] for sample in samples]
    batch = {
        'input_ids': _padded(ids, PADDING_ID, padding),
        'attention_mask': _padded([np.ones(len(row), dtype=bool) for row in ids], False, padding),
    }
    if 'labels' in samples[0]:
        batch['labels'] = _padded([sample['labels'] for sample in samples], IGNORE_INDEX, padding)
    if any('branches' in sample for sample in samples):
        branches = [sample.get('branches', np.zeros_like(sample['input_ids'])) for sample in samples]
        batch['branches'] = _padded(branches, 0, padding)
    pixels, image_index = stack_pictures(samples)
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    return {**tensors, 'pixels': pixels, 'image_index': image_index}


def stack_pictures(samples: Sequence[Mapping[str, Any]]) -> tuple['torch.Tensor', 'torch.Tensor']:
    """Stack the distinct pictures of samples; in a data worker, in memory that it shares.

    Returns:
        float32 (M, 3, H, W), one row a distinct picture (equal ``image_keys``), (0, 3, 0, 0) without any, and int64
        (P,): the row for each picture of the samples in reading order.
    """
    import torch

    rows: dict[str, int] = {}
    distinct: list[np.ndarray] = []
    image_index = []
    for key, pixels in _pictures(samples):
        if key not in rows:
            rows[key] = len(rows)
            distinct.append(pixels)
        image_index.append(rows[key])
    pixels = _new_pixels(len(distinct), distinct[0].shape if distinct else (3, 0, 0))
    if distinct:
        np.stack(distinct, out=pixels.numpy())
    return pixels, torch.tensor(image_index, dtype=torch.int64)


def _new_pixels(count: int, shape: tuple[int, ...]) -> 'torch.Tensor':
    import torch
    from torch.utils.data import get_worker_info

    pixels = torch.empty(0, dtype=torch.float32)
    if count and get_worker_info() is not None:
        # Where the batch is shared with the process that trains: without a copy that is made to be sent.
        pixels = pixels.set_(torch.UntypedStorage._new_shared(4 * count * math.prod(shape)))
    return pixels.resize_(count, *shape)


def count_records(batch: Mapping[str, 'torch.Tensor']) -> int:
    """Return how many records a batch of training samples holds, packed or not."""
    return int(batch['num_records']) if 'num_records' in batch else len(batch['input_ids'])


def _padded(rows: Sequence[np.ndarray], value: int | bool, padding: str) -> np.ndarray:
    length = max(len(row) for row in rows)
    padded = np.full((len(rows), length), value, dtype=rows[0].dtype)
    for target, row in zip(padded, rows, strict=True):
        target[slice(0, len(row)) if padding == 'right' else slice(length - len(row), length)] = row
    return padded


def _pictures(samples: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, np.ndarray]]:
    for sample in samples:
        yield from zip(sample['image_keys'], sample['pixels'], strict=True)
