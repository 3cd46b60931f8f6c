"""Must-show of packing on a GPU: every attention back end gives the loss and the gradients of padded rows."""

import importlib.util

import pytest
import torch
from packed_batches import losses_and_gradients, mixed_samples
from small_parts import small_parts

from geochat.datasets import collate_samples, pack_samples
from geochat.models import GeoChat

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')


def build(attention, dtype=torch.float32):
    parts = small_parts()
    # FlexAttention's kernels need heads of at least 16.
    parts['llm']['config'].update(hidden_size=64, num_attention_heads=2, num_key_value_heads=2)
    parts['llm']['attention'] = attention
    torch.manual_seed(0)
    return GeoChat(**parts).train().to('cuda', dtype)


def on_gpu(batch):
    return {name: value.cuda() for name, value in batch.items()}


@pytest.fixture(autouse=True)
def exact_products():
    """Keep TF32 out: what is compared is float32."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize('share_images', [True, False])
@pytest.mark.parametrize('attention', ['auto', 'flex_attention', 'sdpa', 'eager'])
def test_packing_changes_neither_loss_nor_gradients(attention, share_images):
    samples = mixed_samples()
    plain = losses_and_gradients(build('eager'), on_gpu(collate_samples(samples)))
    if attention == 'auto' and not share_images:
        attention = 'flex_attention'  # FlashAttention, if it is there, takes no float32
    packed = losses_and_gradients(build(attention), on_gpu(pack_samples(samples, share_images)))
    assert packed['num_supervised'] == plain['num_supervised']
    torch.testing.assert_close(packed['loss'], plain['loss'], rtol=1e-5, atol=0)
    for name, gradient in plain['gradients'].items():
        assert (packed['gradients'][name] - gradient).norm() < 1e-5 * gradient.norm(), name


@pytest.mark.skipif(importlib.util.find_spec('flash_attn') is None, reason='needs flash-attn')
def test_flash_attention_keeps_packed_records_apart():
    samples = [sample for sample in mixed_samples() if 'branches' not in sample]
    plain, packed = (
        losses_and_gradients(build(attention, torch.bfloat16), on_gpu(batch))
        for attention, batch in (
            ('eager', collate_samples(samples)),
            ('flash_attention_2', pack_samples(samples, share_images=False)),
        )
    )
    torch.testing.assert_close(packed['loss'], plain['loss'], rtol=1e-2, atol=0)
