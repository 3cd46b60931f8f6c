"""The one way from a dialogue and its pictures to what the model takes."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from geochat.datasets.transforms import ImageGeometry
from geochat.prompts.tokenization import TokenizedDialogue, load_tokenizer, tokenize_dialogue, tokenize_turns
from geochat.registry import CHAT_TEMPLATES, TRANSFORMS
from geochat.structures import IMAGE_TOKEN_INDEX, Message, Record


class PreparedPicture(NamedTuple):
    """A picture as the model takes it.

    Attributes:
        pixels: float32 array (3, H, W).
        geometry: Where the picture lies in it.
        key: A digest of the pixels.
    """

    pixels: np.ndarray
    geometry: ImageGeometry
    key: str


@TRANSFORMS.register_module()
class SampleProcessor:
    """Turns dialogues and pictures into token ids, labels and pixels; training, benchmarks and inference share it.

    Args:
        tokenizer: Folder or file of the LLM's tokenizer (see :func:`~geochat.prompts.load_tokenizer`).
        chat_template: Config of the LLM's chat template.
        image_transform: Config of the image transform, such as
            :class:`~geochat.datasets.transforms.PadResizeNormalize`. If its class says ``repeatable = True``, a picture
            that the record before shows too is not prepared again.
        max_length: Most tokens of a training dialogue, a picture counting as one; None keeps all.
    """

    def __init__(
        self,
        tokenizer: str,
        chat_template: Mapping[str, Any],
        image_transform: Mapping[str, Any],
        max_length: int | None = None,
    ):
        self.tokenizer = load_tokenizer(tokenizer)
        self.chat_template = CHAT_TEMPLATES.build(dict(chat_template))
        self.image_transform = TRANSFORMS.build(dict(image_transform))
        self.max_length = max_length
        self._prepared: list[tuple[Image.Image, tuple[np.ndarray, ImageGeometry]]] = []

    def training_sample(
        self,
        record: Record,
        images: Sequence[Image.Image],
        unbreakable: str | None = None,
        independent_turns: bool = False,
    ) -> dict[str, Any]:
        """Prepare a record for training.

        Args:
            record: The dialogue, with an image placeholder for each picture.
            images: Its pictures, RGB, in the order of the placeholders.
            unbreakable: Regular expression of text that the cut to ``max_length`` must not fall into: the box codec's
                ``pattern``.
            independent_turns: True takes each question and its answer as if they were alone with the pictures.

        Returns:
            ``input_ids`` and ``labels`` (int64 arrays (T,)), ``pixels`` (list of float32 arrays (3, H, W)),
            ``image_keys`` (the pictures' names), ``geometries`` (:class:`ImageGeometry` of each picture) and
            ``truncated`` (tokens left out). Pictures whose token was left out are left out too. With
            ``independent_turns`` also ``branches`` (int64 array (T,)).

        Raises:
            ValueError: If pictures and placeholders do not match.
        """
        if independent_turns:
            tokens = tokenize_turns(record.messages, self.chat_template, self.tokenizer, self.max_length, unbreakable)
        else:
            segments = self.chat_template.segments(record.messages)
            tokens = tokenize_dialogue(segments, self.tokenizer, self.max_length, unbreakable)
        images = _pictures_with_token(images, tokens, record.id)
        prepared = self._prepare(images)
        sample = {**_sample(tokens, prepared, list(record.images[: len(images)])), 'labels': tokens.labels}
        return sample if tokens.branches is None else {**sample, 'branches': tokens.branches}

    def prepare(self, image: Image.Image) -> PreparedPicture:
        """Prepare a picture, RGB, that several prompts are to show."""
        pixels, geometry = self.image_transform(image)
        return PreparedPicture(pixels, geometry, hashlib.blake2b(pixels, digest_size=16).hexdigest())

    def prompt_sample(
        self, messages: Sequence[Message], images: Sequence[Image.Image | PreparedPicture]
    ) -> dict[str, Any]:
        """Prepare a dialogue that the model is to go on with. It is never cut.

        Args:
            messages: User and assistant in turn; the user speaks last.
            images: Pictures, RGB, in the order of the image placeholders; or what :meth:`prepare` made of them.

        Returns:
            As :meth:`training_sample`, without ``labels``; the keys of the pictures are digests of their pixels.

        Raises:
            ValueError: If pictures and placeholders do not match.
        """
        tokens = tokenize_dialogue(self.chat_template.segments(messages), self.tokenizer)
        images = _pictures_with_token(images, tokens, 'the prompt')
        prepared = [image if isinstance(image, PreparedPicture) else self.prepare(image) for image in images]
        return _sample(tokens, [picture[:2] for picture in prepared], [picture.key for picture in prepared])

    def _prepare(self, images: Sequence[Image.Image]) -> list[tuple[np.ndarray, ImageGeometry]]:
        """Prepare pictures for training; those of the sample before, the very same objects, are not prepared again."""
        # Said by the class itself: one that is derived from it may draw random numbers, and each record has its own.
        repeatable = vars(type(self.image_transform)).get('repeatable', False)
        known = {id(image): prepared for image, prepared in self._prepared} if repeatable else {}
        self._prepared = [(image, known.get(id(image)) or self.image_transform(image)) for image in images]
        return [prepared for _, prepared in self._prepared]


def _pictures_with_token(images: Sequence[Image.Image], tokens: TokenizedDialogue, name: str) -> Sequence[Image.Image]:
    count = int((tokens.input_ids == IMAGE_TOKEN_INDEX).sum())
    if count > len(images) or (count < len(images) and not tokens.truncated):
        raise ValueError(f'{name} has {count} image tokens and {len(images)} pictures')
    return images[:count]


def _sample(
    tokens: TokenizedDialogue, prepared: Sequence[tuple[np.ndarray, ImageGeometry]], image_keys: list[str]
) -> dict[str, Any]:
    return {
        'input_ids': tokens.input_ids,
        'pixels': [pixels for pixels, _ in prepared],
        'image_keys': image_keys,
        'geometries': [geometry for _, geometry in prepared],
        'truncated': tokens.truncated,
    }
