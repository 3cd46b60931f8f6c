"""Pretraining of the quick start's vision encoder: a small CLIP learns what each patch of a scene shows.

Each target of :mod:`geochat.datasets.scenes.patches` has channels of the features to itself, read by fixed codes: a
channel a value for a choice, sines and cosines for a number. So the features lie open to a linear map, as those of a
large CLIP do for much of what is in a picture, and no target drowns another.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from geochat.datasets.scenes.drawing import draw_scene
from geochat.datasets.scenes.layout import Scene, make_scene
from geochat.datasets.scenes.patches import CHOICES, NUMBERS, TARGETS, UNTOLD, patch_targets
from geochat.models.llms.start_values import PERIODS, number_waves
from geochat.models.vision_encoders.clip import CLIP_MEAN, CLIP_STD

if TYPE_CHECKING:
    from transformers import CLIPVisionModel

WEIGHTS = {'background': 0.3, 'category': 1.0, 'color': 1.0, 'size': 0.5, 'row': 0.3, 'column': 0.3, 'center': 0.5}
"""Weights of the choices' losses; each number's is 0.5."""

NUMBER_WEIGHT = 0.5

CHOICE_SCALE, EDGE_SCALE, ANGLE_SCALE = 3.0, 8.0, 4.0
"""What the channels are multiplied by to give logits: the larger, the smaller the channels stay. The many channels of a
box's edges must not drown those that say what an object is."""

SMOOTHING = {'angle': 1.5}
"""Standard deviation of the distribution that stands for a number, in its own units; 1 for the others."""


CODES_FILE = 'codes.safetensors'
"""Beside an encoder's weights: the buffers of the :class:`PatchCodes` that read its features."""


@dataclass(frozen=True)
class Pretraining:
    """Settings of the encoder and its pretraining; the defaults made the encoder that is shipped.

    Attributes:
        steps: Optimizer steps, each on new scenes.
        batch_size: Scenes a step.
        seed: Of the first weights.
        matrix_lr: Peak learning rate of Muon, which trains the matrices of the layers.
        lr: Peak learning rate of AdamW, which trains the rest.
        weight_decay: Of both.
        warmup: Steps of linear warm-up; a cosine follows.
        decay: Weight of the features' mean square in the loss, which keeps them of one size; ten times that where
            there is no object and nothing is to be told.
        config: Fields of ``CLIPVisionConfig``.
    """

    steps: int = 1900
    batch_size: int = 32
    seed: int = 0
    matrix_lr: float = 0.02
    lr: float = 2e-3
    weight_decay: float = 0.01
    warmup: int = 100
    decay: float = 0.01
    config: dict = field(
        default_factory=lambda: {
            'hidden_size': 128,
            'intermediate_size': 512,
            'num_hidden_layers': 4,
            'num_attention_heads': 4,
            'image_size': 112,
            'patch_size': 14,
            'hidden_act': 'gelu',
            'projection_dim': 128,
        }
    )


