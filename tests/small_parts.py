"""Parts of a model of a few thousand weights, and a SentencePiece tokenizer of its own, for tests of whole models."""

import functools
import tempfile
from pathlib import Path

WORDS = (
    'A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, '
    "and polite answers to the user's questions. "
    'USER: [refer] where is <p>the red ship at the top left</p> ? ASSISTANT: '
    '{<12><34><56><78>|<90>} How many planes are there? Is a harbor present? yes no two three [identify] [grounding]'
)


@functools.cache
def tokenizer_folder() -> str:
    """Train a small Llama-like SentencePiece model (BPE, byte fallback, dummy prefix) once and return its folder."""
    import sentencepiece

    folder = Path(tempfile.mkdtemp(prefix='geochat-tests-'))
    lines = [' '.join(WORDS.split()[start : start + 12]) for start in range(len(WORDS.split()) - 12)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 3),
        model_prefix=str(folder / 'tokenizer'),
        model_type='bpe',
        vocab_size=460,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name='identity',
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        num_threads=1,
        minloglevel=2,
    )
    return str(folder)


VISION_CONFIG = {
    'hidden_size': 16,
    'intermediate_size': 32,
    'num_hidden_layers': 3,
    'num_attention_heads': 2,
    'image_size': 28,
    'patch_size': 14,
    'projection_dim': 16,
}

LLM_CONFIG = {
    'model_type': 'llama',
    'vocab_size': 460,
    'hidden_size': 24,
    'intermediate_size': 48,
    'num_hidden_layers': 2,
    'num_attention_heads': 2,
    'num_key_value_heads': 2,
    'max_position_embeddings': 512,
    'initializer_range': 0.2,
    'bos_token_id': 1,
    'eos_token_id': 2,
    'pad_token_id': 0,
}


def small_parts() -> dict:
    """Settings of the three trained parts: pictures of 28 pixels are four tokens."""
    return {
        'vision_encoder': {'type': 'ClipVisionEncoder', 'config': dict(VISION_CONFIG)},
        'projector': {'type': 'mlp2x_gelu'},
        'llm': {'type': 'HFCausalLM', 'config': dict(LLM_CONFIG), 'tokenizer': tokenizer_folder()},
    }


def small_model(seed: int = 0):
    """Build the model with seeded random weights, in evaluation mode."""
    import torch

    from geochat.models import GeoChat

    torch.manual_seed(seed)
    return GeoChat(**small_parts()).eval()
