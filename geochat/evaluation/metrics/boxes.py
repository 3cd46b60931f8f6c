"""Boxes as metrics take them, and the overlaps they are compared by."""

from typing import Any

import numpy as np

from geochat.evaluation.functional import (
    BoxChange,
    Overlaps,
    as_they_are,
    as_upright_boxes,
    have_area,
    rotated_iou,
)


def box_overlaps(iou: str) -> tuple[BoxChange, Overlaps]:
    """Return what becomes of boxes before they are compared, and how they are.

    Args:
        iou: ``'exact'``; ``'hbox'`` for the upright boxes that enclose the rotated ones; or ``'mmrotate'`` for
            mmrotate's own overlap, which needs mmcv's compiled operators, works in float32, and is wrong on boxes
            whose edges nearly coincide.

    Raises:
        ValueError: If ``iou`` is none of these.
        ImportError: If it is ``'mmrotate'``, and mmrotate or mmcv's operator is missing.
    """
    ways = {
        'exact': (as_they_are, rotated_iou),
        'hbox': (as_upright_boxes, rotated_iou),
        'mmrotate': (as_they_are, _mmrotate_iou),
    }
    if iou not in ways:
        raise ValueError(f'iou is {", ".join(map(repr, ways))}, not {iou!r}')
    if iou == 'mmrotate':
        _need_mmrotate()
    return ways[iou]


def box_array(boxes: Any) -> np.ndarray:
    """Return boxes as a float64 array (N, 5).

    Args:
        boxes: An array, a list of rows, a tensor, or mmrotate's ``RotatedBoxes``, which is known by its ``tensor`` so
            that mmrotate, seconds and half a gigabyte, need not be imported.

    Raises:
        ValueError: If there are none because the task's answers have no boxes, or the shape is another.
    """
    if boxes is None:
        raise ValueError('the task reads no boxes from its answers')
    tensor = getattr(boxes, 'tensor', boxes)
    if hasattr(tensor, 'detach'):
        tensor = tensor.detach().cpu().double()
    array = np.asarray(tensor, dtype=np.float64)
    if array.size == 0:
        return np.zeros((0, 5))
    if array.ndim != 2 or array.shape[1] != 5:
        raise ValueError(f'boxes are an array (N, 5) of cx, cy, w, h, angle, not of shape {array.shape}')
    return array


def _need_mmrotate() -> None:
    try:
        import mmcv.ops  # noqa: F401 -- where it is missing mmrotate can be imported, and fails when it is called
        import mmrotate.structures.bbox  # noqa: F401
    except ImportError as error:
        message = "iou='mmrotate' needs onedl-mmrotate and an onedl-mmcv with compiled operators; iou='exact' does not"
        raise ImportError(f'{message} ({error})') from error


def _mmrotate_iou(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Return mmrotate's overlaps (N,); boxes without an area overlap nothing, as in our own."""
    import torch
    from mmrotate.structures.bbox import rbbox_overlaps

    tensors = [torch.from_numpy(np.nan_to_num(boxes)).float() for boxes in (boxes1, boxes2)]
    iou = rbbox_overlaps(*tensors, is_aligned=True).reshape(-1).numpy().astype(np.float64)
    return np.where(have_area(boxes1) & have_area(boxes2), iou, 0.0)