class PatchCodes(nn.Module):
    """Reads features as logits of each target, by codes that are not trained.

    Attributes:
        offset: (C,) what is added to the features first; zero until :func:`center_features`.
    """

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer('offset', torch.zeros(width))
        for name, (first, last) in NUMBERS.items():
            self.register_buffer(name, number_waves(torch.arange(first, last + 1)), persistent=False)

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the logits of each target.

        Args:
            features: (..., C), at least :data:`NUM_CHANNELS` wide; channels beyond that are free.

        Returns:
            For each name of :data:`TARGETS` a float32 tensor (..., number of values).
        """
        features = features.float() + self.offset
        logits, start = {}, 0
        for name in TARGETS:
            width = _channels(name)
            channels = features[..., start : start + width]
            start += width
            if name in CHOICES:
                logits[name] = CHOICE_SCALE * channels
            else:
                scale = ANGLE_SCALE if name == 'angle' else EDGE_SCALE
                logits[name] = scale * (channels @ self.get_buffer(name).T)
        return logits


def _channels(name: str) -> int:
    return CHOICES.get(name, 2 * PERIODS)


NUM_CHANNELS = sum(map(_channels, TARGETS))
"""Channels that carry targets."""


def pretraining_loss(features: torch.Tensor, targets: torch.Tensor, codes: PatchCodes, decay: float) -> torch.Tensor:
    """Return the loss of a batch.

    Args:
        features: (N, L, C).
        targets: (N, L, len(TARGETS)) int64.
        codes: The fixed codes.
        decay: See :class:`Pretraining`.
    """
    loss = features.new_zeros(())
    for index, (name, logits) in enumerate(codes(features).items()):
        told = targets[..., index] != UNTOLD
        values, rows = targets[..., index][told], logits[told]
        if name in CHOICES:
            loss = loss + WEIGHTS[name] * F.cross_entropy(rows, values)
        else:
            loss = loss + NUMBER_WEIGHT * F.cross_entropy(rows, _smoothed(name, values))
    empty = targets[..., TARGETS.index('category')] == 0
    untold = features.float()[empty][:, CHOICES['background'] + CHOICES['category'] :]
    return loss + decay * (features.float().square().mean() + 10 * untold.square().mean())


def _smoothed(name: str, values: torch.Tensor) -> torch.Tensor:
    """Return the distributions (N, values) that stand for numbers (N,)."""
    first, last = NUMBERS[name]
    away = torch.arange(first, last + 1) - values[:, None]
    weights = torch.exp(-0.5 * (away / SMOOTHING.get(name, 1.0)) ** 2)
    return weights / weights.sum(dim=1, keepdim=True)


def build_encoder(settings: Pretraining) -> 'CLIPVisionModel':
    """Build the encoder with first weights that suit a small network trained briefly.

    The position table starts with the sines and cosines of each patch's place, so that places need not be discovered.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(settings.seed)
    # On a CPU PyTorch's fused attention is slower backwards than the plain one at 65 tokens.
    encoder = CLIPVisionModel(CLIPVisionConfig(**settings.config, attn_implementation='eager'))
    width, depth = encoder.config.hidden_size, encoder.config.num_hidden_layers
    with torch.no_grad():
        patch = encoder.embeddings.patch_embedding.weight
        patch.normal_(std=patch[0].numel() ** -0.5)
        side = encoder.config.image_size // encoder.config.patch_size
        encoder.embeddings.position_embedding.weight[1:] = 0.5 * place_code(side, width)
        for layer in encoder.encoder.layers:
            attention, mlp = layer.self_attn, layer.mlp
            for linear in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.fc1):
                linear.weight.normal_(std=linear.in_features**-0.5)
            for linear in (attention.out_proj, mlp.fc2):
                linear.weight.normal_(std=0.5 * (linear.in_features * depth) ** -0.5)
    return encoder


