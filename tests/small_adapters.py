"""A small model with adapters, and folders of PEFT with its adapters in them."""

import json

import torch
from safetensors.torch import save_file
from small_parts import small_parts

from geochat.models import GeoChat

LORA = {'r': 2, 'alpha': 6, 'dropout': 0.0, 'targets': r'model\.layers\.\d\.self_attn\.[qv]_proj'}


def lora_model(seed=0, **settings):
    torch.manual_seed(seed)
    parts = small_parts()
    parts['llm']['lora'] = {**LORA, **settings}
    model = GeoChat(**parts)
    for name, weight in model.named_parameters():
        if '.lora_B.' in name:
            torch.nn.init.normal_(weight)
    return model.eval()


def save_adapter(model, folder, names=lambda name: name, **settings):
    """Write the adapter of a model as PEFT does, by PEFT's own naming."""
    folder.mkdir()
    tensors = {}
    for name, tensor in model.llm.model.state_dict().items():
        if '.lora_' in name:
            name = name.replace('.default.weight', '' if 'magnitude' in name else '.weight')
            tensors['base_model.model.' + names(name)] = tensor.clone()
    save_file(tensors, folder / 'adapter_model.safetensors')
    config = {'peft_type': 'LORA', 'r': 2, 'lora_alpha': 6, 'use_dora': False, 'bias': 'none', **settings}
    (folder / 'adapter_config.json').write_text(json.dumps(config))
