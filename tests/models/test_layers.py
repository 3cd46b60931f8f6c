"""Recomputing and compiling layers changes nothing but time and memory; neither do the weights change their names."""

import importlib.util

import pytest
import torch
from small_parts import LLM_CONFIG, VISION_CONFIG, tokenizer_folder

from geochat.installation import InstallationError
from geochat.models import ClipVisionEncoder, HFCausalLM


def gradients(build, run):
    torch.manual_seed(0)
    part = build().train()
    run(part).square().sum().backward()
    return {name: weight.grad for name, weight in part.named_parameters() if weight.grad is not None}


def encoder(**settings):
    return ClipVisionEncoder(dict(VISION_CONFIG), frozen=False, **settings)


def encode(part):
    return part(torch.linspace(-1, 1, 3 * 28 * 28).reshape(1, 3, 28, 28))


def llm(**settings):
    return HFCausalLM(dict(LLM_CONFIG), tokenizer=tokenizer_folder(), **settings)


def read(part):
    ids = torch.arange(5, 13)[None]
    return part.hidden_states(part.embed(ids), torch.ones_like(ids, dtype=torch.bool), torch.arange(8)[None])


@pytest.mark.parametrize(('build', 'run'), [(encoder, encode), (llm, read)], ids=['vision encoder', 'LLM'])
@pytest.mark.parametrize('setting', ['gradient_checkpointing', 'compile'])
def test_gradients_stay_the_same(build, run, setting):
    with torch.compiler.set_stance('force_eager'):  # the compiler itself takes a minute, and is PyTorch's
        changed = gradients(lambda: build(**{setting: True}), run)
        plain = gradients(build, run)
    assert plain.keys() == changed.keys()
    for name in plain:
        torch.testing.assert_close(changed[name], plain[name])


def test_layers_are_compiled_one_by_one():
    compiled = [layer._compiled_call_impl is not None for layer in llm(compile=True).model.get_decoder().layers]
    assert compiled == [True, True]


@pytest.mark.parametrize('build', [encoder, llm])
def test_layers_are_recomputed(build):
    part = build(gradient_checkpointing=True)
    assert sum(getattr(layer, 'gradient_checkpointing', False) for layer in part.modules()) >= 2


@pytest.mark.skipif(importlib.util.find_spec('liger_kernel') is not None, reason='liger-kernel is installed')
def test_liger_without_its_package_is_refused():
    with pytest.raises(InstallationError, match='pip install liger-kernel'):
        llm(liger=True)