def place_code(side: int, width: int) -> torch.Tensor:
    """Return sines and cosines of the places of a square of patches, row by row: float32 (side * side, width)."""
    frequencies = torch.logspace(math.log10(math.pi / 2), math.log10(0.75 * math.pi * side), width // 4)
    phases = (torch.arange(side) + 0.5)[:, None] / side * frequencies
    code = torch.cat([phases.sin(), phases.cos()], dim=1)
    rows, columns = code[:, None].expand(-1, side, -1), code[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=2).reshape(side * side, width)


def patch_features(encoder: 'CLIPVisionModel', pixels: torch.Tensor) -> torch.Tensor:
    """Return the last layer's output for each patch (N, L, C), before CLIP's last norm, as LLaVA reads a CLIP."""
    states = encoder.pre_layrnorm(encoder.embeddings(pixels))
    for layer in encoder.encoder.layers:
        states = layer(states, None)
    return states[:, 1:]


def scene_batch(scenes: list[Scene], size: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return normalised pictures (N, 3, size, size) and patch targets (N, side * side, len(TARGETS)) of scenes."""
    pictures = torch.from_numpy(np.stack([np.asarray(draw_scene(scene, size)) for scene in scenes]))
    pixels = (pictures.float() / 255 - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)
    targets = torch.from_numpy(np.stack([patch_targets(scene, side) for scene in scenes]))
    return pixels.permute(0, 3, 1, 2).contiguous(), targets


@torch.no_grad()
def center_features(encoder: 'CLIPVisionModel', codes: PatchCodes, num_scenes: int = 1000) -> None:
    """Take their mean out of the features, and give it to the codes instead.

    What is the same everywhere tells nothing, but whoever learns from the features would have to unlearn it first. The
    patches that show an object and those that show none count half each.

    Args:
        encoder: Changed in place, by the bias of the last linear map before its output.
        codes: Changed in place.
        num_scenes: How many scenes of the split ``pretrain`` the mean is taken over.
    """
    size, side = encoder.config.image_size, encoder.config.image_size // encoder.config.patch_size
    sums, counts = torch.zeros(2, encoder.config.hidden_size), torch.zeros(2, 1)
    for first in range(0, num_scenes, 50):
        scenes = [make_scene('pretrain', index) for index in range(first, min(first + 50, num_scenes))]
        pixels, targets = scene_batch(scenes, size, side)
        features = patch_features(encoder, pixels)
        shows_object = targets[..., TARGETS.index('category')] > 0
        for kind, chosen in enumerate((features[shows_object], features[~shows_object])):
            sums[kind] += chosen.sum(dim=0)
            counts[kind] += len(chosen)
    mean = (sums / counts).mean(dim=0)
    encoder.encoder.layers[-1].mlp.fc2.bias -= mean
    codes.offset += mean


def pretrain(settings: Pretraining) -> tuple['CLIPVisionModel', PatchCodes, float]:
    """Pretrain an encoder on the scenes of the split ``pretrain``; the same settings give the same weights.

    Returns:
        The encoder, the codes that read its features and the seconds it took.
    """
    encoder = build_encoder(settings)
    codes = PatchCodes(encoder.config.hidden_size)
    side = settings.config['image_size'] // settings.config['patch_size']
    optimizers = list(_optimizers(encoder, settings))
    parameters = [
        parameter for optimizer in optimizers for group in optimizer.param_groups for parameter in group['params']
    ]
    start, seen = time.perf_counter(), 0.0
    for step in range(settings.steps):
        first = step * settings.batch_size
        scenes = [make_scene('pretrain', first + number) for number in range(settings.batch_size)]
        pixels, targets = scene_batch(scenes, settings.config['image_size'], side)
        with torch.autocast('cpu', torch.bfloat16):
            features = patch_features(encoder, pixels)
        loss = pretraining_loss(features, targets, codes, settings.decay)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group['lr'] = group['initial_lr'] * _schedule(step, settings)
            optimizer.step()
            optimizer.zero_grad()
        seen += loss.item()
        if (step + 1) % _REPORT_EVERY == 0:
            elapsed = time.perf_counter() - start
            left = elapsed / (step + 1) * (settings.steps - step - 1)
            print(f'step {step + 1}/{settings.steps}  loss {seen / _REPORT_EVERY:.3f}  {left:.0f} s left', flush=True)
            seen = 0.0
    center_features(encoder.eval(), codes)
    return encoder, codes, time.perf_counter() - start


_REPORT_EVERY = 100


def _optimizers(encoder: 'CLIPVisionModel', settings: Pretraining) -> Iterator[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the rest: in as many steps AdamW alone gets half as far."""
    named = [(name, item) for name, item in encoder.named_parameters() if not name.startswith('post_layernorm')]
    matrices = [item for name, item in named if name.startswith('encoder.') and item.ndim == 2]
    rest = [item for name, item in named if not (name.startswith('encoder.') and item.ndim == 2)]
    decay = settings.weight_decay
    yield torch.optim.Muon(
        [{'params': matrices, 'initial_lr': settings.matrix_lr}], lr=settings.matrix_lr, weight_decay=decay
    )
    yield torch.optim.AdamW(
        [{'params': rest, 'initial_lr': settings.lr}], lr=settings.lr, betas=(0.9, 0.98), weight_decay=decay
    )


def _schedule(step: int, settings: Pretraining) -> float:
    """Return the share of the peak learning rate: linear warm-up, then a cosine to a fiftieth."""
    share = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return min(1.0, (step + 1) / settings.warmup) * share
