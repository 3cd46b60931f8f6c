"""Writes a small model in the layout of the original GeoChat and LLaVA-1.5, for tests that load such folders."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from small_parts import LLM_CONFIG, VISION_CONFIG, tokenizer_folder

ORIGINAL_CONFIG = {
    **{key: value for key, value in LLM_CONFIG.items() if key != 'model_type'},
    'architectures': ['LlavaLlamaForCausalLM'],
    'model_type': 'llava',
    'mm_hidden_size': 16,
    'mm_projector_type': 'mlp2x_gelu',
    'mm_use_im_patch_token': False,
    'mm_use_im_start_end': False,
    'mm_vision_select_feature': 'patch',
    'mm_vision_select_layer': -2,
    'mm_vision_tower': 'clip-small',
    'hidden_act': 'silu',
    'rms_norm_eps': 1e-06,
    'rope_scaling': None,
    'torch_dtype': 'float32',
    'transformers_version': '4.31.0',
}
"""``config.json`` of LLaVA-1.5's shape for the small model: its tower keeps its own picture size."""

OURS_TO_ORIGINAL = {
    'projector.': 'model.mm_projector.',
    'vision_encoder.model.': 'model.vision_tower.vision_tower.vision_model.',
    'llm.model.model.': 'model.',
    'llm.model.lm_head.': 'lm_head.',
}


def original_names(model):
    """Our names and the original's."""
    return {
        name: original + name[len(ours) :]
        for name in model.state_dict()
        for ours, original in OURS_TO_ORIGINAL.items()
        if name.startswith(ours)
    }


def save_original(model, folder: Path, kind='bin', tower=True, extra=None):
    """Write a folder; ``tower=False`` leaves the vision tower to a folder of its own."""
    folder.mkdir(parents=True)
    weights = model.state_dict()
    tensors = {original: weights[name].clone() for name, original in original_names(model).items()}
    tensors['model.layers.0.self_attn.rotary_emb.inv_freq'] = torch.zeros(6)  # a constant that old versions saved
    if not tower:
        tensors = {name: tensor for name, tensor in tensors.items() if 'vision_tower' not in name}
    tensors.update(extra or {})
    if kind == 'safetensors':
        save_file(tensors, folder / 'model.safetensors')
    elif kind == 'bin':
        torch.save(tensors, folder / 'pytorch_model.bin')
    else:
        write_shards(tensors, folder)
    (folder / 'config.json').write_text(json.dumps(ORIGINAL_CONFIG))
    shutil.copy(Path(tokenizer_folder()) / 'tokenizer.model', folder)
    if tower:
        (folder / 'clip-small').mkdir()
        (folder / 'clip-small' / 'config.json').write_text(json.dumps(VISION_CONFIG))


def write_shards(tensors, folder: Path):
    """Two ``.bin`` shards and their index."""
    names = sorted(tensors)
    shards = {'pytorch_model-00001-of-00002.bin': names[::2], 'pytorch_model-00002-of-00002.bin': names[1::2]}
    for file, members in shards.items():
        torch.save({name: tensors[name] for name in members}, folder / file)
    index = {'weight_map': {name: file for file, members in shards.items() for name in members}}
    (folder / 'pytorch_model.bin.index.json').write_text(json.dumps(index))
