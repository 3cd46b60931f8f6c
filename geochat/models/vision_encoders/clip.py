"""CLIP's vision transformer at any picture size, with GeoChat's interpolation of the position table."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geochat.models.layers import checkpoint_layers, compile_layers
from geochat.models.partitioned import build_transformer
from geochat.models.vision_encoders.base import VisionEncoder
from geochat.models.weights import load_weights, stream_weights
from geochat.registry import VISION_ENCODERS

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Channel means of CLIP's training pictures, from OpenAI's release."""

CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Channel standard deviations of CLIP's training pictures, from OpenAI's release."""

SHAPE_FIELDS = (
    'hidden_size',
    'intermediate_size',
    'num_hidden_layers',
    'num_attention_heads',
    'num_channels',
    'image_size',
    'patch_size',
    'projection_dim',
    'hidden_act',
    'layer_norm_eps',
    'attention_dropout',
    'initializer_range',
    'initializer_factor',
)
"""Fields of transformers' ``CLIPVisionConfig`` that describe the network."""

OTHER_HALF = ('text_model.', 'text_projection.', 'visual_projection.', 'logit_scale')
"""How the names begin that a whole CLIP has beside its vision transformer's."""

POSITION_TABLE = 'model.embeddings.position_embedding.weight'


@VISION_ENCODERS.register_module()
class ClipVisionEncoder(VisionEncoder):
    """CLIP's vision transformer.

    Args:
        config: Shape of the transformer, by :data:`SHAPE_FIELDS` of ``CLIPVisionConfig``; None reads it from the
            folder ``pretrained``.
        pretrained: Folder with ``config.json`` and weights in Hugging Face format; None starts from random weights.
        image_size: Side in pixels of the pictures, a multiple of the patch size; None takes the config's. GeoChat: 504.
        select_layer: Which hidden states are the features, counted as Hugging Face does: 0 is the input of the first
            layer, -1 the output of the last. LLaVA and GeoChat: -2. The class row is dropped.
        frozen: True keeps the weights as they are and computes without gradient.
        mean: Channel means of the pictures.
        std: Channel standard deviations of the pictures.
        gradient_checkpointing: Recompute the layers in the backward pass instead of storing them; a frozen encoder has
            none.
        compile: Compile the layers by ``torch.compile``.
        dtype: Name of the weights' dtype.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        pretrained: str | None = None,
        image_size: int | None = None,
        select_layer: int = -2,
        frozen: bool = True,
        mean: tuple[float, float, float] = CLIP_MEAN,
        std: tuple[float, float, float] = CLIP_STD,
        gradient_checkpointing: bool = False,
        compile: bool = False,
        dtype: str = 'float32',
    ):
        from transformers import CLIPVisionConfig, CLIPVisionModel

        super().__init__()
        fields = clip_vision_fields(config, pretrained)
        fields['image_size'] = self.image_size = image_size or fields['image_size']
        self.hidden_size, self.patch_size = fields['hidden_size'], fields['patch_size']
        if self.image_size % self.patch_size:
            raise ValueError(f'image_size {self.image_size} is not a multiple of the patch size {self.patch_size}')
        self.pretrained, self.shape = pretrained, fields
        self.num_layers = _layers_used(select_layer, fields['num_hidden_layers'])
        self.frozen = frozen
        model = build_transformer(lambda: CLIPVisionModel(CLIPVisionConfig(**fields)))
        self.model = model.to(getattr(torch, dtype))
        self.model.requires_grad_(not frozen)
        for unused in (*self.model.encoder.layers[self.num_layers :], self.model.post_layernorm):
            unused.requires_grad_(False)  # no gradient comes to them; DDP would wait for it, weight decay shrink them
        if gradient_checkpointing:
            checkpoint_layers(self.model)
        if compile:
            compile_layers(self.model.encoder.layers)
        self.train()

    @classmethod
    def image_transform(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Tell how pictures are prepared; see :meth:`VisionEncoder.image_transform`."""
        size = settings.get('image_size')
        if size is None:
            size = clip_vision_fields(settings.get('config'), settings.get('pretrained'))['image_size']
        return {'size': size, 'mean': settings.get('mean', CLIP_MEAN), 'std': settings.get('std', CLIP_STD)}

    def num_tokens(self, size: int) -> int:
        """Rows for a picture of ``size`` by ``size`` pixels: one a patch."""
        return (size // self.patch_size) ** 2

    def forward_flops(self) -> int:
        """Floating-point operations of one picture: patches, then linear layers and attention of the layers that run.

        A layer has 4 width^2 weights in its attention and 2 width * intermediate in its MLP, each used in one
        multiplication and one addition a row; scores and their product with the values take 2 width a pair of rows.
        """
        width, inner = self.shape['hidden_size'], self.shape['intermediate_size']
        patches = self.num_tokens(self.image_size)
        rows = patches + 1  # the class row
        layer = 2 * rows * (4 * width**2 + 2 * width * inner) + 4 * width * rows**2
        return 2 * patches * self.shape['num_channels'] * self.patch_size**2 * width + self.num_layers * layer

    def train(self, mode: bool = True) -> nn.Module:
        """Set the mode; a frozen encoder stays in evaluation."""
        return super().train(mode and not self.frozen)

    def load_pretrained(self) -> None:
        """Read the weights of the folder ``pretrained``, interpolating its position table to the picture size."""
        if self.pretrained is not None:
            weights = ((f'model.{name}', tensor) for name, tensor in stream_clip(self.pretrained))
            load_weights(self, self.adapt_weights(weights), source=self.pretrained).check()

    def adapt_weights(
        self, weights: Iterable[tuple[str, torch.Tensor]], prefix: str = ''
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Give the weights with a position table of as many rows as this encoder has patches, and one."""
        for name, tensor in weights:
            if name == prefix + POSITION_TABLE:
                yield name, interpolate_position_table(tensor, self.image_size // self.patch_size)
            else:
                yield name, tensor

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode normalised pictures (N, 3, H, W) as patch features (N, L, hidden_size)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            embeddings = self.model.embeddings
            states = embeddings(pixels.to(embeddings.patch_embedding.weight.dtype))
            states = self.model.pre_layrnorm(states)
            for layer in self.model.encoder.layers[: self.num_layers]:
                states = layer(states, None)
            return states[:, 1:]


def _layers_used(select_layer: int, num_layers: int) -> int:
    """How many layers must run for ``hidden_states[select_layer]``."""
    used = select_layer if select_layer >= 0 else num_layers + 1 + select_layer
    if not 0 <= used <= num_layers:
        raise ValueError(f'select_layer {select_layer} is outside the {num_layers} layers of the encoder')
    return used


def clip_vision_fields(config: Mapping[str, Any] | None, pretrained: str | None) -> dict[str, Any]:
    """Return the fields of the vision transformer's shape, CLIP's own defaults filled in.

    Raises:
        FileNotFoundError: If the shape is to be read from a folder that has no ``config.json``.
        ValueError: If there is neither a shape nor a folder, or the folder's config is no CLIP.
        TypeError: If a field is unknown.
    """
    from transformers import CLIPVisionConfig

    if config is None:
        if pretrained is None:
            raise ValueError('ClipVisionEncoder needs "config" (the shape) or "pretrained" (a folder with config.json)')
        config = _read_config(Path(pretrained))
    unknown = [key for key in config if key not in SHAPE_FIELDS]
    if unknown:
        raise TypeError(
            f'the config of a CLIP vision encoder has no field {unknown[0]!r}; it has {", ".join(SHAPE_FIELDS)}'
        )
    defaults = CLIPVisionConfig().to_dict()
    return {key: config.get(key, defaults[key]) for key in SHAPE_FIELDS}


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / 'config.json'
    if not path.is_file():
        raise FileNotFoundError(f'no config.json in the folder of the vision encoder {str(folder)!r}')
    config = json.loads(path.read_text(encoding='utf-8'))
    config = config.get('vision_config', config)  # a whole CLIP has its text half beside it
    if config.get('model_type', 'clip_vision_model') != 'clip_vision_model':
        raise ValueError(f'{path} is of model_type {config["model_type"]!r}, not a CLIP vision transformer')
    return {key: config[key] for key in SHAPE_FIELDS if key in config}


def stream_clip(folder: str | Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Read the vision half of a CLIP folder, under the names of transformers 5 (without ``vision_model.``)."""
    for name, tensor in stream_weights(folder):
        if not name.startswith(OTHER_HALF):
            yield name.removeprefix('vision_model.'), tensor


def interpolate_position_table(table: torch.Tensor, side: int) -> torch.Tensor:
    """Resize a position table to ``side`` by ``side`` patches as the original GeoChat does.

    The patch rows are interpolated bicubically with aligned corners and without anti-aliasing; the class row is kept.
    A table that already fits is returned as it is.

    Args:
        table: (1 + n * n, C); the class row first.
        side: Patches along a side.

    Returns:
        (1 + side * side, C), in the table's dtype.
    """
    rows, channels = table.shape
    old_side = round((rows - 1) ** 0.5)
    if old_side**2 != rows - 1:
        raise ValueError(f'a position table of {rows} rows is not one class row and a square of patches')
    if old_side == side:
        return table
    grid = table[1:].float().T.reshape(1, channels, old_side, old_side)
    grid = nn.functional.interpolate(grid, size=(side, side), mode='bicubic', align_corners=True)
    return torch.cat([table[:1], grid[0].flatten(1).T.to(table.dtype)])
