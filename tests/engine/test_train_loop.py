"""One iteration is one optimizer step, whatever the accumulation, and what it averages is what it says."""

import math

import pytest
import torch
from torch import nn
from toy_training import ToyData, ToyModel, toy_collate, toy_val_dataloader

from geochat.engine.loops.step import count_supervised, micro_batch_weights
from geochat.structures import IGNORE_INDEX


def train_cfg(**changes):
    return {'type': 'TrainLoop', 'accumulation': 2, **changes}


def losses_of(runner):
    return list(runner.message_hub.get_scalar('train/loss').data[0])


def watch_records(monkeypatch):
    """Return a list that will hold the number of each record that is read."""
    seen = []
    original = ToyData.__getitem__
    monkeypatch.setattr(ToyData, '__getitem__', lambda self, index: seen.append(index) or original(self, index))
    return seen


@pytest.mark.parametrize(
    ('size', 'accumulation', 'steps'),
    [(24, 1, 12), (24, 2, 6), (24, 5, 3), (22, 4, 3)],  # 12 micro-batches of 2, or 11: the last step takes the rest
)
def test_steps_of_an_epoch(toy_runner, size, accumulation, steps):
    runner = toy_runner(train_cfg=train_cfg(max_epochs=2, accumulation=accumulation))
    runner._train_dataloader['dataset']['size'] = size
    runner.train()
    assert runner.train_loop.steps_per_epoch == steps
    assert runner.iter == runner.max_iters == 2 * steps
    assert runner.epoch == runner.max_epochs == 2
    assert len(losses_of(runner)) == 2 * steps


def test_every_record_is_seen_once_an_epoch(toy_runner, monkeypatch):
    seen = watch_records(monkeypatch)
    toy_runner(train_cfg=train_cfg(max_epochs=2, accumulation=5)).train()
    assert sorted(seen[:24]) == sorted(seen[24:]) == list(range(24))
    assert seen[:24] != seen[24:]


def test_max_iters_enters_as_many_epochs_as_it_needs(toy_runner):
    runner = toy_runner(train_cfg=train_cfg(max_iters=8))
    runner.train()
    assert (runner.iter, runner.max_epochs) == (8, 2)


def test_schedule_and_checkpoints_count_optimizer_steps(toy_runner, tmp_path):
    runner = toy_runner(train_cfg=train_cfg(max_iters=10), work_dir=str(tmp_path / 'run'))
    runner.train()
    rates = list(runner.message_hub.get_scalar('train/lr').data[0])
    # Warm-up of one step, then a half cosine over the nine others.
    expected = [0.0] + [0.5e-2 * (1 + math.cos(math.pi * step / 9)) for step in range(9)]
    assert rates == pytest.approx(expected)
    assert sorted(path.name for path in (tmp_path / 'run').glob('iter_*')) == ['iter_10', 'iter_8']


def gradient_step(records, weighted_by_tokens):
    """Make one plain SGD step on records of the toy, in plain PyTorch."""
    model = ToyModel()
    losses = []
    for index in records:
        batch = toy_collate([ToyData()[index]])
        logits = model(batch['input_ids'], batch['labels'])[0, :-1]
        losses.append(nn.functional.cross_entropy(logits, batch['labels'][0, 1:], reduction='none'))
    if weighted_by_tokens:
        loss = torch.cat(losses).mean()
    else:  # micro-batches of two records each
        pairs = [torch.cat(losses[start : start + 2]).mean() for start in range(0, len(losses), 2)]
        loss = torch.stack(pairs).mean()
    loss.backward()
    return loss.item(), model.head.weight.detach() - 0.1 * model.head.weight.grad


@pytest.mark.parametrize('reduction', ['token', 'micro'])
def test_what_a_step_averages(toy_runner, reduction):
    runner = toy_runner(
        train_cfg=train_cfg(max_iters=1, accumulation=3, loss_reduction=reduction),
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.1}},
        param_scheduler=None,
    )
    runner._train_dataloader['sampler']['shuffle'] = False
    runner.train()
    loss, weight = gradient_step(range(6), weighted_by_tokens=reduction == 'token')
    assert losses_of(runner)[0] == pytest.approx(loss, rel=1e-6)
    torch.testing.assert_close(runner.model.head.weight.detach(), weight)


def test_weights_of_micro_batches():
    batches = [{'labels': torch.tensor(rows)} for rows in ([[5, 1, 2], [5, IGNORE_INDEX, 3]], [[5, 4]])]
    assert [count_supervised(batch) for batch in batches] == [3, 1]  # the first label has no token before it
    assert micro_batch_weights(batches, 'token') == [0.75, 0.25]
    assert micro_batch_weights(batches, 'micro') == [0.5, 0.5]


