"""Folders as the original GeoChat and LLaVA-1.5 save them: one ``config.json``, weights, a SentencePiece model.

Only JSON and tensors are read. What a folder is called does not matter; what its ``config.json`` says does.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from geochat.converters.tokenizer_files import write_slow_tokenizer
from geochat.models.vision_encoders.clip import clip_vision_fields, stream_clip
from geochat.models.weights import WeightsError, has_weights, stream_weights

GEOCHAT_IMAGE_SIZE = 504
"""Side in pixels of GeoChat's pictures; the original has it in its code, never in a file."""

CLIP_LARGE_336 = {
    'hidden_size': 1024,
    'intermediate_size': 4096,
    'num_hidden_layers': 24,
    'num_attention_heads': 16,
    'image_size': 336,
    'patch_size': 14,
    'projection_dim': 768,
}
"""Shape of openai/clip-vit-large-patch14-336, the tower of LLaVA-1.5 and GeoChat, from its config.json."""

LARGE_NAME = 'openai/clip-vit-large-patch14-336'
"""What the original calls that tower."""

LLAMA_FIELDS = (
    'attention_bias',
    'bos_token_id',
    'eos_token_id',
    'hidden_act',
    'hidden_size',
    'initializer_range',
    'intermediate_size',
    'max_position_embeddings',
    'mlp_bias',
    'num_attention_heads',
    'num_hidden_layers',
    'num_key_value_heads',
    'pad_token_id',
    'rms_norm_eps',
    'tie_word_embeddings',
    'vocab_size',
)
"""Fields of the original's ``config.json`` that shape its Llama."""

PREFIXES = {
    'model.mm_projector.': 'projector.',
    'model.vision_tower.vision_tower.vision_model.': 'vision_encoder.model.',
    'model.vision_tower.vision_tower.': 'vision_encoder.model.',
    'model.': 'llm.model.model.',
    'lm_head.': 'llm.model.lm_head.',
}
"""How the original's names begin, and ours; the first that fits is taken."""

PROJECTOR_PREFIX = re.compile(r'(base_model\.|module\.|model\.)*')
"""What LLaVA's files put before ``mm_projector.``, once or several times."""


def is_original(config: Mapping[str, Any]) -> bool:
    """True if a ``config.json`` is one that the original GeoChat or LLaVA wrote."""
    return 'mm_vision_tower' in config


