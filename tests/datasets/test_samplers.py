from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geochat.datasets import ImageGroupedSampler, LengthGroupedSampler
from geochat.datasets.samplers.image_grouped import fill
from geochat.registry import DATA_SAMPLERS


def dataset(lengths, num_images=None):
    return SimpleNamespace(lengths=np.array(lengths), num_images=np.array(num_images or [1] * len(lengths)))


def ranks(data, batch_size, world_size, seed=0, epoch=0, sampler_class=LengthGroupedSampler):
    samplers = []
    for rank in range(world_size):
        sampler = sampler_class(data, batch_size, seed)
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


class TestImageGroupedSampler:
    """Records of a picture come together; pictures come in random order."""

    def data(self, pictures, lengths=None):
        pictures = np.array(pictures)
        lengths = np.ones(len(pictures), dtype=int) if lengths is None else lengths
        return SimpleNamespace(pictures=pictures, lengths=lengths, num_images=(pictures >= 0).astype(int))

    def ranks(self, data, batch_size, world_size, seed=0, epoch=0):
        return ranks(data, batch_size, world_size, seed, epoch, sampler_class=ImageGroupedSampler)

    @given(
        st.lists(st.integers(-1, 9), min_size=1, max_size=60), st.integers(1, 5), st.integers(1, 3), st.integers(0, 3)
    )
    def test_an_epoch_has_every_record_and_as_many_on_every_rank(self, pictures, batch_size, world_size, epoch):
        samplers = self.ranks(self.data(pictures), batch_size, world_size, epoch=epoch)
        drawn = [list(sampler) for sampler in samplers]
        assert {len(row) for row in drawn} == {len(samplers[0])}
        assert set().union(*drawn) == set(range(len(pictures)))
        assert sum(map(len, drawn)) < len(pictures) + world_size

    def test_the_order_is_a_function_of_seed_and_epoch(self):
        data = self.data(np.random.default_rng(0).integers(-1, 100, 500))
        orders = {}
        for seed in (0, 1):
            for epoch in (0, 1, 2):
                first, again = self.ranks(data, 4, 1, seed, epoch)[0], self.ranks(data, 4, 1, seed, epoch)[0]
                assert list(first) == list(again) == list(first)
                orders[seed, epoch] = tuple(first)
        assert len(set(orders.values())) == 6

    @pytest.mark.parametrize('world_size', [1, 2])
    def test_hardly_a_picture_is_in_two_batches(self, world_size):
        """With 2.26 records a picture, as in GeoChat_Instruct."""
        pictures = np.random.default_rng(0).integers(0, 1410, 3180)
        batches = 0
        for sampler in self.ranks(self.data(pictures), 16, world_size):
            shown = pictures[list(sampler)]
            batches += sum(len(set(shown[start : start + 16])) for start in range(0, len(shown), 16))
        assert batches < 1.01 * len(set(pictures))

    def test_a_picture_with_more_records_than_a_batch_holds_fills_batches_of_its_own(self):
        pictures = np.array([0] * 10 + list(range(1, 31)))
        (sampler,) = self.ranks(self.data(pictures), 4, 1)
        batches = pictures[list(sampler)].reshape(-1, 4)
        assert sorted((batches == 0).sum(axis=1))[-4:] == [0, 2, 4, 4]

    def test_the_pictures_are_shuffled_and_so_are_their_records(self):
        pictures = np.repeat(np.arange(1000), 2)
        (sampler,) = self.ranks(self.data(pictures), 4, 1)
        order = np.array(list(sampler))
        assert abs(np.corrcoef(pictures[order], np.arange(2000))[0, 1]) < 0.1
        assert 0.4 < np.mean(order[::2] < order[1::2]) < 0.6

    def test_records_without_a_picture_are_alone(self):
        sampler = ImageGroupedSampler(self.data([-1, 0, -1, 0]), 2, seed=0)
        assert len(set(sampler.groups.tolist())) == 3 and sampler.groups[1] == sampler.groups[3]

    def test_ranks_have_about_as_many_pictures_at_the_same_time(self):
        rng = np.random.default_rng(0)
        pictures = np.repeat(np.arange(2000), rng.integers(1, 8, 2000))
        both = self.ranks(self.data(pictures), 16, 2)
        counts = [
            np.array([len(set(batch)) for batch in pictures[list(sampler)[: len(sampler) // 16 * 16]].reshape(-1, 16)])
            for sampler in both
        ]
        assert np.abs(counts[0] - counts[1]).mean() < 0.2 < np.abs(counts[0] - counts[1][::-1]).mean()

    def test_the_dearest_batch_comes_first(self):
        lengths = np.random.default_rng(0).permutation(np.arange(1, 401))
        (sampler,) = self.ranks(self.data(np.arange(400), lengths), 4, 1)
        sums = lengths[list(sampler)].reshape(-1, 4).sum(axis=1)
        assert sums[0] == sums.max()

    def test_joined_datasets_do_not_mix_up_their_pictures(self):
        joined = SimpleNamespace(datasets=[self.data([0, 1, -1, 0]), self.data([0, -1, 0])])
        groups = ImageGroupedSampler(joined, 2, seed=0).groups
        assert groups[0] == groups[3] and groups[4] == groups[6] and len(set(groups.tolist())) == 5

    def test_settings_that_cannot_work_are_refused(self):
        with pytest.raises(TypeError, match='Namespace does not tell the pictures'):
            ImageGroupedSampler(dataset([1, 2]), batch_size=2, seed=0)
        with pytest.raises(ValueError, match='batch_size'):
            ImageGroupedSampler(self.data([0]), batch_size=0, seed=0)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 6), max_size=30))
def test_chunks_fill_batches_in_order(sizes):
    used = list(fill(sizes, 6))
    assert sum(size for *_, size in used) == sum(sizes)
    room = 6
    for chunk, offset, size in used:
        assert offset + size <= sizes[chunk] and size <= room
        room = room - size or 6
    firsts = [chunk for chunk, offset, size in used]
    if sizes:
        assert firsts[0] == 0