def test_a_step_without_supervised_tokens_is_an_error():
    batch = {'labels': torch.full((2, 3), IGNORE_INDEX)}
    with pytest.raises(ValueError, match='no token of the global batch carries loss'):
        micro_batch_weights([batch], 'token')


def test_a_batch_without_labels_is_an_error():
    with pytest.raises(ValueError, match=r"has input_ids\. Set train_cfg\.loss_reduction='micro'"):
        micro_batch_weights([{'input_ids': torch.zeros(1, 2)}], 'token')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({}, 'either max_epochs or max_iters'),
        ({'max_epochs': 1, 'max_iters': 5}, 'either max_epochs or max_iters'),
        ({'max_iters': 0}, 'max_iters must be a whole number above 0'),
        ({'max_epochs': 0.5}, 'max_epochs must be a whole number above 0'),
        ({'max_iters': 5, 'accumulation': 0}, 'accumulation must be a whole number above 0'),
        ({'max_iters': 5, 'loss_reduction': 'sum'}, "'sum' is none of token, micro"),
    ],
)
def test_contradictory_settings(toy_runner, settings, message):
    with pytest.raises(ValueError, match=message):
        toy_runner(train_cfg={'type': 'TrainLoop', **settings}).train()


def test_accumulation_is_said_once(toy_runner):
    runner = toy_runner(optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.1}, 'accumulative_counts': 2})
    with pytest.raises(ValueError, match=r'the accumulation is said in train_cfg\.accumulation'):
        runner.train()


def test_empty_data(toy_runner):
    runner = toy_runner()
    runner._train_dataloader.update(drop_last=True)
    runner._train_dataloader['dataset']['size'] = 1
    with pytest.raises(ValueError, match='the training data of 1 records makes no batch'):
        runner.train()


@pytest.mark.parametrize(('loader', 'records', 'ranks'), [('train_dataloader', 24, 32), ('val_dataloader', 5, 6)])
def test_more_ranks_than_records(toy_runner, monkeypatch, loader, records, ranks):
    runner = toy_runner(val_dataloader=toy_val_dataloader(), val_cfg={'type': 'ValLoop'}, val_evaluator={})
    monkeypatch.setattr('geochat.engine.loops.step.get_world_size', lambda: ranks)
    with pytest.raises(ValueError, match=f'{loader} has {records} records for {ranks} processes: start {records} at'):
        runner.train()


@pytest.mark.parametrize('stop_at', [2, 8])  # in the first epoch of six steps, and in the second
def test_resuming_continues_with_the_next_record(toy_runner, tmp_path, monkeypatch, stop_at):
    seen = watch_records(monkeypatch)
    whole = toy_runner(train_cfg=train_cfg(max_iters=10))
    whole.train()
    uninterrupted, seen[:] = list(seen), []
    first = toy_runner(train_cfg=train_cfg(max_iters=10), work_dir=str(tmp_path / 'run'))
    first._hooks[-1].max_keep_ckpts = -1
    first.train()
    (tmp_path / 'run' / 'last_checkpoint').write_text(f'iter_{stop_at}')
    seen.clear()
    resumed = toy_runner(train_cfg=train_cfg(max_iters=10), work_dir=str(tmp_path / 'run'), resume=True)
    resumed.train()
    assert seen == uninterrupted[stop_at * 4 :]
    assert losses_of(resumed)[stop_at:] == losses_of(whole)[stop_at:]
    torch.testing.assert_close(resumed.model.head.weight, whole.model.head.weight, rtol=0, atol=0)


def test_validation_follows_its_interval_and_the_last_step(toy_runner):
    runner = toy_runner(
        train_cfg=train_cfg(max_iters=7, val_interval=3),
        val_dataloader=toy_val_dataloader(),
        val_cfg={'type': 'ValLoop'},
        val_evaluator={},
    )
    runner.train()
    assert len(runner.message_hub.get_scalar('val/loss').data[0]) == 3
    assert runner.model.training


def test_validation_follows_each_epoch_by_default(toy_runner):
    runner = toy_runner(
        train_cfg=train_cfg(max_epochs=2),
        val_dataloader=toy_val_dataloader(),
        val_cfg={'type': 'ValLoop'},
        val_evaluator={},
    )
    runner.train()
    assert len(runner.message_hub.get_scalar('val/loss').data[0]) == 2