def original_parts(config: Mapping[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """Read the model's parts from an original ``config.json``.

    Args:
        config: The file's content.
        folder: The checkpoint's folder.

    Returns:
        Settings of ``vision_encoder``, ``projector`` and ``llm``, as a config has them.

    Raises:
        ValueError: If the shape of the vision tower cannot be found, or a setting has no counterpart here.
    """
    feature = config.get('mm_vision_select_feature', 'patch')
    if feature != 'patch':
        raise ValueError(
            f'{folder / "config.json"}: mm_vision_select_feature {feature!r} is not supported, only "patch"'
        )
    if config.get('mm_use_im_start_end') or config.get('mm_use_im_patch_token'):
        raise ValueError(f'{folder / "config.json"}: marks around the picture (mm_use_im_*) are not supported')
    dtype = config.get('torch_dtype') or 'float32'
    return {
        'vision_encoder': {
            'type': 'ClipVisionEncoder',
            'config': _tower_shape(config['mm_vision_tower'], folder),
            'image_size': GEOCHAT_IMAGE_SIZE if config.get('model_type') == 'geochat' else None,
            'select_layer': config.get('mm_vision_select_layer', -2),
            'dtype': dtype,
        },
        'projector': {'type': config.get('mm_projector_type', 'linear')},
        'llm': {
            'type': 'HFCausalLM',
            'config': _llama_shape(config),
            'tokenizer': str(folder),
            'chat_template': {'type': 'llava_v1'},  # what GeoChat was evaluated with
            'dtype': dtype,
        },
    }


def _llama_shape(config: Mapping[str, Any]) -> dict[str, Any]:
    shape = {key: config[key] for key in LLAMA_FIELDS if key in config}
    rope = dict(config.get('rope_scaling') or {})
    rope = {'rope_type': rope.pop('type', None) or rope.pop('rope_type', 'default'), **rope}
    return {
        'model_type': 'llama',
        **shape,
        'rope_parameters': {'rope_theta': config.get('rope_theta', 10000.0), **rope},
    }


def tower_folder(name: str, folder: Path) -> Path | None:
    """Find the vision tower's own folder in the checkpoint's folder or beside it; None if there is none.

    Only the last component of the name counts: the file may come from a stranger and must not lead elsewhere.
    """
    last = Path(name.rstrip('/')).name
    candidates = (place / last for place in (folder, folder.resolve().parent))
    return next((place for place in candidates if last and (place / 'config.json').is_file()), None)


def _tower_shape(name: str, folder: Path) -> dict[str, Any]:
    if (place := tower_folder(name, folder)) is not None:
        return clip_vision_fields(None, str(place))
    if Path(name.rstrip('/')).name == Path(LARGE_NAME).name:
        return dict(CLIP_LARGE_336)
    raise ValueError(
        f'the shape of the vision tower {name!r} is not known: put its folder (with config.json) into or beside '
        f'{str(folder)!r}'
    )


def original_weights(
    config: Mapping[str, Any], folder: Path, constants: bool = False
) -> Iterator[tuple[str, torch.Tensor]]:
    """Read an original folder's weights under this project's names; the tower comes from beside it if it is not inside.

    Args:
        config: The content of its ``config.json``.
        folder: The folder.
        constants: As for :func:`~geochat.models.weights.stream_weights`.

    Raises:
        WeightsError: If a tensor has no counterpart here, or the vision tower is nowhere.
    """
    has_tower = False
    for name, tensor in stream_weights(folder, constants):
        ours = our_name(name, folder)
        has_tower = has_tower or ours.startswith('vision_encoder.')
        yield ours, tensor
    if not has_tower:
        yield from _tower_weights(config['mm_vision_tower'], folder)


def our_name(name: str, source: str | Path) -> str:
    """Return this project's name of one of the original's tensors.

    Raises:
        WeightsError: If it has none; the message names ``source``.
    """
    for prefix, ours in PREFIXES.items():
        if name.startswith(prefix):
            return ours + name[len(prefix) :]
    raise WeightsError(f'the tensor {name!r} in {str(source)!r} is not of an original GeoChat or LLaVA-1.5')


def original_name(name: str) -> str:
    """Return the original's name of one of this project's tensors.

    Raises:
        WeightsError: If it has none.
    """
    for prefix, ours in PREFIXES.items():
        if name.startswith(ours):
            return prefix + name[len(ours) :]
    raise WeightsError(f'the tensor {name!r} has no counterpart in the original GeoChat')


def _tower_weights(name: str, folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    place = tower_folder(name, folder)
    if place is None or not has_weights(place):
        raise WeightsError(
            f'{str(folder)!r} holds no vision tower, and there is no folder {Path(name).name!r} with weights in it or '
            'beside it'
        )
    for key, tensor in stream_clip(place):
        yield f'vision_encoder.model.{key}', tensor


def projector_weights(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Read a file of the projector alone, such as the ``mm_projector.bin`` that LLaVA's first stage leaves.

    Its names may be those of LLaVA (``model.mm_projector.0.weight``), these as PEFT or DeepSpeed prefix them, or this
    project's.

    Raises:
        WeightsError: If it holds something else, too.
    """
    for name, tensor in stream_weights(path):
        before, mark, rest = name.rpartition('mm_projector.')
        if not mark:
            before, mark, rest = name.rpartition('projector.')
        if not mark or not PROJECTOR_PREFIX.fullmatch(before):
            raise WeightsError(f'{path} is not a file of the projector alone: it holds {name!r}')
        yield f'projector.{rest}', tensor


def original_config(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Write the original's ``config.json`` for a model's parts.

    Args:
        parts: ``vision_encoder``, ``projector`` and ``llm``, as :func:`original_parts` gives them.

    Raises:
        ValueError: If the original has no such part.
    """
    from transformers import LlamaConfig

    vision, llm = parts['vision_encoder'], parts['llm']
    if vision['type'] != 'ClipVisionEncoder' or llm['type'] != 'HFCausalLM' or llm['config']['model_type'] != 'llama':
        raise ValueError('the original GeoChat is made of a CLIP vision encoder and a Llama; this model is not')
    shape = clip_vision_fields(vision['config'], None)
    size = vision.get('image_size') or shape['image_size']
    if size not in (shape['image_size'], GEOCHAT_IMAGE_SIZE):
        raise ValueError(f'the original takes pictures of {GEOCHAT_IMAGE_SIZE} or {shape["image_size"]}, not {size}')
    family = 'geochat' if size == GEOCHAT_IMAGE_SIZE else 'llava'
    llama = LlamaConfig(**{key: value for key, value in llm['config'].items() if key != 'model_type'}).to_dict()
    rope = dict(llama['rope_parameters'])
    theta, kind = rope.pop('rope_theta'), rope.pop('rope_type')
    return {
        'architectures': [{'geochat': 'GeoChatLlamaForCausalLM', 'llava': 'LlavaLlamaForCausalLM'}[family]],
        'model_type': family,
        **{key: llama[key] for key in LLAMA_FIELDS},
        'rope_theta': theta,
        'rope_scaling': None if kind == 'default' else {'type': kind, **rope},
        'image_aspect_ratio': 'pad',
        'mm_hidden_size': shape['hidden_size'],
        'mm_projector_type': projector_name(parts['projector']),
        'mm_use_im_patch_token': False,
        'mm_use_im_start_end': False,
        'mm_vision_select_feature': 'patch',
        'mm_vision_select_layer': vision.get('select_layer', -2),
        'mm_vision_tower': LARGE_NAME if shape == clip_vision_fields(CLIP_LARGE_336, None) else 'vision_tower',
        'torch_dtype': llm.get('dtype', 'float32'),
        'use_cache': True,
        'use_mm_proj': True,
    }


def write_original_files(parts: Mapping[str, Any], config: Mapping[str, Any], folder: Path) -> None:
    """Write what stands beside the weights of an original folder.

    Args:
        parts: ``vision_encoder``, ``projector`` and ``llm``.
        config: As :func:`original_config` gives it, or as it came from an original.
        folder: Where to.

    Raises:
        FileNotFoundError: If the model has no SentencePiece file.
    """
    write_slow_tokenizer(Path(parts['llm']['tokenizer']), folder)
    (folder / 'config.json').write_text(json.dumps(config, indent=2), encoding='utf-8')
    if not (folder / 'generation_config.json').is_file():
        content = {key: config.get(key) for key in ('bos_token_id', 'eos_token_id', 'pad_token_id')}
        (folder / 'generation_config.json').write_text(json.dumps(content, indent=2), encoding='utf-8')
    tower = Path(config['mm_vision_tower'].rstrip('/')).name
    if tower != Path(LARGE_NAME).name:  # whose shape is known
        (folder / tower).mkdir()
        shape = {'model_type': 'clip_vision_model', **clip_vision_fields(parts['vision_encoder']['config'], None)}
        (folder / tower / 'config.json').write_text(json.dumps(shape, indent=2), encoding='utf-8')


def projector_name(settings: Mapping[str, Any]) -> str:
    """Return LLaVA's name of a projector, such as ``mlp2x_gelu``.

    Raises:
        ValueError: If LLaVA has no such projector.
    """
    kind = settings['type']
    if kind == 'MLPProjector':
        return f'mlp{settings.get("depth", 2)}x_gelu'
    name = {'LinearProjector': 'linear', 'IdentityProjector': 'identity'}.get(kind, kind)
    if name not in ('linear', 'identity') and not re.fullmatch(r'mlp\d+x_gelu', name):
        raise ValueError(f'LLaVA has no projector {kind!r}')
    return name
