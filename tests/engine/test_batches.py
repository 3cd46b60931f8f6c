"""What a sample draws follows from seed, epoch and record, whoever makes it; and any position is reached unread."""

import multiprocessing
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader, Dataset

from geochat.datasets import DataError
from geochat.engine.batches import TrainBatches


class Draws(Dataset):
    """Each sample is its number and one draw of each generator."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        if index == 99:
            raise DataError('data.json: nothing is left')
        return index, random.random(), float(np.random.rand()), float(torch.rand(()))


def batches_of(number, start=0, workers=0, seed=1, **settings):
    data = Draws()
    sampler = DefaultSampler(data, shuffle=True, seed=5)
    sampler.set_epoch(number)
    loader = DataLoader(data, batch_size=2, sampler=sampler, num_workers=workers, collate_fn=list, **settings)
    return [sample for batch in TrainBatches(loader, seed).epoch(number, start) for sample in batch]


@pytest.fixture(scope='module')
def samples():
    return batches_of(0)


def test_workers_make_the_same_samples(samples):
    assert batches_of(0, workers=2) == samples
    assert batches_of(0, workers=3, multiprocessing_context='spawn', persistent_workers=True) == samples


def test_a_sample_is_the_same_wherever_an_epoch_is_entered(samples):
    assert batches_of(0, start=3) == samples[6:]


def test_epochs_and_seeds_differ(samples):
    own = {sample[0]: sample[1:] for sample in samples}
    for others in (batches_of(1), batches_of(0, seed=2)):
        assert all(own[sample[0]] != sample[1:] for sample in others)
    assert len({value for draws in own.values() for value in draws}) == 30


@pytest.mark.parametrize('workers', [0, 2])
def test_the_generators_of_the_training_are_left_alone(workers):
    def draw():
        return random.random(), np.random.rand(), float(torch.rand(()))

    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    expected = [draw(), draw()]
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    first = draw()
    batches_of(0, workers=workers)
    assert [first, draw()] == expected


def test_workers_that_stay_know_the_epoch():
    data = Draws()
    loader = DataLoader(data, batch_size=2, num_workers=1, persistent_workers=True, collate_fn=list)
    batches = TrainBatches(loader, seed=1)
    first, second = ([draw for batch in batches.epoch(number, 0) for draw in batch] for number in (0, 1))
    assert [sample[0] for sample in first] == [sample[0] for sample in second]
    assert not {sample[1] for sample in first} & {sample[1] for sample in second}


@pytest.mark.parametrize('workers', [0, 1])
def test_data_that_gives_up_says_so_in_its_own_words(workers):
    loader = DataLoader(Draws(), batch_sampler=[[1], [99]], num_workers=workers, collate_fn=list)
    with pytest.raises(DataError) as error:
        list(TrainBatches(loader, seed=1).epoch(0, 0))
    assert str(error.value) == 'data.json: nothing is left'


def test_closing_ends_workers_that_would_stay():
    loader = DataLoader(Draws(), batch_size=2, num_workers=1, persistent_workers=True, collate_fn=list)
    others = set(multiprocessing.active_children())
    batches = TrainBatches(loader, seed=1)
    epoch = batches.epoch(0, 0)
    next(epoch)
    (worker,) = set(multiprocessing.active_children()) - others
    epoch.close()
    batches.close()
    worker.join(timeout=30)
    assert worker.exitcode is not None


KEEPS_AN_ITERATOR = """
from torch.utils.data import DataLoader
from geochat.engine.batches import TrainBatches
kept = TrainBatches(DataLoader(range(8), batch_size=2, num_workers=1, collate_fn=list), seed=1).epoch(0, 0)
next(kept)
print('the end')
"""


def test_a_program_that_keeps_an_iterator_ends():
    """As one does that ends with an error, whose traceback keeps it."""
    environment = {**os.environ, 'PYTHONPATH': str(Path(__file__).parents[2])}
    command = [sys.executable, '-c', KEEPS_AN_ITERATOR]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == 'the end\n'
