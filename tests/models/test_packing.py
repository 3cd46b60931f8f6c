"""Packed, shared and plain batches teach a model the same."""

import pytest
import torch
from packed_batches import losses_and_gradients, mixed_samples
from small_parts import small_model, small_parts

from geochat.datasets import collate_samples, pack_samples
from geochat.models import GeoChat


def trained_in_full():
    return small_model().train()


def with_lora():
    parts = small_parts()
    parts['llm']['lora'] = {'r': 4, 'alpha': 8, 'dropout': 0.0}
    torch.manual_seed(0)
    model = GeoChat(**parts)
    for name, weight in model.named_parameters():
        if 'lora_B' in name:  # zero at the start, which would hide the gradients of lora_A
            torch.nn.init.normal_(weight, std=0.2)
    return model.train()


PACKINGS = {'packed': {'share_images': False}, 'shared': {'share_images': True}}


@pytest.mark.parametrize('settings', PACKINGS.values(), ids=PACKINGS)
@pytest.mark.parametrize('build', [trained_in_full, with_lora])
def test_packing_changes_neither_loss_nor_gradients(build, settings):
    samples = mixed_samples()
    model = build()
    plain, packed = (
        losses_and_gradients(model, batch) for batch in (collate_samples(samples), pack_samples(samples, **settings))
    )
    assert packed['num_supervised'] == plain['num_supervised'] > 20
    torch.testing.assert_close(packed['loss'], plain['loss'], rtol=1e-5, atol=0)
    assert set(packed['gradients']) == set(plain['gradients'])
    for name, gradient in plain['gradients'].items():
        error = (packed['gradients'][name] - gradient).norm() / gradient.norm()
        assert error < 1e-5, f'{name}: {error}'
