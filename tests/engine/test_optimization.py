"""Mixed precision on any device; the learning rate of Hugging Face's Trainer."""

import pytest
import torch
from torch import nn

from geochat.engine.optimization import AmpOptimWrapper, CosineWithWarmupLR, cosine_with_warmup


def test_schedule_is_that_of_hugging_face():
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2e-4)
    theirs = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=4, num_training_steps=100)
    for step in range(100):
        assert cosine_with_warmup(step, 4, 100) * 2e-4 == pytest.approx(optimizer.param_groups[0]['lr'], abs=1e-12)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize(('step', 'share'), [(0, 0.0), (1, 0.5), (2, 1.0), (6, 0.5), (10, 0.0), (11, 0.0)])
def test_schedule_by_hand(step, share):
    assert cosine_with_warmup(step, 2, 10) == pytest.approx(share)


def test_warm_up_is_a_share_of_the_run_rounded_up():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = CosineWithWarmupLR(optimizer, end=50, warmup_ratio=0.03)
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        schedule.step()
    assert rates[:4] == [0.0, 0.5, 1.0, pytest.approx(0.998929, abs=1e-6)]
    assert rates[-1] == pytest.approx(0.001071, abs=1e-6)  # (1 + cos(47 pi / 48)) / 2


def test_groups_keep_their_ratio():
    optimizer = torch.optim.SGD([{'params': [nn.Parameter(torch.zeros(1))], 'lr': lr} for lr in (1.0, 0.1)], lr=1.0)
    schedule = CosineWithWarmupLR(optimizer, end=10, warmup_ratio=0.2)
    optimizer.step()
    schedule.step()
    assert [group['lr'] for group in optimizer.param_groups] == pytest.approx([0.5, 0.05])


def test_schedule_refuses_epochs():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match='by_epoch=False'):
        CosineWithWarmupLR(optimizer, end=10, by_epoch=True)
    with pytest.raises(ValueError, match='warmup_ratio'):
        CosineWithWarmupLR(optimizer, end=10, warmup_ratio=3)


def test_bfloat16_on_the_cpu():
    model = nn.Linear(4, 4)
    wrapper = AmpOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), clip_grad={'max_norm': 1.0})
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        out = model(torch.ones(2, 4))
    assert out.dtype == torch.bfloat16
    assert model.weight.dtype == torch.float32
    wrapper.backward(out.float().square().sum() * 1e3)
    wrapper.step()
    wrapper.zero_grad()
    assert (model.weight - before).norm() <= 0.1 + 1e-6  # clipped to norm 1, times the learning rate
    wrapper.load_state_dict(wrapper.state_dict())


def test_unknown_precision():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match='bfloat16, float16'):
        AmpOptimWrapper(optimizer, dtype='bf16')


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_float16_needs_a_gpu():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match='needs a GPU'):
        AmpOptimWrapper(optimizer, dtype='float16')


def test_resuming_into_a_longer_run():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    short = CosineWithWarmupLR(optimizer, end=4, warmup_ratio=0.5)
    for _ in range(3):
        optimizer.step()
        short.step()
    longer = CosineWithWarmupLR(optimizer, end=10, warmup_ratio=0.2)
    longer.load_state_dict(short.state_dict())
    optimizer.step()
    longer.step()
    assert optimizer.param_groups[0]['lr'] == pytest.approx(cosine_with_warmup(4, 2, 10))
