"""Packed, shared and plain batches teach a model the same."""

import importlib.util

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_batches import losses_and_gradients, mixed_samples
from small_parts import small_model, small_parts

from geochat.datasets import collate_samples, pack_samples
from geochat.models import GeoChat
from geochat.models.attention import DOCUMENT_ATTENTION, Layout
from geochat.models.llms.hf_causal_lm import choose_attention

MODEL = small_model()


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


@pytest.mark.parametrize('packing', PACKINGS.values(), ids=list(PACKINGS))
@pytest.mark.parametrize('build', [trained_in_full, with_lora])
def test_packing_changes_neither_loss_nor_gradients(build, packing):
    samples = mixed_samples()
    model = build()
    plain, packed = (
        losses_and_gradients(model, batch) for batch in (collate_samples(samples), pack_samples(samples, **packing))
    )
    assert packed['num_supervised'] == plain['num_supervised'] > 20
    torch.testing.assert_close(packed['loss'], plain['loss'], rtol=1e-5, atol=0)
    assert set(packed['gradients']) == set(plain['gradients'])
    for name, gradient in plain['gradients'].items():
        error = (packed['gradients'][name] - gradient).norm() / gradient.norm()
        assert error < 1e-5, f'{name}: {error}'


@pytest.mark.parametrize('attention', ['eager', 'sdpa'])
@pytest.mark.parametrize('gradient_checkpointing', [False, True])
def test_every_back_end_of_a_cpu_gives_the_same(attention, gradient_checkpointing):
    samples = mixed_samples()
    plain = losses_and_gradients(trained_in_full(), collate_samples(samples))
    parts = small_parts()
    parts['llm'].update(attention=attention, gradient_checkpointing=gradient_checkpointing)
    torch.manual_seed(0)
    packed = losses_and_gradients(GeoChat(**parts).train(), pack_samples(samples))
    torch.testing.assert_close(packed['loss'], plain['loss'], rtol=1e-5, atol=0)
    for name, gradient in plain['gradients'].items():
        assert (packed['gradients'][name] - gradient).norm() < 1e-5 * gradient.norm(), name


@settings(max_examples=10)
@given(st.lists(st.integers(0, len(mixed_samples()) - 1), min_size=1, max_size=6), st.booleans())
def test_any_records_may_meet(chosen, share_images):
    samples = [mixed_samples()[number] for number in chosen]
    with torch.no_grad():
        plain, packed = (
            MODEL(**batch, mode='loss') for batch in (collate_samples(samples), pack_samples(samples, share_images))
        )
    torch.testing.assert_close(packed, plain, rtol=1e-5, atol=1e-6)


def test_grouped_heads_are_repeated():
    samples = mixed_samples()
    losses = []
    for batch, attention in ((collate_samples(samples), 'eager'), (pack_samples(samples), 'auto')):
        parts = small_parts()
        parts['llm']['config'].update(num_attention_heads=4, num_key_value_heads=2)
        parts['llm']['attention'] = attention
        torch.manual_seed(0)
        losses.append(losses_and_gradients(GeoChat(**parts).train(), batch)['loss'])
    torch.testing.assert_close(*losses, rtol=1e-5, atol=0)


@pytest.mark.parametrize('collate', [collate_samples, pack_samples])
def test_a_frozen_encoder_sees_each_picture_of_a_batch_once_and_without_gradient(collate):
    model, batch = trained_in_full(), collate(mixed_samples())
    seen = []
    model.vision_encoder.register_forward_hook(lambda _, arguments, features: seen.append((arguments[0], features)))
    losses_and_gradients(model, batch)
    ((pixels, features),) = seen
    assert len(pixels) == len(batch['pixels']) == 3
    assert len({picture.numpy().tobytes() for picture in pixels}) == 3
    assert not features.requires_grad
    assert all(weight.grad is None for weight in model.vision_encoder.parameters())


def test_a_text_longer_than_a_sliding_window_is_refused():
    model = small_model()
    model.llm.model.config.sliding_window = 8
    with pytest.raises(ValueError, match="at most the LLM's sliding_window, 8 tokens, not"):
        model(**pack_samples(mixed_samples()), mode='loss')


def test_what_a_back_end_cannot_do_is_refused():
    layout = Layout(torch.zeros(1, 2, dtype=torch.long))
    with pytest.raises(ValueError, match=r"'flash_attention_2', not 'flash_attention_3'"):
        choose_attention('flash_attention_3', layout, torch.device('cpu'))


@pytest.mark.parametrize(
    ('setting', 'branches', 'flash', 'expected'),
    [
        ('auto', None, True, 'flash_attention_2'),
        ('auto', torch.zeros(1, 2), True, 'flex_attention'),
        ('auto', None, False, 'flex_attention'),
        ('sdpa', torch.zeros(1, 2), True, DOCUMENT_ATTENTION),
        ('eager', None, True, 'eager'),
    ],
)
def test_what_a_gpu_would_take(monkeypatch, setting, branches, flash, expected):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: object() if flash else None)
    assert choose_attention(setting, Layout(torch.zeros(1, 2), branches), torch.device('cuda')) == expected
