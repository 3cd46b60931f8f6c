"""Folders as the original GeoChat and LLaVA-1.5 save them: one ``config.json``, weights, a SentencePiece model.

Only JSON and tensors are read. What a folder is called does not matter; what its ``config.json`` says does.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from geochat.models.vision_encoders.clip import clip_vision_fields, strip_vision_prefix
from geochat.models.weights import WeightsError, read_state_dict

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
    if Path(name.rstrip('/')).name == 'clip-vit-large-patch14-336':
        return dict(CLIP_LARGE_336)
    raise ValueError(
        f'the shape of the vision tower {name!r} is not known: put its folder (with config.json) into or beside '
        f'{str(folder)!r}'
    )


def original_weights(config: Mapping[str, Any], folder: Path) -> dict[str, torch.Tensor]:
    """Read an original folder's weights under this project's names; the tower comes from beside it if it is not inside.

    Raises:
        WeightsError: If a tensor has no counterpart here, or the vision tower is nowhere.
    """
    weights = {_rename(name, folder): tensor for name, tensor in read_state_dict(folder).items()}
    if not any(name.startswith('vision_encoder.') for name in weights):
        weights.update(_tower_weights(config['mm_vision_tower'], folder))
    return weights


def _rename(name: str, folder: Path) -> str:
    for prefix, ours in PREFIXES.items():
        if name.startswith(prefix):
            return ours + name[len(prefix) :]
    raise WeightsError(f'the tensor {name!r} in {str(folder)!r} is not of an original GeoChat or LLaVA-1.5')


def _tower_weights(name: str, folder: Path) -> dict[str, torch.Tensor]:
    place = tower_folder(name, folder)
    if place is None:
        raise WeightsError(
            f'{str(folder)!r} holds no vision tower, and there is no folder {Path(name).name!r} in it or beside it'
        )
    return {
        f'vision_encoder.model.{key}': tensor for key, tensor in strip_vision_prefix(read_state_dict(place)).items()
    }
