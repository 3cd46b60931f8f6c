"""LLaVA folders of Hugging Face: ``LlavaForConditionalGeneration`` with its processor, without any code of ours.

The names are those of the llava-hf folders, which transformers, vLLM and SGLang read alike. Hugging Face's LLaVA has a
token of its own where a picture stands. Its rows in the embeddings and the head come last; they are the means of the
other rows, so that its logit is the mean of the others' and never the largest.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from geochat.converters.original import projector_name
from geochat.converters.tokenizer_files import SENTENCEPIECE, image_tokenizer
from geochat.models.vision_encoders.clip import (
    CLIP_MEAN,
    CLIP_STD,
    POSITION_TABLE,
    SHAPE_FIELDS,
    clip_vision_fields,
    interpolate_position_table,
)
from geochat.models.weights import WeightsError, is_constant, stream_weights
from geochat.prompts import ChatTemplate, VicunaV1
from geochat.registry import CHAT_TEMPLATES

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


def extend_vocabulary(rows: torch.Tensor) -> torch.Tensor:
    """Return rows of the embeddings or the head with one more: their mean, computed in float32.

    A head's logit for the mean is the mean of all logits, and so below the largest.
    """
    total = sum(part.float().sum(0) for part in rows.split(4096))  # never the whole table in float32
    return torch.cat([rows, (total / len(rows)).to(rows.dtype)[None]])


def to_huggingface(parts: Mapping[str, Any], weights: Iterable[tuple[str, torch.Tensor]]) -> Iterator:
    """Turn a model's stream of weights into that of a LLaVA folder.

    Raises:
        WeightsError: If a tensor has no counterpart there.
    """
    side = _image_size(parts) // _vision_shape(parts)['patch_size']
    for name, tensor in weights:
        if name == f'vision_encoder.{POSITION_TABLE}':
            tensor = interpolate_position_table(tensor, side)
        elif name in VOCABULARY_TENSORS:
            tensor = extend_vocabulary(tensor)
        if not is_constant(name):
            yield huggingface_name(name), tensor


def write_huggingface_files(parts: Mapping[str, Any], folder: Path) -> None:
    """Write what stands beside the weights of a LLaVA folder: config, generation config, processor with tokenizer.

    Args:
        parts: ``vision_encoder``, ``projector`` and ``llm``.
        folder: Where to.

    Raises:
        ValueError: If Hugging Face's LLaVA has no such part.
    """
    from transformers import AutoConfig, CLIPVisionConfig, GenerationConfig, LlavaConfig

    vision, llm = parts['vision_encoder'], parts['llm']
    if vision['type'] != 'ClipVisionEncoder' or llm['type'] != 'HFCausalLM':
        raise ValueError("Hugging Face's LLaVA is made of a CLIP vision encoder and a causal LM; this model is not")
    if projector_name(parts['projector']) != 'mlp2x_gelu':
        raise ValueError(f"Hugging Face's LLaVA has the projector mlp2x_gelu only, not {parts['projector']['type']!r}")
    shape, size = _vision_shape(parts), _image_size(parts)
    fields = dict(llm['config'])
    text = AutoConfig.for_model(fields.pop('model_type'), **fields)
    image_token = text.vocab_size
    text.vocab_size += 1
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**{**shape, 'image_size': size}),
        text_config=text,
        image_token_index=image_token,
        image_seq_length=(size // shape['patch_size']) ** 2,
        vision_feature_layer=vision.get('select_layer', -2),
        vision_feature_select_strategy='default',
        tie_word_embeddings=text.tie_word_embeddings,
        architectures=['LlavaForConditionalGeneration'],
        image_aspect_ratio='pad',  # SGLang takes several crops without it
    )
    # transformers before 4.56, vLLM and SGLang know the dtype by this name only; later versions by both.
    content = {**json.loads(config.to_json_string()), 'torch_dtype': llm.get('dtype', 'float32')}
    content.pop('dtype', None)
    (folder / 'config.json').write_text(json.dumps(content, indent=2), encoding='utf-8')
    GenerationConfig(
        bos_token_id=text.bos_token_id,
        eos_token_id=text.eos_token_id,
        pad_token_id=text.pad_token_id,
        suppress_tokens=[image_token],  # for sampling; the most likely token it never is
    ).save_pretrained(folder)
    _write_processor(parts, size, shape['patch_size'], image_token, folder)


def _write_processor(parts: Mapping[str, Any], size: int, patch_size: int, vocabulary: int, folder: Path) -> None:
    from transformers import LlavaProcessor
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    vision, llm = parts['vision_encoder'], parts['llm']
    images = LlavaImageProcessorPil(
        do_pad=True,
        size={'shortest_edge': size},
        crop_size={'height': size, 'width': size},
        image_mean=list(vision.get('mean', CLIP_MEAN)),
        image_std=list(vision.get('std', CLIP_STD)),
    )
    processor = LlavaProcessor(
        image_processor=images,
        tokenizer=image_tokenizer(llm, vocabulary),
        patch_size=patch_size,
        vision_feature_select_strategy='default',
        num_additional_image_tokens=1,  # the class row, which the strategy takes off again
        chat_template=jinja_template(CHAT_TEMPLATES.build(dict(llm.get('chat_template') or {'type': 'vicuna_v1'}))),
    )
    processor.save_pretrained(folder)
    # The saved names are those of whatever class the reader's installation prefers; with torchvision that is one with
    # other pixels. And transformers before 5 knows fast tokenizers by this name only; later versions by both.
    _change(folder / 'processor_config.json', 'image_processor', image_processor_type='LlavaImageProcessorPil')
    _change(folder / 'tokenizer_config.json', None, tokenizer_class='PreTrainedTokenizerFast')
    if (Path(llm['tokenizer']) / SENTENCEPIECE).is_file():  # for the way back
        shutil.copyfile(Path(llm['tokenizer']) / SENTENCEPIECE, folder / SENTENCEPIECE)


def jinja_template(template: ChatTemplate) -> str | None:
    """Return a chat template in the form that transformers runs; None if it has none in that form."""
    if not isinstance(template, VicunaV1):
        return None
    return VICUNA_TEMPLATE.replace('SYSTEM', json.dumps(f'{template.system} ' if template.system else ''))


def _change(path: Path, key: str | None, **values: Any) -> None:
    content = json.loads(path.read_text(encoding='utf-8'))
    (content if key is None else content[key]).update(values)
    path.write_text(json.dumps(content, indent=2), encoding='utf-8')


def _vision_shape(parts: Mapping[str, Any]) -> dict[str, Any]:
    vision = parts['vision_encoder']
    return clip_vision_fields(vision.get('config'), vision.get('pretrained'))


def _image_size(parts: Mapping[str, Any]) -> int:
    return parts['vision_encoder'].get('image_size') or _vision_shape(parts)['image_size']
