"""One rule for weights of every kind: each is loaded by name into the bare model, and what does not fit is named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from originals import original_names, save_original
from safetensors.torch import save_file
from small_adapters import LORA, lora_model, save_adapter
from small_parts import small_model, small_parts

from geochat.converters import find_source
from geochat.engine.checkpoint import load_checkpoint, save_model
from geochat.models import GeoChat
from geochat.models.weights import WeightsError


def with_pretrained(folder, **llm):
    """A model whose encoder and LLM come from folders of Hugging Face, and whose projector is new."""
    source = small_model(seed=3)
    source.vision_encoder.model.save_pretrained(folder / 'clip')
    source.llm.model.save_pretrained(folder / 'llama')
    parts = small_parts()
    parts['vision_encoder'] = {'type': 'ClipVisionEncoder', 'pretrained': str(folder / 'clip')}
    parts['llm'] = {**parts['llm'], 'pretrained': str(folder / 'llama'), **llm}
    return GeoChat(**parts), source


def assert_equal(found, wanted, prefix=''):
    wanted = {name: tensor for name, tensor in wanted.items() if name.startswith(prefix)}
    assert wanted
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize(
    'prefix', ['model.mm_projector.', 'mm_projector.', 'base_model.model.model.mm_projector.', 'projector.']
)
@pytest.mark.parametrize('in_folder', [False, True])
def test_a_projector_alone_is_laid_over_the_pretrained_parts(tmp_path, prefix, in_folder):
    trained = small_model(seed=1)
    model, source = with_pretrained(tmp_path)
    folder = tmp_path / 'stage 1'
    folder.mkdir()
    tensors = {prefix + name: tensor for name, tensor in trained.projector.state_dict().items()}
    torch.save(tensors, folder / 'mm_projector.bin')
    (folder / 'config.json').write_text(json.dumps({'model_type': 'llava', 'mm_vision_tower': 'clip'}))
    report = load_checkpoint(model, folder if in_folder else folder / 'mm_projector.bin')
    assert len(report.loaded) == 4
    assert 'projector)' in str(report)
    assert_equal(model.state_dict(), trained.state_dict(), 'projector.')
    assert_equal(model.state_dict(), source.state_dict(), 'llm.')
    assert_equal(model.state_dict(), source.state_dict(), 'vision_encoder.')


def test_half_a_projector_is_refused(tmp_path):
    torch.save({'model.mm_projector.0.weight': torch.zeros(24, 16)}, tmp_path / 'mm_projector.bin')
    with pytest.raises(WeightsError, match=r'missing \(3\): projector\.0\.bias'):
        load_checkpoint(small_model(), tmp_path / 'mm_projector.bin')


@pytest.mark.parametrize('dora', [False, True])
@pytest.mark.parametrize(
    'names',
    [
        lambda name: name,
        lambda name: name.replace('model.layers', 'language_model.model.layers'),
        lambda name: name.replace('model.layers', 'model.language_model.layers'),
    ],
    ids=['causal LM', 'LLaVA', 'LLaVA of transformers 5'],
)
def test_an_adapter_is_laid_over_the_pretrained_parts(tmp_path, names, dora):
    trained = lora_model(seed=1, dora=dora)
    model, source = with_pretrained(tmp_path, lora={**LORA, 'dora': dora})
    save_adapter(trained, tmp_path / 'adapter', names, use_dora=dora)
    projector = {f'base_model.model.model.mm_projector.{name}': t for name, t in trained.projector.state_dict().items()}
    torch.save(projector, tmp_path / 'adapter' / 'non_lora_trainables.bin')
    load_checkpoint(model, tmp_path / 'adapter')
    found = model.state_dict()
    adapters = {name: tensor for name, tensor in trained.state_dict().items() if '.lora_' in name}
    assert len(adapters) == (12 if dora else 8)
    assert_equal(found, adapters)
    assert_equal(found, trained.state_dict(), 'projector.')
    base = {name.replace('.base_layer.', '.'): tensor for name, tensor in found.items() if '.lora_' not in name}
    assert_equal({name: base[name] for name in base}, source.state_dict(), 'llm.')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'lora_alpha': 4}, r'scale 2 and use_dora False; the model has 2, 3 and False'),
        ({'r': 4}, 'rank 4'),
        ({'use_dora': True}, 'dora=True'),
        ({'use_rslora': True}, 'scale 4.24264'),
    ],
)
def test_an_adapter_of_another_scale_is_refused(tmp_path, settings, message):
    model = lora_model()
    save_adapter(model, tmp_path / 'adapter', **settings)
    with pytest.raises(WeightsError, match=message):
        load_checkpoint(model, tmp_path / 'adapter')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [({'peft_type': 'IA3'}, "'IA3'"), ({'rank_pattern': {'q': 4}}, 'rank_pattern'), ({'bias': 'all'}, "bias 'all'")],
)
def test_an_adapter_of_another_kind_is_refused(tmp_path, settings, message):
    save_adapter(lora_model(), tmp_path / 'adapter', **settings)
    with pytest.raises(ValueError, match=message):
        find_source(tmp_path / 'adapter')


def test_an_adapter_needs_a_model_with_one(tmp_path):
    save_adapter(lora_model(), tmp_path / 'adapter')
    with pytest.raises(WeightsError, match=r'the model has none: set the llm.s lora=dict\(r=2, alpha=6, dora=False\)'):
        load_checkpoint(small_model(), tmp_path / 'adapter')


def test_half_an_adapter_is_refused(tmp_path):
    model = lora_model()
    weights = model.state_dict()
    del weights['llm.model.model.layers.1.self_attn.q_proj.lora_A.default.weight']
    torch.save({'state_dict': weights}, tmp_path / 'iter_1.pth')
    with pytest.raises(WeightsError, match=r'missing \(1\): llm\.model\.model\.layers\.1\.self_attn\.q_proj\.lora_A'):
        load_checkpoint(model, tmp_path / 'iter_1.pth')


def test_adapters_that_the_config_has_not_are_told(tmp_path):
    torch.save({'state_dict': lora_model().state_dict()}, tmp_path / 'iter_1.pth')
    with pytest.raises(WeightsError, match=r'set its llm\.lora as in training, or merge them'):
        load_checkpoint(small_model(), tmp_path / 'iter_1.pth')


def test_a_checkpoint_of_a_model_with_adapters_is_loaded_with_them(tmp_path):
    trained, model = lora_model(seed=1), lora_model(seed=2)
    torch.save({'state_dict': trained.state_dict()}, tmp_path / 'iter_1.pth')
    load_checkpoint(model, tmp_path / 'iter_1.pth')
    assert_equal(model.state_dict(), trained.state_dict())


@pytest.mark.parametrize('dora', [False, True])
def test_new_adapters_change_nothing_yet(tmp_path, dora):
    """DoRA's row lengths are those of the weights that are loaded after PEFT has put it in."""
    plain = small_model(seed=1)
    torch.save(plain.state_dict(), tmp_path / 'model.pth')
    torch.manual_seed(2)
    parts = small_parts()
    parts['llm']['lora'] = {**LORA, 'dora': dora}
    model = GeoChat(**parts).eval()
    load_checkpoint(model, tmp_path / 'model.pth')
    batch = {'input_ids': torch.arange(3, 9)[None], 'attention_mask': torch.ones(1, 6, dtype=torch.bool)}
    torch.testing.assert_close(model(**batch), plain(**batch))


