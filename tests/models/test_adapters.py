"""Adapters: what is trained, what is refused, and the layers of 4 or 8 bits under them where bitsandbytes is."""

import importlib.util

import pytest
import torch
from small_parts import LLM_CONFIG

from geochat.installation import InstallationError
from geochat.models import HFCausalLM
from geochat.models.adapters import add_lora, linear_layers, quantize_linear_layers
from geochat.models.weights import load_weights

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec('bitsandbytes') is None, reason='bitsandbytes is not installed'
)


def test_dora_trains_lengths_beside_directions():
    llm = HFCausalLM(LLM_CONFIG, lora={'r': 2, 'dora': True})
    trained = [name.split('.lora_')[1] for name, weight in llm.named_parameters() if weight.requires_grad]
    assert set(trained) == {'A.default.weight', 'B.default.weight', 'magnitude_vector.default.weight'}
    assert len(trained) == 3 * 7 * LLM_CONFIG['num_hidden_layers']


def test_dora_is_refused_where_zero_3_has_spread_the_weights():
    model = HFCausalLM(LLM_CONFIG).model
    next(model.parameters()).ds_id = 0
    with pytest.raises(ValueError, match=r'DoRA does not work under ZeRO-3: set strategy\.zero_stage to 2'):
        add_lora(model, dora=True)


def test_a_target_that_fits_no_layer_is_refused():
    with pytest.raises(ValueError, match='no_such_layer'):
        HFCausalLM(LLM_CONFIG, lora={'r': 2, 'targets': r'no_such_layer'})


def test_the_head_is_no_target():
    paths = linear_layers(HFCausalLM(LLM_CONFIG).model)
    assert len(paths) == 7 * LLM_CONFIG['num_hidden_layers']
    assert paths[0] == 'model.layers.0.self_attn.q_proj'


def test_quantised_weights_need_adapters():
    with pytest.raises(ValueError, match='"quantization" needs "lora"'):
        HFCausalLM(LLM_CONFIG, quantization={'kind': 'nf4'})


def test_a_missing_bitsandbytes_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(InstallationError, match='pip install bitsandbytes'):
        quantize_linear_layers(HFCausalLM(LLM_CONFIG).model)


@needs_bitsandbytes
def test_qlora_computes_with_the_weights_that_4_bits_can_hold_and_trains_the_adapter():
    from bitsandbytes.functional import dequantize_4bit

    torch.manual_seed(0)
    config = {**LLM_CONFIG, 'hidden_size': 64, 'intermediate_size': 128}
    plain = HFCausalLM(config)
    quantised = HFCausalLM(config, lora={'r': 2, 'dropout': 0.0}, quantization={'kind': 'nf4'})
    load_weights(quantised.model, plain.model.state_dict().items(), 'the plain model').check()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    plain, quantised = plain.to(device), quantised.to(device)  # which quantises
    for path in linear_layers(plain.model):
        weight = quantised.model.get_submodule(path).get_base_layer().weight
        assert weight.dtype == torch.uint8
        assert weight.quant_state.nested
        plain.model.get_submodule(path).weight.data = dequantize_4bit(weight.data, weight.quant_state)
    ids = torch.arange(3, 11, device=device)[None]
    positions, mask = torch.arange(8, device=device)[None], torch.ones_like(ids, dtype=torch.bool)
    states = [llm.hidden_states(llm.embed(ids), mask, positions) for llm in (plain, quantised)]
    torch.testing.assert_close(*states, rtol=1e-3, atol=1e-4)
    states[1].square().mean().backward()
    layer = quantised.model.model.layers[0].mlp.up_proj
    assert layer.lora_B['default'].weight.grad.abs().sum() > 0
    assert layer.get_base_layer().weight.grad is None


@needs_bitsandbytes
def test_adapters_over_8_bits_are_trained():
    config = {**LLM_CONFIG, 'hidden_size': 64, 'intermediate_size': 128}
    llm = HFCausalLM(config, lora={'r': 2, 'dropout': 0.0}, quantization={'kind': 'int8'})
    llm = llm.to('cuda' if torch.cuda.is_available() else 'cpu')
    ids = torch.arange(3, 11, device=next(llm.parameters()).device)[None]
    states = llm.hidden_states(
        llm.embed(ids), torch.ones_like(ids, dtype=torch.bool), torch.arange(8, device=ids.device)[None]
    )
    states.square().mean().backward()
    layer = llm.model.model.layers[0].mlp.up_proj
    assert layer.get_base_layer().weight.dtype == torch.int8
    assert layer.lora_B['default'].weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match='quantised already'):
        quantize_linear_layers(llm.model)
