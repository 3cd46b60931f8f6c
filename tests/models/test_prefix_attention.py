import pytest
import torch
from torch import nn

from geochat.models.llms import HFCausalLM
from geochat.models.prefix_attention import Prefix, PrefixSpan, attend, own_mask, prefix_attention

HEADS, WIDTH = 4, 8


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('kept', [1, 2, 4])
@pytest.mark.parametrize('length', [1, 3])
def test_it_is_softmax_attention_over_prefix_and_row(kept, length):
    """Four rows of up to five tokens: none, one long, and two short prefixes before them."""
    mask = torch.tensor([[0, 0, 1, 1, 1], [1] * 5, [0, 1, 1, 1, 1], [0, 0, 1, 1, 1]]).bool()
    query, key, value = draw(4, HEADS, length, WIDTH), draw(4, kept, 5, WIDTH, seed=1), draw(4, kept, 5, WIDTH, seed=2)
    prefixes = [
        Prefix((draw(1, kept, size, WIDTH, seed=size),), (draw(1, kept, size, WIDTH, seed=9),)) for size in (7, 2)
    ]
    spans = [PrefixSpan(1, 2, prefixes[0]), PrefixSpan(2, 4, prefixes[1])]
    layer = nn.Module()
    layer.layer_idx = 0
    found, _ = prefix_attention(layer, query, key, value, own_mask(mask, length), spans)
    for row, before in enumerate([None, *prefixes[:1], *prefixes[1:] * 2]):
        for place in range(length):
            seen = mask[row].clone()
            seen[5 - length + place + 1 :] = False
            keys, values = key[row][:, seen], value[row][:, seen]
            if before is not None:
                keys = torch.cat([before.keys[0][0], keys], dim=1)
                values = torch.cat([before.values[0][0], values], dim=1)
            for head in range(HEADS):
                of = head // (HEADS // kept)
                weights = (keys[of] @ query[row, head, place] * WIDTH**-0.5).softmax(0)
                torch.testing.assert_close(found[row, place, head], weights @ values[of], rtol=1e-5, atol=1e-6)


def test_with_and_without_a_fused_kernel_it_is_the_same(monkeypatch):
    query, key, value = draw(2, HEADS, 5, WIDTH), draw(2, HEADS, 6, WIDTH, seed=1), draw(2, HEADS, 6, WIDTH, seed=2)
    mask = own_mask(torch.tensor([[0, 0, 1, 1, 1, 1], [1] * 6]).bool(), 5)
    for given in (mask, None):
        fused = attend(query, key, value, given, 0.3)
        monkeypatch.setattr('geochat.models.prefix_attention.MAX_SCORES', 2 * HEADS * 6 * 2)  # two queries at a time
        monkeypatch.setattr('geochat.models.prefix_attention.has_fused_kernel', lambda tensor: False)
        for one, other in zip(fused, attend(query, key, value, given, 0.3), strict=True):
            torch.testing.assert_close(one, other)
        monkeypatch.undo()


def test_an_llm_that_does_not_see_all_before_it_shares_nothing():
    shape = {'vocab_size': 50, 'hidden_size': 16, 'intermediate_size': 16, 'num_hidden_layers': 2}
    heads = {'num_attention_heads': 2, 'num_key_value_heads': 1, 'head_dim': 8}
    plain = HFCausalLM(config={'model_type': 'mistral', **shape, **heads, 'sliding_window': None})
    assert plain.can_share_prefixes
    assert not HFCausalLM(config={'model_type': 'mistral', **shape, **heads, 'sliding_window': 4}).can_share_prefixes
    gemma = HFCausalLM(config={'model_type': 'gemma2', **shape, **heads}, attention='eager')
    assert not gemma.can_share_prefixes
    bloom = {'model_type': 'bloom', 'vocab_size': 50, 'hidden_size': 16, 'n_layer': 1, 'n_head': 2}
    assert not HFCausalLM(config=bloom, attention='eager').can_share_prefixes