def test_a_folder_of_one_part_is_told_apart_from_a_checkpoint(tmp_path):
    small_model().llm.model.save_pretrained(tmp_path / 'vicuna-7b')
    with pytest.raises(WeightsError, match=r"of a 'llama', not of a GeoChat or LLaVA.*\"pretrained\""):
        load_checkpoint(small_model(), tmp_path / 'vicuna-7b')


def test_the_tower_is_not_read_from_a_folder_without_weights(tmp_path):
    save_original(small_model(), tmp_path / 'model', tower=False)
    (tmp_path / 'clip-small').mkdir()
    with pytest.raises(WeightsError, match='holds no vision tower'):
        load_checkpoint(small_model(), tmp_path / 'model')


def test_weights_come_in_the_same_order_and_with_their_names(tmp_path):
    model = small_model()
    save_original(model, tmp_path / 'original', 'sharded bin')
    source = find_source(tmp_path / 'original')
    names = [name for name, _ in source.read()]
    assert names == [name for name, _ in source.read()]
    assert set(names) == set(original_names(model))


SAVES_WITH_DEEPSPEED = """
import sys
sys.path.insert(0, sys.argv[1])
import deepspeed, torch
from geochat.engine.distributed import close_process_group, open_process_group
from small_parts import small_model
deepspeed.ops.__compatible_ops__['deepspeed_shm_comm'] = False
open_process_group('pytorch')
for stage in (2, 3):
    model = small_model()
    model.llm.requires_grad_(True).model.lm_head.requires_grad_(False)
    groups = [{'params': list(model.projector.parameters())}, {'params': [
        weight for weight in model.llm.parameters() if weight.requires_grad]}]
    config = {'train_micro_batch_size_per_gpu': 1, 'zero_optimization': {'stage': stage}}
    engine, *_ = deepspeed.initialize(model=model, optimizer=torch.optim.AdamW(groups), config=config)
    engine.save_checkpoint(sys.argv[2], tag=f'stage_{stage}', client_state={'log': Exception('not a tensor')})
close_process_group()
"""


