"""LLaVA folders of Hugging Face: ``LlavaForConditionalGeneration`` with its processor, without any code of ours.

The names are those of the llava-hf folders, which transformers, vLLM and SGLang read alike. Hugging Face's LLaVA has a
token of its own where a picture stands. Its rows in the embeddings and the head come last; they are the means of the
other rows, so that its logit is the mean of the others' and never the largest.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from geochat.models.vision_encoders.clip import CLIP_MEAN, CLIP_STD, SHAPE_FIELDS, clip_vision_fields
from geochat.models.weights import WeightsError, stream_weights

NAMES = {
    'vision_encoder.model.': 'vision_tower.vision_model.',
    'projector.0.': 'multi_modal_projector.linear_1.',
    'projector.2.': 'multi_modal_projector.linear_2.',
    'llm.model.model.': 'language_model.model.',
    'llm.model.lm_head.': 'language_model.lm_head.',
}
"""How our names begin, and Hugging Face's."""

OTHER_NAMES = {
    'model.language_model.': 'language_model.model.',
    'model.vision_tower.': 'vision_tower.',
    'model.multi_modal_projector.': 'multi_modal_projector.',
    'lm_head.': 'language_model.lm_head.',
}
"""How names begin that transformers wrote for a while, and those it writes again since version 5."""

VOCABULARY_TENSORS = ('llm.model.model.embed_tokens.weight', 'llm.model.lm_head.weight')
"""What has a row for each token."""

VICUNA_TEMPLATE = (
    '{% for message in messages %}'
    "{% if message['role'] == 'user' %}"
    "{% if loop.first %}{{ SYSTEM }}{% endif %}{{ 'USER: ' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}{{ ' ASSISTANT:' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}{{ '</s>' }}{% endif %}"
    '{% endfor %}'
)
"""Jinja form of :class:`geochat.prompts.VicunaV1`; ``SYSTEM`` stands for its first sentence."""


def is_huggingface(config: Mapping[str, Any]) -> bool:
    """True if a ``config.json`` is that of a ``LlavaForConditionalGeneration``."""
    return config.get('model_type') == 'llava' and 'text_config' in config


def huggingface_parts(config: Mapping[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """Read the model's parts from the ``config.json`` of a LLaVA folder of Hugging Face.

    Args:
        config: The file's content.
        folder: The folder.

    Returns:
        Settings of ``vision_encoder``, ``projector`` and ``llm``, as a config has them.

    Raises:
        ValueError: If a setting has no counterpart here.
    """
    from transformers import LlavaConfig

    from geochat.models.llms.hf_causal_lm import shape_of

    llava = LlavaConfig.from_dict(dict(config))
    for key, value, supported in (
        ('vision_feature_select_strategy', llava.vision_feature_select_strategy, 'default'),
        ('projector_hidden_act', llava.projector_hidden_act, 'gelu'),
        ('multimodal_projector_bias', llava.multimodal_projector_bias, True),
        ('vision_config.model_type', llava.vision_config.model_type, 'clip_vision_model'),
    ):
        if value != supported:
            raise ValueError(f'{folder / "config.json"}: {key} {value!r} is not supported, only {supported!r}')
    dtype = str(config.get('dtype') or config.get('torch_dtype') or 'float32')
    text = shape_of(llava.text_config)
    vision = llava.vision_config.to_dict()
    transform = _read_transform(folder)
    return {
        'vision_encoder': {
            'type': 'ClipVisionEncoder',
            'config': clip_vision_fields({key: vision[key] for key in SHAPE_FIELDS}, None),
            'select_layer': llava.vision_feature_layer,
            'mean': transform.get('image_mean', CLIP_MEAN),
            'std': transform.get('image_std', CLIP_STD),
            'dtype': dtype,
        },
        'projector': {'type': 'mlp2x_gelu'},
        'llm': {
            'type': 'HFCausalLM',
            'config': {'model_type': llava.text_config.model_type, **text, 'vocab_size': llava.image_token_index},
            'tokenizer': str(folder),
            'chat_template': {'type': 'llava_v1'},
            'dtype': dtype,
        },
    }


def _read_transform(folder: Path) -> dict[str, Any]:
    """Read what the folder's processor says of pictures; an empty dict if it has none."""
    for file, key in (('processor_config.json', 'image_processor'), ('preprocessor_config.json', None)):
        if (folder / file).is_file():
            content = json.loads((folder / file).read_text(encoding='utf-8'))
            content = content if key is None else content.get(key)
            if content:
                return content
    return {}


def our_name(name: str, source: str | Path) -> str:
    """Return this project's name of one of a LLaVA's tensors, in any of the ways that transformers has named them.

    Raises:
        WeightsError: If it has none; the message names ``source``.
    """
    for prefix, legacy in OTHER_NAMES.items():
        if name.startswith(prefix):
            name = legacy + name[len(prefix) :]
            break
    if name.startswith('vision_tower.') and not name.startswith('vision_tower.vision_model.'):
        name = name.replace('vision_tower.', 'vision_tower.vision_model.', 1)
    for ours, prefix in NAMES.items():
        if name.startswith(prefix):
            return ours + name[len(prefix) :]
    raise WeightsError(f'the tensor {name!r} in {str(source)!r} is not of a LLaVA of Hugging Face')


def huggingface_name(name: str) -> str:
    """Return Hugging Face's name of one of this project's tensors.

    Raises:
        WeightsError: If it has none.
    """
    for ours, prefix in NAMES.items():
        if name.startswith(ours):
            return prefix + name[len(ours) :]
    raise WeightsError(f"the tensor {name!r} has no counterpart in Hugging Face's LLaVA, whose projector is mlp2x_gelu")


def huggingface_weights(config: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Read a LLaVA folder's weights under this project's names, without the rows of ``<image>`` and what follows it.

    Raises:
        WeightsError: If a tensor has no counterpart here.
    """
    rows = config.get('image_token_index', config.get('image_token_id', 32000))
    for name, tensor in stream_weights(folder):
        ours = our_name(name, folder)
        yield ours, tensor[:rows] if ours in VOCABULARY_TENSORS else tensor
