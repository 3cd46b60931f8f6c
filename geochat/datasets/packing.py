"""From samples to one row without padding: records side by side, and those of one picture share it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from geochat.datasets.collate import stack_pictures
from geochat.registry import FUNCTIONS
from geochat.structures import IGNORE_INDEX, IMAGE_TOKEN_INDEX

if TYPE_CHECKING:
    import torch


@FUNCTIONS.register_module()
def pack_samples(samples: Sequence[Mapping[str, Any]], share_images: bool = True) -> dict[str, 'torch.Tensor']:
    """Put training samples of a :class:`~geochat.datasets.SampleProcessor` into one row, each a document of its own.

    The row gives the loss and the gradients that :func:`~geochat.datasets.collate_samples` gives with a row a sample.

    Args:
        samples: B samples with ``labels``.
        share_images: True makes one document of the samples that are equal up to and with their pictures, which stand
            in it once; what follows becomes a branch a sample. A sample with an answer before its (last) picture is not
            shared, nor is one without pictures.

    Returns:
        As :func:`~geochat.datasets.collate_samples`, with one row and no padding, and also ``documents`` (1, T) int64,
        which number the documents of the row, and ``num_records`` () int64, B.
    """
    import torch

    groups = list(_groups(samples, share_images))
    documents = [_document(group) for group in groups]
    pixels, image_index = stack_pictures([members[0] for members, _ in groups])
    batch = {
        'input_ids': np.concatenate([ids for ids, *_ in documents]),
        'labels': np.concatenate([labels for _, labels, _ in documents]),
        'documents': np.repeat(np.arange(len(documents)), [len(ids) for ids, *_ in documents]),
    }
    branches = np.concatenate([branches for *_, branches in documents])
    if branches.any():
        batch['branches'] = branches
    batch['attention_mask'] = np.ones(len(branches), dtype=bool)
    rows = {name: torch.from_numpy(values)[None] for name, values in batch.items()}
    return {
        **rows,
        'pixels': pixels,
        'image_index': image_index,
        'num_records': torch.tensor(len(samples)),
    }


def _groups(samples: Sequence[Mapping[str, Any]], share_images: bool) -> Iterator[tuple[list[Mapping[str, Any]], int]]:
    """Yield the samples of each document, in the order of their first ones, and how many tokens they share."""
    groups: dict[Any, tuple[list[Mapping[str, Any]], int]] = {}
    for number, sample in enumerate(samples):
        shared = _sharable(sample) if share_images else 0
        key = (*sample['image_keys'], sample['input_ids'][:shared].tobytes()) if shared else number
        groups.setdefault(key, ([], shared))[0].append(sample)
    yield from groups.values()


def _sharable(sample: Mapping[str, Any]) -> int:
    """Count the tokens of a sample that others with the same pictures may share: up to the last picture, or none."""
    images = np.flatnonzero(sample['input_ids'] == IMAGE_TOKEN_INDEX)
    if not len(images):
        return 0
    shared = int(images[-1]) + 1
    # A label there would count once instead of once a sample, and the first one after it has another token before it.
    if (sample['labels'][: shared + 1] != IGNORE_INDEX).any():
        return 0
    if 'branches' in sample and shared != (sample['branches'] == 0).sum():
        return 0
    return shared


def _document(group: tuple[list[Mapping[str, Any]], int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join the samples of a document: its ids, labels and branches."""
    members, shared = group
    first = members[0]
    if len(members) == 1:
        ids, labels = first['input_ids'], first['labels']
        branches = first.get('branches', np.zeros_like(ids))
    else:
        ids = np.concatenate([first['input_ids'][:shared], *(member['input_ids'][shared:] for member in members)])
        labels = np.concatenate([first['labels'][:shared], *(member['labels'][shared:] for member in members)])
        branches = np.concatenate([np.zeros(shared, dtype=np.int64), *_numbered_branches(members, shared)])
    labels = labels.copy()
    labels[:1] = IGNORE_INDEX  # no token of the document stands before it
    return ids, labels, branches


def _numbered_branches(members: Sequence[Mapping[str, Any]], shared: int) -> Iterator[np.ndarray]:
    """Yield the branches of each sample after what is shared, numbered on from those of the one before."""
    used = 0
    for member in members:
        rest = member['input_ids'][shared:]
        own = member['branches'][shared:] if 'branches' in member else np.ones_like(rest)
        yield own + used
        used += int(own.max(initial=0))