@pytest.fixture(scope='module')
def deepspeed_folder(tmp_path_factory):
    """Let two processes save with ZeRO-2 and ZeRO-3, part of the model frozen."""
    folder = tmp_path_factory.mktemp('deepspeed')
    (folder / 'save.py').write_text(SAVES_WITH_DEEPSPEED)
    launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', str(folder / 'save.py')]
    environment = {**os.environ, 'DS_ACCELERATOR': 'cpu', 'OMP_NUM_THREADS': '1'}
    environment['TORCH_EXTENSIONS_DIR'] = str(folder / 'extensions')
    environment['PYTHONPATH'] = str(Path(__file__).parents[2])
    command = [sys.executable, *launch, str(Path(__file__).parents[1]), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('place', ['stage_2', 'stage_3', '.'])
def test_a_deepspeed_checkpoint_is_brought_together(deepspeed_folder, place):
    model = small_model(seed=1)
    report = load_checkpoint(model, deepspeed_folder / place)
    assert 'DeepSpeed checkpoint' in str(report)
    assert_equal(model.state_dict(), small_model().state_dict())


@pytest.mark.slow
def test_a_deepspeed_checkpoint_that_lacks_a_process_is_refused(deepspeed_folder, tmp_path):
    for file in (deepspeed_folder / 'stage_3').iterdir():
        if 'rank_1_mp_rank_00_optim' not in file.name:
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(WeightsError, match='is of 2 processes, but has 2 files of weights and 1 of the optimizer'):
        load_checkpoint(small_model(), tmp_path)


def test_a_model_folder_in_shards_is_loaded(tmp_path):
    model = small_model()
    folder = save_model(model, {**small_parts()}, tmp_path / 'model')
    weights = model.state_dict()
    names = list(weights)
    index = {}
    for number, members in enumerate((names[::2], names[1::2])):
        file = f'model-{number + 1:05}-of-00002.safetensors'
        save_file({name: weights[name].clone() for name in members}, folder / file)
        index.update(dict.fromkeys(members, file))
    (folder / 'model.safetensors').unlink()
    (folder / 'model.safetensors.index.json').write_text(json.dumps({'weight_map': index}))
    other = small_model(seed=1)
    load_checkpoint(other, folder)
    assert_equal(other.state_dict(), weights)
