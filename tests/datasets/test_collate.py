import numpy as np
import pytest
import torch

from geochat.datasets import collate_samples
from geochat.registry import FUNCTIONS
from geochat.structures import IGNORE_INDEX, IMAGE_TOKEN_INDEX


def sample(ids, pictures=(), labels=True):
    """A sample whose pictures are filled with the number that their key names."""
    made = {
        'input_ids': np.array(ids, dtype=np.int64),
        'pixels': [np.full((3, 2, 2), float(key), dtype=np.float32) for key in pictures],
        'image_keys': [str(key) for key in pictures],
        'geometries': [None for _ in pictures],
        'truncated': 0,
    }
    return {**made, 'labels': made['input_ids'] + 1000} if labels else made


I = IMAGE_TOKEN_INDEX  # noqa: E741 the letter stands for a picture in the rows below
X = IGNORE_INDEX


def test_training_pads_on_the_right():
    batch = collate_samples([sample([1, 2, 3]), sample([4])])
    assert batch['input_ids'].tolist() == [[1, 2, 3], [4, 0, 0]]
    assert batch['attention_mask'].tolist() == [[True] * 3, [True, False, False]]
    assert batch['labels'].tolist() == [[1001, 1002, 1003], [1004, X, X]]


def test_generation_pads_on_the_left_and_has_no_labels():
    batch = collate_samples([sample([1, 2, 3], labels=False), sample([4], labels=False)], padding='left')
    assert batch['input_ids'].tolist() == [[1, 2, 3], [0, 0, 4]]
    assert batch['attention_mask'].tolist() == [[True] * 3, [False, False, True]]
    assert set(batch) == {'input_ids', 'attention_mask', 'pixels', 'image_index'}


@pytest.mark.parametrize('padding', ['right', 'left'])
def test_each_distinct_picture_is_there_once_and_found_by_its_tokens_in_reading_order(padding):
    samples = [sample([I, 1, I], [7, 8]), sample([5]), sample([2, I, 3, 4], [7]), sample([I, I], [9, 8])]
    batch = collate_samples(samples, padding)
    assert batch['pixels'].shape == (3, 3, 2, 2)
    places = (batch['input_ids'] == I).nonzero()[:, 0]
    shown = batch['pixels'][batch['image_index'], 0, 0, 0]
    assert list(zip(places.tolist(), shown.tolist(), strict=True)) == [(0, 7), (0, 8), (2, 7), (3, 9), (3, 8)]


def test_types_are_those_of_the_contract_also_without_pictures():
    expected = {
        'input_ids': torch.int64,
        'attention_mask': torch.bool,
        'labels': torch.int64,
        'pixels': torch.float32,
        'image_index': torch.int64,
    }
    for samples in ([sample([1, I], [3])], [sample([1, 2])]):
        batch = collate_samples(samples)
        assert {name: tensor.dtype for name, tensor in batch.items()} == expected
    assert batch['pixels'].shape == (0, 3, 0, 0) and batch['image_index'].shape == (0,)


def test_it_is_found_by_name_and_refuses_an_unknown_side():
    with pytest.raises(ValueError, match='middle'):
        FUNCTIONS.resolve('collate_samples')([sample([1])], padding='middle')


def test_a_data_worker_stacks_pictures_in_the_memory_that_it_shares():
    samples = [[sample([I, 1], [1]), sample([I, I, 2], [2, 1])], [sample([3])]]
    loader = torch.utils.data.DataLoader(samples, batch_size=None, num_workers=1, collate_fn=_collated)
    for (batch, was_shared), part in zip(loader, samples, strict=True):
        alone = collate_samples(part)
        assert was_shared == (len(alone['pixels']) > 0)
        assert all(torch.equal(batch[name], alone[name]) and batch[name].dtype == alone[name].dtype for name in alone)
        assert not alone['pixels'].is_shared()


def _collated(samples):
    batch = collate_samples(samples)
    return batch, batch['pixels'].is_shared()
