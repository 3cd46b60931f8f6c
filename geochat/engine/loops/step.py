"""One forward of a model for its loss, the same under every runner, and how micro-batches weigh in a step."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from torch.utils.data import DataLoader

from geochat.engine.config import ConfigError
from geochat.structures import IGNORE_INDEX

LOSS_REDUCTIONS = ('token', 'micro')


def forward_loss(model: Any, batch: Mapping[str, Any], training: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Compute the loss of one micro-batch.

    Args:
        model: MMEngine's ``BaseModel``, bare or as a runner wrapped it (DDP, DeepSpeed).
        batch: A collated batch; it is moved to the model's device.
        training: What the data preprocessor is told.

    Returns:
        The scalar loss with its graph, and the detached scalars whose names contain ``loss``.
    """
    bare = bare_model(model)
    losses = model._run_forward(bare.data_preprocessor(batch, training), mode='loss')
    total, scalars = bare.parse_losses(losses)
    return total, {name: value.detach().float() for name, value in scalars.items() if 'loss' in name}


def bare_model(model: Any) -> Any:
    """Return the model itself, without what a runner wrapped around it."""
    return getattr(model, 'module', model)


def check_share(dataloader: DataLoader, name: str) -> None:
    """Refuse data of fewer records than there are ranks: a sampler would repeat some, or leave a rank without any.

    Args:
        dataloader: The data loader.
        name: Its name in the config.

    Raises:
        ConfigError: On every rank alike.
    """
    records, ranks = len(dataloader.dataset), get_world_size()
    if records < ranks:
        raise ConfigError(
            f'{name} has {records} records for {ranks} processes: start {records} at the most, or give more records'
        )


def count_supervised(batch: Mapping[str, Any]) -> int:
    """Count the tokens of a batch that carry loss: those with a label and a token before them.

    Raises:
        ValueError: If the batch has no labels.
    """
    if 'labels' not in batch:
        raise ValueError(
            f'a batch has no "labels", so its supervised tokens cannot be counted; it has {", ".join(batch)}. '
            "Set train_cfg.loss_reduction='micro' for a model whose loss is not a mean over tokens"
        )
    return int((batch['labels'][:, 1:] != IGNORE_INDEX).sum())


def micro_batch_weights(batches: Sequence[Mapping[str, Any]], reduction: str) -> list[float]:
    """Weigh the micro-batches of one rank so that the step's loss is a mean over the global batch.

    The weights are for losses that are means over a micro-batch, and for gradients that are averaged over the ranks.
    Every rank must call this at the same time.

    Args:
        batches: The micro-batches of one optimizer step on this rank.
        reduction: ``'token'``: every supervised token of all ranks and micro-batches counts alike. ``'micro'``: every
            micro-batch counts alike, as in Hugging Face's and DeepSpeed's accumulation.

    Returns:
        One weight a micro-batch.

    Raises:
        ValueError: If there is no supervised token in the global batch.
    """
    if reduction == 'micro':
        return [1 / len(batches)] * len(batches)
    counts = [count_supervised(batch) for batch in batches]
    total = sum_over_ranks(float(sum(counts)))
    if not total:
        raise ValueError('no token of the global batch carries loss: its records have no answer, or it was cut off')
    return [count * get_world_size() / total for count in counts]


def sum_over_ranks(value: float) -> float:
    """Sum a number over all ranks."""
    tensor = torch.tensor(value, dtype=torch.float64)
    all_reduce(tensor)
    return tensor.item()


def mean_over_ranks(scalars: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Average named scalars over all ranks with one exchange."""
    stacked = torch.stack([value.double() for value in scalars.values()]).cpu()
    all_reduce(stacked, 'mean')
    return dict(zip(scalars, stacked.tolist(), strict=True))
