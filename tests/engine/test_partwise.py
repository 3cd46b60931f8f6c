"""Each part of the model learns at its own rate; nothing frozen reaches the optimizer."""

import pytest
from small_parts import small_model

from geochat.engine.config import ConfigError
from geochat.engine.optimization import CosineWithWarmupLR
from geochat.registry import OPTIM_WRAPPER_CONSTRUCTORS


def build(model, **settings):
    optim_wrapper = {'type': 'OptimWrapper', 'optimizer': {'type': 'AdamW', 'lr': 2e-4, 'weight_decay': 0.0}}
    return OPTIM_WRAPPER_CONSTRUCTORS.build(
        {'type': 'PartwiseConstructor', 'optim_wrapper_cfg': optim_wrapper, 'paramwise_cfg': settings}
    )(model)


def count(weights):
    return sum(weight.numel() for weight in weights if weight.requires_grad)


def test_without_settings_of_parts_there_is_one_group_of_the_trained_weights():
    model = small_model()
    (group,) = build(model).optimizer.param_groups
    assert len(group['params']) == sum(weight.requires_grad for weight in model.parameters())
    assert all(weight.requires_grad for weight in group['params'])


def test_parts_have_their_own_settings_and_the_schedule_moves_them_alike():
    model = small_model()
    model.vision_encoder.requires_grad_(True)
    wrapper = build(model, projector={'lr': 2e-3}, vision_encoder={'lr': 2e-6, 'weight_decay': 0.1})
    groups = wrapper.optimizer.param_groups
    assert [(group['lr'], group['weight_decay']) for group in groups] == [(2e-4, 0), (2e-3, 0), (2e-6, 0.1)]
    parts = (model.llm, model.projector, model.vision_encoder)
    assert [count(group['params']) for group in groups] == [count(part.parameters()) for part in parts]
    schedule = CosineWithWarmupLR(wrapper.optimizer, end=10, warmup_ratio=0.2)
    wrapper.optimizer.step()
    schedule.step()
    assert [group['lr'] for group in groups] == pytest.approx([1e-4, 1e-3, 1e-6])


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'projecter': {'lr': 1e-3}}, "no part 'projecter'; there is projector"),
        ({'projector': {'lr_mult': 10}}, "projector has no setting 'lr_mult'; it takes lr, weight_decay"),
        ({'llm': {'lr': '1e-3'}}, r"llm\.lr must be a number not below 0, not '1e-3'"),
        ({'vision_encoder': {'lr': 1e-6}}, 'vision_encoder: nothing of the vision_encoder is trained'),
    ],
)
def test_slips_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        build(small_model(), **settings)


def test_a_model_that_is_frozen_throughout_is_refused():
    with pytest.raises(ConfigError, match='nothing is trained'):
        build(small_model().requires_grad_(False))
