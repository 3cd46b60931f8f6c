"""Floating-point operations of a training step: how many the model needs, and how many the device could do.

A multiplication and an addition count as two operations. What is needed follows Chowdhery et al. 2022 (PaLM, arXiv
2204.02311, appendix B): matrix products alone, each weight used twice a token in the forward pass (Kaplan et al. 2020,
arXiv 2001.08361, section 2.1), and nothing for what is computed again under gradient checkpointing. Unlike there, the
backward pass counts what this model trains (a frozen weight has no gradient of its own), and attention counts the pairs
of tokens that see each other.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from geochat.datasets.collate import count_records
from geochat.engine.loops.step import count_supervised
from geochat.models.llms.hf_causal_lm import last_mlp
from geochat.structures import IMAGE_TOKEN_INDEX

PEAK_FLOPS = {
    'H100 PCIe': 756e12,
    'H100 NVL': 835e12,
    'GH200': 989e12,
    'H100': 989e12,
    'H200': 989e12,
    'H800': 989e12,
    'H20': 148e12,
    'B200': 2250e12,
    'GB200': 2500e12,
    'A100': 312e12,
    'A800': 312e12,
    'A10G': 70e12,
    'A10': 125e12,
    'A40': 150e12,
    'A30': 165e12,
    'A6000': 155e12,
    'L40S': 362e12,
    'L40': 181e12,
    'L4': 121e12,
    'V100': 125e12,
    'T4': 65e12,
    'RTX 4090': 165e12,
    'RTX 3090': 71e12,
    'MI300X': 1307e12,
    'MI250X': 191.5e12,  # of one of its two dies, each of which is a device
}
"""Operations a second of dense 16-bit matrix products with 32-bit sums, by a part of the device's name.

From the makers' data sheets; where these give numbers with sparsity, half of them. The first name that stands in the
device's as a word counts.
"""


def peak_flops(device_name: str) -> float | None:
    """Return the operations a second that a device of this name can do at best; None if the table lacks it."""
    for name, flops in PEAK_FLOPS.items():
        if re.search(rf'\b{name}\b', device_name):
            return flops
    return None


@dataclass(frozen=True)
class Work:
    """What a batch gives to do, or several batches together.

    Attributes:
        records: Records, packed or not.
        tokens: Tokens that are not padding, each picture's features among them.
        pairs: Pairs of tokens, the first of which sees the second.
        supervised: Tokens that carry loss.
        pictures: Distinct pictures.
    """

    records: int = 0
    tokens: int = 0
    pairs: int = 0
    supervised: int = 0
    pictures: int = 0

    def __add__(self, other: 'Work') -> 'Work':
        return Work(*(mine + theirs for mine, theirs in zip(self.counts(), other.counts(), strict=True)))

    def counts(self) -> tuple[int, ...]:
        """Return the numbers in the order of the attributes."""
        return self.records, self.tokens, self.pairs, self.supervised, self.pictures


def work_of(batch: Mapping[str, torch.Tensor], tokens_per_picture: int) -> Work:
    """Count what a collated batch gives to do.

    Args:
        batch: A batch of training samples on the CPU (``geochat.datasets.collate``), packed or not.
        tokens_per_picture: Features that take the place of an image token.
    """
    ids, real = batch['input_ids'].numpy(), batch['attention_mask'].numpy()
    sizes = np.where(ids == IMAGE_TOKEN_INDEX, tokens_per_picture, 1)[real]
    return Work(
        records=count_records(batch),
        tokens=int(sizes.sum()),
        pairs=_visible_pairs(batch, real, sizes),
        supervised=count_supervised(batch),
        pictures=len(batch['pixels']),
    )


def _visible_pairs(batch: Mapping[str, torch.Tensor], real: np.ndarray, sizes: np.ndarray) -> int:
    """Count who sees whom: n (n + 1) / 2 in a text of n, and every token of a branch sees all that is shared."""
    none = np.zeros(real.shape, dtype=np.int64)
    rows = np.broadcast_to(np.arange(len(real))[:, None], real.shape)
    documents, branches = (batch[name].numpy() if name in batch else none for name in ('documents', 'branches'))
    texts, owners = np.unique(np.stack([rows[real], documents[real], branches[real]]), axis=1, return_inverse=True)
    lengths = np.bincount(owners.ravel(), weights=sizes).astype(np.int64)
    pairs = int((lengths * (lengths + 1) // 2).sum())
    shared = {tuple(text[:2]): length for text, length in zip(texts.T.tolist(), lengths, strict=True) if text[2] == 0}
    for text, length in zip(texts.T.tolist(), lengths, strict=True):
        if text[2]:
            pairs += int(length * shared.get(tuple(text[:2]), 0))
    return pairs


class ModelFlops:
    """Operations that a model needs for the forward and the backward pass of a batch.

    Args:
        model: The bare model (:class:`geochat.models.GeoChat`).
    """

    def __init__(self, model: nn.Module):
        encoder, projector, llm = model.vision_encoder, model.projector, model.llm.model
        self.tokens_per_picture = encoder.num_tokens(encoder.image_size)
        trains_encoder, trains_projector = _is_trained(encoder), _is_trained(projector)
        self.encoder = encoder.forward_flops() * (3 if trains_encoder else 1)
        self.projector = 2 * self.tokens_per_picture * _projector_uses(projector, trains_encoder)

        head, config = llm.get_output_embeddings(), llm.config
        decoder = llm.get_decoder()
        goes_back = trains_encoder or trains_projector or _is_trained(llm)

        def operations(module: nn.Module | None) -> int:
            if module is None:
                return 0
            return 2 * linear_weights(module) * (2 if goes_back else 1) + 2 * linear_weights(module, trained_only=True)

        # Of the last layer, the MLP is needed for supervised tokens alone, as the head is.
        mlp = last_mlp(llm)
        self.token = operations(decoder) - operations(mlp)
        width = config.num_attention_heads * (
            getattr(config, 'head_dim', None) or config.hidden_size // config.num_attention_heads
        )
        # Scores and their product with the values: 2 * width each; their backward passes take two products each.
        self.pair = 4 * width * config.num_hidden_layers * (3 if goes_back else 1)
        self.row = operations(head) + operations(mlp)

    def vision(self, work: Work) -> int:
        """Operations of the vision encoder and the projector."""
        return work.pictures * (self.encoder + self.projector)

    def language(self, work: Work) -> int:
        """Operations of the LLM and its head."""
        return work.tokens * self.token + work.pairs * self.pair + work.supervised * self.row


def _projector_uses(projector: nn.Module, trains_encoder: bool) -> int:
    """Count how often weights of the projector are used for one picture feature, forward and backward."""
    whole, trained = linear_weights(projector), linear_weights(projector, trained_only=True)
    if trains_encoder:
        return 2 * whole + trained
    first = next((layer for layer in projector.modules() if isinstance(layer, nn.Linear)), None)
    # No gradient goes on from the first layer to the frozen encoder.
    going_back = whole - first.in_features * first.out_features if trained else 0
    return whole + trained + going_back


def linear_weights(module: nn.Module, trained_only: bool = False) -> int:
    """Count the weights of a module's linear layers, adapters among them; quantised or spread ones too."""
    return sum(
        layer.in_features * layer.out_features
        for layer in module.modules()
        if isinstance(layer, nn.Linear) and (layer.weight.requires_grad or not trained_only)
    )


def _is_trained(module: nn.Module) -> bool:
    return any(weight.requires_grad for weight in module.parameters())
