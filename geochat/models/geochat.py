"""The whole model on one page: pictures and words in, a loss or an answer out."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from mmengine.model import BaseModel
from torch import nn

from geochat.models.attention import PADDING, Layout, positions
from geochat.models.partitioned import is_spread
from geochat.registry import LLMS, MODELS, PROJECTORS, VISION_ENCODERS
from geochat.structures import IGNORE_INDEX, IMAGE_TOKEN_INDEX


class Spliced(NamedTuple):
    """Sequences with picture features in the place of image tokens.

    Attributes:
        embeds: (B, S, hidden_size).
        mask: (B, S) bool; False for padding.
        labels: (B, S) int64, or None.
        layout: The texts that the rows hold; None where each holds one.
    """

    embeds: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor | None = None
    layout: Layout | None = None


@MODELS.register_module()
class GeoChat(BaseModel):
    """A vision encoder, a projector and an LLM: picture features take the place of the image tokens.

    The arguments of :meth:`forward` are a collated batch (``geochat.datasets.collate``): B dialogues of T tokens, M
    distinct pictures of L features each, P image tokens in reading order.

    Args:
        vision_encoder: Config of the vision encoder.
        projector: Config of the projector; its widths are filled in.
        llm: Config of the LLM.
        frozen_projector: True trains nothing of the projector.
    """

    def __init__(
        self,
        vision_encoder: Mapping[str, Any],
        projector: Mapping[str, Any],
        llm: Mapping[str, Any],
        frozen_projector: bool = False,
    ):
        super().__init__()
        self.vision_encoder = VISION_ENCODERS.build(dict(vision_encoder))
        self.llm = LLMS.build(dict(llm))
        widths = {'in_features': self.vision_encoder.hidden_size, 'out_features': self.llm.hidden_size}
        self.projector = PROJECTORS.build({**projector, **widths})
        self.projector.requires_grad_(not frozen_projector)

    def init_weights(self) -> None:
        """Read the pretrained weights that the parts' configs name; MMEngine calls this before training."""
        self.vision_encoder.load_pretrained()
        self.llm.load_pretrained()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixels: torch.Tensor | None = None,
        image_index: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        documents: torch.Tensor | None = None,
        branches: torch.Tensor | None = None,
        num_records: torch.Tensor | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Run the model.

        Args:
            input_ids: (B, T) int64; :data:`IMAGE_TOKEN_INDEX` where a picture stands.
            attention_mask: (B, T) bool; False for padding.
            pixels: (M, 3, H, W) normalised pictures; None for text only.
            image_index: (P,) row of ``pixels`` of each image token in reading order.
            labels: (B, T) int64; :data:`IGNORE_INDEX` where there is no loss. Needed for the loss.
            documents: (B, T) int64; which document of its row a token belongs to (:mod:`geochat.models.attention`);
                None where a row is one.
            branches: (B, T) int64; which branch of its document a token belongs to; None for dialogues.
            num_records: How many records the batch holds; for those who count, not for the model.
            mode: ``'loss'``, ``'predict'`` or ``'tensor'``.

        Returns:
            ``'loss'``: see :meth:`loss`. ``'predict'``: answers as lists of token ids. ``'tensor'``: float32 logits
            (B, S, vocabulary) of the spliced sequences, padded on the right.

        Raises:
            ValueError: If the mode is unknown, or the image tokens do not match the pictures.
        """
        if mode == 'predict':
            from geochat.generation import generate

            prompts = {'input_ids': input_ids, 'attention_mask': attention_mask}
            answers = generate(self, {**prompts, 'pixels': pixels, 'image_index': image_index})
            return [answer.ids for answer in answers]
        features = self.encode_images(pixels, image_index)
        spliced = self.splice(input_ids, attention_mask, features, labels, documents, branches)
        needed = _predicting(spliced.labels) if mode == 'loss' else None
        states = self.llm.hidden_states(spliced.embeds, *_attention(spliced), needed=needed)
        if mode == 'loss':
            return self.loss(states, spliced.labels)
        if mode == 'tensor':
            return self.llm.logits(states)
        raise ValueError(f"mode {mode!r} is none of 'loss', 'predict', 'tensor'")

    def encode_images(self, pixels: torch.Tensor | None, image_index: torch.Tensor | None) -> torch.Tensor | None:
        """Encode each distinct picture once: features (P, L, hidden_size), one a image token; None without pictures."""
        if pixels is None or not len(pixels):
            return self._encode_nothing()
        features = self.projector(self.vision_encoder(pixels))
        return features[image_index.to(features.device)]

    def _encode_nothing(self) -> torch.Tensor | None:
        """Return the features of no picture, hanging on the weights where a batch of text needs that.

        Where several processes train, each must have gradients of the same weights (here 0). Where ZeRO-3 has spread
        the weights, each must run the same layers, in validation too. Otherwise they wait for each other.
        """
        encoder = self.vision_encoder
        weight = next(self.projector.parameters(), next(self.llm.parameters()))
        is_trained = any(parameter.requires_grad for parameter in encoder.parameters())
        if is_spread(weight) or (self.training and is_trained):
            return self.projector(encoder(weight.new_zeros(1, 3, encoder.image_size, encoder.image_size)))[:0]
        if self.training and weight.requires_grad:
            return self.projector(weight.new_zeros(0, encoder.num_tokens(encoder.image_size), encoder.hidden_size))
        return None

    def splice(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        features: torch.Tensor | None,
        labels: torch.Tensor | None = None,
        documents: torch.Tensor | None = None,
        branches: torch.Tensor | None = None,
        padding: str = 'right',
    ) -> Spliced:
        """Put picture features in the place of image tokens.

        Args:
            input_ids: (B, T), padded on either side.
            attention_mask: (B, T) bool; False for padding.
            features: (P, L, hidden_size), in reading order of the image tokens; None without pictures.
            labels: (B, T), or None.
            documents: (B, T), or None.
            branches: (B, T), or None; pictures stand in branch 0.
            padding: On which side the result is padded: ``'right'`` or ``'left'``.
        """
        is_image = (input_ids == IMAGE_TOKEN_INDEX) & attention_mask
        count, length = (0, 1) if features is None else features.shape[:2]
        if is_image.sum() != count:
            raise ValueError(
                f'{int(is_image.sum())} image tokens stand in the batch, but {count} pictures came with it'
            )
        ends = (attention_mask.long() * torch.where(is_image, length, 1)).cumsum(1)
        sizes = ends[:, -1]
        if padding == 'left':
            ends = ends + (sizes.max() - sizes)[:, None]
        places = torch.arange(int(sizes.max()), device=ends.device)
        mask = places < sizes[:, None] if padding == 'right' else places >= (sizes.max() - sizes)[:, None]
        # Which token each place of the spliced rows comes from; for padding, any.
        sources = torch.searchsorted(ends, places.expand(mask.shape).contiguous(), right=True)
        sources = sources.clamp(max=input_ids.shape[1] - 1)
        of_picture = is_image.gather(1, sources) & mask
        words = self.llm.embed(input_ids[attention_mask & ~is_image])
        embeds = words.new_zeros(*mask.shape, words.shape[-1])
        embeds[mask & ~of_picture] = words
        if features is not None:
            embeds[of_picture] = features.to(embeds).flatten(0, 1)

        def move(values: torch.Tensor, of_padding: int) -> torch.Tensor:
            return torch.where(mask, values.gather(1, sources), of_padding)

        if labels is not None:
            labels = torch.where(of_picture, IGNORE_INDEX, move(labels, IGNORE_INDEX))
        layout = None
        if documents is not None or branches is not None:
            documents = torch.zeros_like(input_ids) if documents is None else documents
            layout = Layout(move(documents, PADDING), None if branches is None else move(branches, 0))
        return Spliced(embeds, mask, labels, layout)

    def loss(self, states: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Cross entropy of the next token over the supervised tokens; only their rows reach the LM head.

        Args:
            states: (B, S, hidden_size).
            labels: (B, S).

        Returns:
            ``loss``, the mean over the supervised tokens (0 if there are none), and ``num_supervised``, their number.
        """
        predicting = _predicting(labels)
        logits = self.llm.logits(states[predicting])
        targets = labels[:, 1:][predicting[:, :-1]]
        total = nn.functional.cross_entropy(logits, targets, reduction='sum')
        count = predicting.sum()
        return {'loss': total / count.clamp(min=1), 'num_supervised': count.to(total.dtype)}


def _predicting(labels: torch.Tensor) -> torch.Tensor:
    """Tell which tokens are followed by a supervised one, which their states predict: (B, S) bool."""
    predicting = torch.zeros_like(labels, dtype=torch.bool)
    predicting[:, :-1] = labels[:, 1:] != IGNORE_INDEX
    return predicting


def _attention(spliced: Spliced) -> tuple[torch.Tensor | Layout, torch.Tensor]:
    """Who sees whom, and the position of each token in its own sequence."""
    if spliced.layout is None:
        return spliced.mask, (spliced.mask.long().cumsum(1) - 1).clamp(min=0)
    return spliced.layout, positions(spliced.layout)
