import pytest
import torch
from small_parts import LLM_CONFIG, tokenizer_folder
from transformers import AutoModelForCausalLM, LlamaConfig

from geochat.models import HFCausalLM


@pytest.fixture(scope='module')
def llama_folder(tmp_path_factory):
    """A Llama as transformers saves it, in shards."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('llama')
    fields = {key: value for key, value in LLM_CONFIG.items() if key != 'model_type'}
    AutoModelForCausalLM.from_config(LlamaConfig(**fields)).save_pretrained(folder, max_shard_size='60KB')
    return folder


def run(llm, ids):
    mask = torch.ones_like(ids, dtype=torch.bool)
    positions = torch.arange(ids.shape[1])[None].expand_as(ids)
    return llm.logits(llm.hidden_states(llm.embed(ids), mask, positions))


def test_a_pretrained_folder_gives_the_models_logits(llama_folder):
    llm = HFCausalLM(pretrained=str(llama_folder))
    llm.load_pretrained()
    ids = torch.randint(3, 400, (2, 7))
    torch.testing.assert_close(run(llm, ids), AutoModelForCausalLM.from_pretrained(llama_folder)(ids).logits)


def test_lora_starts_as_no_change_and_trains_alone(llama_folder):
    plain = HFCausalLM(pretrained=str(llama_folder))
    tuned = HFCausalLM(pretrained=str(llama_folder), lora={'r': 4, 'alpha': 8, 'dropout': 0.0})
    for llm in (plain, tuned):
        llm.load_pretrained()
    ids = torch.randint(3, 400, (1, 5))
    torch.testing.assert_close(run(tuned, ids), run(plain, ids))
    trainable = [name for name, weight in tuned.named_parameters() if weight.requires_grad]
    assert len(trainable) == 2 * 7 * LLM_CONFIG['num_hidden_layers']  # A and B of q, k, v, o, gate, up, down
    assert all('.lora_' in name and 'lm_head' not in name for name in trainable)


def test_lora_targets_are_full_paths():
    llm = HFCausalLM(LLM_CONFIG, lora={'r': 2, 'targets': r'model\.layers\.0\.self_attn\.[qv]_proj'})
    adapted = {name.split('.lora_')[0] for name, weight in llm.named_parameters() if weight.requires_grad}
    assert adapted == {f'model.model.layers.0.self_attn.{part}_proj' for part in 'qv'}


def test_a_cache_continues_where_it_stopped():
    torch.manual_seed(0)
    llm = HFCausalLM(LLM_CONFIG).eval()
    ids = torch.randint(3, 400, (1, 6))
    cache, rows = llm.new_cache(), []
    for start, stop in ((0, 4), (4, 5), (5, 6)):
        mask = torch.ones(1, stop, dtype=torch.bool)
        rows.append(llm.hidden_states(llm.embed(ids[:, start:stop]), mask, torch.arange(start, stop)[None], cache))
    torch.testing.assert_close(llm.logits(torch.cat(rows, 1)), run(llm, ids), rtol=1e-4, atol=1e-5)


def test_gradient_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        llm = HFCausalLM(LLM_CONFIG, gradient_checkpointing=checkpointing).train()
        run(llm, torch.arange(3, 11)[None]).square().mean().backward()
        gradients.append(llm.model.model.layers[0].mlp.up_proj.weight.grad)
    torch.testing.assert_close(*gradients)


def test_answers_end_with_end_of_text():
    llm = HFCausalLM(LLM_CONFIG, tokenizer=tokenizer_folder())
    assert llm.stop_ids == (2,)


@pytest.mark.parametrize(
    ('settings', 'error', 'message'),
    [
        ({}, ValueError, 'needs "config"'),
        ({'config': {'hidden_size': 8}}, TypeError, '"model_type"'),
        ({'config': {**LLM_CONFIG, 'hidden_sise': 8}}, TypeError, "'hidden_sise'"),
        ({'pretrained': 'lmsys/vicuna-7b-v1.5'}, FileNotFoundError, 'hf download'),
        ({'config': LLM_CONFIG, 'chat_template': {'type': 'vicuna_v2'}}, KeyError, 'vicuna_v1'),
    ],
)
def test_bad_settings_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        HFCausalLM(**settings)


@pytest.mark.parametrize('recompute', [False, True])
def test_the_last_mlp_runs_on_needed_tokens_only_and_changes_nothing_for_them(recompute):
    torch.manual_seed(0)
    llm = HFCausalLM(LLM_CONFIG, gradient_checkpointing=recompute).train()
    ids, positions = torch.randint(3, 400, (2, 6)), torch.arange(6)[None].expand(2, 6)
    mask, needed = torch.ones_like(ids, dtype=torch.bool), torch.rand(2, 6) < 0.4
    sizes, results = [], []
    llm.model.get_decoder().layers[-1].mlp.gate_proj.register_forward_hook(
        lambda _, inputs, output: sizes.append(inputs[0].shape[-2])
    )
    for rows in (None, needed):
        llm.zero_grad()
        states = llm.hidden_states(llm.embed(ids), mask, positions, needed=rows)[needed]
        states.square().sum().backward()
        results.append(
            {'states': states.detach(), **{n: p.grad for n, p in llm.named_parameters() if p.grad is not None}}
        )
    torch.testing.assert_close(results[1], results[0])
    assert set(sizes) == {6, int(needed.sum())}
