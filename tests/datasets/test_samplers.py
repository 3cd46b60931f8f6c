from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geochat.datasets import LengthGroupedSampler
from geochat.registry import DATA_SAMPLERS


def dataset(lengths, num_images=None):
    return SimpleNamespace(lengths=np.array(lengths), num_images=np.array(num_images or [1] * len(lengths)))


def ranks(data, batch_size, world_size, seed=0, epoch=0):
    samplers = []
    for rank in range(world_size):
        sampler = LengthGroupedSampler(data, batch_size, seed)
        sampler.rank, sampler.world_size = rank, world_size
        sampler.set_epoch(epoch)
        samplers.append(sampler)
    return samplers


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 5), st.integers(1, 3), st.integers(0, 3))
def test_an_epoch_has_every_record_and_as_many_on_every_rank(lengths, batch_size, world_size, epoch):
    samplers = ranks(dataset(lengths), batch_size, world_size, epoch=epoch)
    drawn = [list(sampler) for sampler in samplers]
    assert {len(row) for row in drawn} == {len(samplers[0])}
    assert set().union(*drawn) == set(range(len(lengths)))
    assert sum(map(len, drawn)) < len(lengths) + world_size


def test_the_order_is_a_function_of_seed_and_epoch():
    data = dataset(np.random.default_rng(0).integers(1, 900, 500))
    orders = {}
    for seed in (0, 1):
        for epoch in (0, 1, 2):
            first, again = ranks(data, 4, 1, seed, epoch)[0], ranks(data, 4, 1, seed, epoch)[0]
            assert list(first) == list(again) == list(first)
            orders[seed, epoch] = tuple(first)
    assert len(set(orders.values())) == 6


@pytest.mark.parametrize('world_size', [1, 2])
def test_little_of_a_batch_is_padding(world_size):
    lengths = np.random.default_rng(0).integers(1, 1000, 3207)
    batch_size = 8
    waste = []
    for sampler in ranks(dataset(lengths), batch_size, world_size):
        order = np.array(list(sampler))
        batches = lengths[order[: len(order) // batch_size * batch_size]].reshape(-1, batch_size)
        waste.append(1 - batches.sum() / (batches.max(axis=1) * batch_size).sum())
    shuffled = np.random.default_rng(1).permutation(lengths)[:3200].reshape(-1, batch_size)
    assert max(waste) < 0.02 < 1 - shuffled.sum() / (shuffled.max(axis=1) * batch_size).sum()


def test_ranks_have_like_lengths_at_the_same_time():
    lengths = np.random.default_rng(0).integers(1, 1000, 3200)
    first, second = (lengths[list(sampler)].reshape(-1, 8).max(axis=1) for sampler in ranks(dataset(lengths), 8, 2))
    assert np.abs(first - second).mean() < 15


def test_records_with_as_many_pictures_stand_together():
    rng = np.random.default_rng(0)
    num_images = rng.integers(0, 3, 2000)
    (sampler,) = ranks(dataset(rng.integers(1, 1000, 2000), num_images.tolist()), 4, 1)
    mixed = [len(set(batch)) > 1 for batch in num_images[list(sampler)].reshape(-1, 4)]
    assert np.mean(mixed) < 0.05


def test_the_longest_batch_comes_first_and_an_unfilled_one_last():
    lengths = np.random.default_rng(0).permutation(np.arange(1, 1008))
    (sampler,) = ranks(dataset(lengths), 10, 1)
    order = list(sampler)
    assert lengths[order[0]] == 1007
    batches = lengths[order[:1000]].reshape(-1, 10)
    assert (np.ptp(batches, axis=1) < 120).all()  # of 1007
    assert np.ptp(np.argsort(batches[:, 0])[:20]) > 30  # short batches are spread over the epoch


def test_the_lengths_of_joined_datasets_are_joined():
    joined = SimpleNamespace(datasets=[dataset([1, 2, 3]), dataset([4, 5], [0, 0])])
    sampler = LengthGroupedSampler(joined, 2, seed=0)
    assert sampler.lengths.tolist() == [1, 2, 3, 4, 5] and sampler.num_images.tolist() == [1, 1, 1, 0, 0]


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(TypeError, match='list does not tell the lengths'):
        LengthGroupedSampler([1, 2], batch_size=2, seed=0)
    with pytest.raises(ValueError, match='batch_size'):
        DATA_SAMPLERS.build({'type': 'LengthGroupedSampler', 'dataset': dataset([1]), 'batch_size': 0, 'seed': 0})
