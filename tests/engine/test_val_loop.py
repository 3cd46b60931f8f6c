"""Validation is the mean loss over held-out records, with equally many forwards on every rank."""

import multiprocessing

import pytest
import torch
from torch import nn
from toy_training import ToyData, ToyModel, toy_collate, toy_val_dataloader

from geochat.engine.loops import ValLoop


def validate(toy_runner, loader=(), **val_cfg):
    runner = toy_runner(
        train_cfg={'type': 'TrainLoop', 'max_iters': 1},
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.0}},
        param_scheduler=None,
        val_dataloader={**toy_val_dataloader(), **dict(loader)},
        val_cfg={'type': 'ValLoop', **val_cfg},
        val_evaluator={},
    )
    runner.train()
    return runner.message_hub.get_scalar('val/loss').current()


def token_losses(index):
    batch = toy_collate([ToyData()[index]])
    with torch.no_grad():
        logits = ToyModel()(batch['input_ids'], batch['labels'])[0, :-1]
    return nn.functional.cross_entropy(logits, batch['labels'][0, 1:], reduction='none')


def test_mean_over_tokens(toy_runner):
    expected = torch.cat([token_losses(index) for index in range(5)]).mean()
    assert validate(toy_runner) == pytest.approx(expected.item(), rel=1e-6)


def test_mean_over_batches(toy_runner):
    batches = [(0, 1), (2, 3), (4,)]
    expected = torch.stack([torch.cat([token_losses(index) for index in batch]).mean() for batch in batches]).mean()
    assert validate(toy_runner, loss_reduction='micro') == pytest.approx(expected.item(), rel=1e-6)


def test_workers_that_would_stay_end_with_the_validation(toy_runner, monkeypatch):
    """Python would wait for them for ever, since they ignore its signal."""
    seen = []
    monkeypatch.setattr(ValLoop, '_weight', lambda self, batch: seen.append(multiprocessing.active_children()) or 1.0)
    others = set(multiprocessing.active_children())
    validate(toy_runner, loader={'num_workers': 1, 'persistent_workers': True})
    (worker,) = set(seen[0]) - others
    worker.join(timeout=30)
    assert worker.exitcode is not None


def test_weights_and_their_gradients_stay_as_they_are(toy_runner):
    runner = toy_runner(val_dataloader=toy_val_dataloader(), val_cfg={'type': 'ValLoop'}, val_evaluator={})
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    before = runner.model.head.weight.detach().clone()
    runner.val_loop.run()
    assert torch.equal(runner.model.head.weight, before)
    assert runner.model.head.weight.grad is None


def test_metrics_belong_to_the_test(toy_runner):
    runner = toy_runner(
        val_dataloader=toy_val_dataloader(), val_cfg={'type': 'ValLoop'}, val_evaluator=[{'type': 'Accuracy'}]
    )
    with pytest.raises(ValueError, match=r'leave val_evaluator empty and test with tools/test\.py'):
        runner.train()


def test_records_without_answers(toy_runner, monkeypatch):
    monkeypatch.setattr('geochat.engine.loops.val.count_supervised', lambda batch: 0)
    with pytest.raises(ValueError, match='no token of the validation data carries loss'):
        validate(toy_runner)
