"""Shows what the model really learns from: a fault in a template is seen in the first second."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook

from geochat.registry import HOOKS
from geochat.structures import IGNORE_INDEX, IMAGE_PLACEHOLDER, IMAGE_TOKEN_INDEX

OPEN, CLOSE = '>>>', '<<<'
"""Marks around the text that carries loss."""


@HOOKS.register_module()
class FirstSampleHook(Hook):
    """Print the first training sample, decoded from its tokens, with the supervised text marked.

    The tokenizer is that of the dataset's sample processor.
    """

    def __init__(self):
        self.shown = False

    @master_only
    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Print at the first step that the program makes."""
        if self.shown or not data_batch:
            return
        self.shown = True
        tokenizer = _find_tokenizer(runner.train_dataloader.dataset)
        if tokenizer is None:
            runner.logger.warning('The first sample cannot be shown: the training data has no processor.tokenizer')
            return
        batch = data_batch[0]
        ids, labels = batch['input_ids'][0], batch['labels'][0]
        kept = torch.ones_like(ids, dtype=torch.bool)
        if 'attention_mask' in batch:
            kept &= batch['attention_mask'][0]
        if 'documents' in batch:  # the first of those that are packed into the row
            kept &= batch['documents'][0] == 0
        ids, labels = ids[kept].tolist(), labels[kept].tolist()
        text = marked_text(ids, labels, tokenizer)
        supervised = sum(label != IGNORE_INDEX for label in labels)
        runner.logger.info(
            f'The first sample, {len(ids)} tokens, of which {supervised} between {OPEN} and {CLOSE} carry loss:\n{text}'
        )


def marked_text(ids: Sequence[int], labels: Sequence[int], tokenizer: Any) -> str:
    """Decode a sample's tokens, with the supervised ones between marks and ``<image>`` where a picture stands.

    Args:
        ids: T token ids, :data:`IMAGE_TOKEN_INDEX` where a picture stands.
        labels: T labels, :data:`IGNORE_INDEX` where there is no loss.
        tokenizer: Something with ``decode(ids) -> str``.
    """
    pieces = []
    for is_supervised, text in _decoded_runs(ids, labels, tokenizer):
        pieces.append(f'{OPEN}{text}{CLOSE}' if is_supervised else text)
    return ''.join(pieces)


def _decoded_runs(ids: Sequence[int], labels: Sequence[int], tokenizer: Any) -> Iterator[tuple[bool, str]]:
    """Yield runs of equally supervised tokens, each decoded in its context: alone, it would lose its leading space."""
    seen: list[int] = []
    tokens = zip(ids, labels, strict=True)
    for (is_supervised, is_image), run in groupby(
        tokens, key=lambda token: (token[1] != IGNORE_INDEX, token[0] == IMAGE_TOKEN_INDEX)
    ):
        run_ids = [token for token, _ in run]
        if is_image:
            yield is_supervised, IMAGE_PLACEHOLDER * len(run_ids)
            continue
        before = tokenizer.decode(seen)
        seen += run_ids
        yield is_supervised, tokenizer.decode(seen)[len(before) :]


def _find_tokenizer(dataset: Any) -> Any:
    """Return the tokenizer of a dataset, or of the first one that a wrapping dataset holds."""
    while dataset is not None:
        tokenizer = getattr(getattr(dataset, 'processor', None), 'tokenizer', None)
        if tokenizer is not None:
            return tokenizer
        parts = getattr(dataset, 'datasets', None)
        dataset = parts[0] if parts else getattr(dataset, 'dataset', None)
    return None
