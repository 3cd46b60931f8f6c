import numpy as np
import pytest
import torch
from packed_batches import I, mixed_samples, sample

from geochat.datasets import collate_samples, pack_samples
from geochat.datasets.collate import count_records
from geochat.registry import FUNCTIONS
from geochat.structures import IGNORE_INDEX

X = IGNORE_INDEX


def test_records_of_a_picture_share_it_and_become_branches():
    records = [sample([1, 5, I], [7, 8, 2], [3], answers=1), sample([1], [6, 2], answers=1)]
    records.append(sample([1, 5, I], [9, 2], [3], answers=1))
    batch = pack_samples(records)
    assert batch['input_ids'].tolist() == [[1, 5, I, 7, 8, 2, 9, 2, 1, 6, 2]]
    assert batch['labels'].tolist() == [[X, X, X, X, X, 2, X, 2, X, X, 2]]
    assert batch['documents'].tolist() == [[0] * 8 + [1] * 3]
    assert batch['branches'].tolist() == [[0, 0, 0, 1, 1, 1, 2, 2, 0, 0, 0]]
    assert batch['attention_mask'].all()
    assert batch['pixels'].shape == (1, 3, 28, 28) and batch['image_index'].tolist() == [0]
    assert batch['num_records'] == count_records(batch) == 3 == count_records(collate_samples(records))


def test_without_sharing_a_picture_is_still_encoded_once():
    batch = pack_samples([sample([1, I], [7, 2], [3]), sample([1, I], [9, 2], [3])], share_images=False)
    assert batch['input_ids'].tolist() == [[1, I, 7, 2, 1, I, 9, 2]]
    assert batch['documents'].tolist() == [[0] * 4 + [1] * 4]
    assert 'branches' not in batch
    assert len(batch['pixels']) == 1 and batch['image_index'].tolist() == [0, 0]


def answered_before_its_picture():
    record = sample([1, 5, 6, I], [7, 2], [3], answers=1)
    record['labels'][1] = 5
    return record


@pytest.mark.parametrize(
    'other',
    [
        sample([1, 6, I], [9, 2], [3]),  # other words before the picture
        sample([1, 5, I], [9, 2], [4]),  # another picture
        sample([1, 5, I, I], [9, 2], [3, 4]),  # one more picture
        sample([1, 5, I], [9, 2], [3], answers=2),  # the first token after the picture is supervised
        answered_before_its_picture(),
    ],
)
def test_what_differs_is_not_shared(other):
    batch = pack_samples([sample([1, 5, I], [7, 8, 2], [3], answers=1), other])
    assert batch['documents'].max() == 1
    assert 'branches' not in batch


def test_records_of_several_pictures_share_all_of_them():
    records = [sample([1, I, 5, I], [7 + number, 2], [3, 4], answers=1) for number in range(3)]
    batch = pack_samples(records)
    assert batch['branches'].tolist() == [[0] * 4 + [1, 1, 2, 2, 3, 3]]
    assert batch['image_index'].tolist() == [0, 1]


def test_independent_turns_and_dialogues_of_a_picture_are_numbered_through():
    turns = sample([1, I], [5, 2, 6, 2], [3], answers=0)
    turns['branches'] = np.array([0, 0, 1, 1, 2, 2])
    batch = pack_samples([turns, sample([1, I], [7, 8, 2], [3], answers=1), turns])
    assert batch['branches'].tolist() == [[0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 5, 5]]
    assert batch['documents'].tolist() == [[0] * 13]


def test_as_many_tokens_carry_loss_as_in_a_padded_batch():
    samples = mixed_samples()
    samples[2]['labels'][0] = 1  # the first token of a row has none before it, and so carries no loss
    counts = {
        int((batch['labels'][:, 1:] != IGNORE_INDEX).sum())
        for batch in (collate_samples(samples), pack_samples(samples), pack_samples(samples, share_images=False))
    }
    assert len(counts) == 1


def test_nothing_is_padded_and_no_record_is_lost():
    samples = mixed_samples()
    apart = pack_samples(samples, share_images=False)
    assert apart['input_ids'].shape == (1, sum(len(one['input_ids']) for one in samples))
    shared = pack_samples(samples)
    assert shared['input_ids'].numel() < apart['input_ids'].numel()
    assert torch.equal(
        shared['labels'][shared['labels'] >= 0].sort()[0], apart['labels'][apart['labels'] >= 0].sort()[0]
    )


def test_it_is_registered():
    assert FUNCTIONS.get('pack_samples') is pack_samples
