"""What the report knows of one answer: a line of ``predictions.jsonl``, checked."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geochat.evaluation.functional import exact_match, overlap_tables


@dataclass(frozen=True, eq=False)
class Case:
    """One question of a benchmark and the answer to it.

    Attributes:
        id: The question's id.
        prompt: The user's words.
        answer: The model's words.
        text: The words that the task read from them.
        images: Names of the pictures.
        image_size: Width and height of the first picture in pixels; None without a picture.
        boxes: (N, 5) predicted boxes in pixels, radians clockwise; None for a task without boxes.
        labels: A word for each predicted box, or none at all.
        true_boxes: (M, 5) true boxes; None for a task without boxes.
        true_labels: The class of each true box, or none at all.
        true_texts: The answers that are right; empty if the truth is boxes alone.
        malformed: Whether the answer is not of the form that the task asks for.
        diagnostics: Codes of what the box codec complained of.
        groups: What scores are broken down by.
        scores: What the metrics tell of this answer alone.
        log_prob: Natural log-probability of the answer; None if not known.
        error: Why the question could not be asked; None if it was.
    """

    id: str
    prompt: str
    answer: str
    text: str
    images: tuple[str, ...] = ()
    image_size: tuple[int, int] | None = None
    boxes: np.ndarray | None = None
    labels: tuple[str, ...] = ()
    true_boxes: np.ndarray | None = None
    true_labels: tuple[str, ...] = ()
    true_texts: tuple[str, ...] = ()
    malformed: bool = False
    diagnostics: tuple[str, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    log_prob: float | None = None
    error: str | None = None

    @property
    def has_boxes(self) -> bool:
        """Whether predicted boxes can be held against true ones."""
        return self.boxes is not None and self.true_boxes is not None


def read_case(row: Mapping[str, Any]) -> Case:
    """Read a line of ``predictions.jsonl``; fields that earlier versions did not write may be missing.

    Raises:
        ValueError: If a field that every version writes is missing, or one has another form; the message names it.
    """
    if not isinstance(row, Mapping):
        raise ValueError(f'a line is an object, not {type(row).__name__}')
    truth = _field(row, 'truth', Mapping, {})
    return Case(
        id=str(_needed(row, 'id')),
        prompt=str(_needed(row, 'prompt')),
        answer=str(_needed(row, 'answer')),
        text=str(row.get('text', row['answer'])),
        images=tuple(map(str, _field(row, 'images', Sequence, ()))),
        image_size=_image_size(row.get('image_size')),
        boxes=_boxes(row.get('boxes'), 'boxes'),
        labels=tuple(map(str, _field(row, 'labels', Sequence, ()))),
        true_boxes=_boxes(truth.get('boxes'), 'truth.boxes'),
        true_labels=tuple(map(str, _field(truth, 'labels', Sequence, ()))),
        true_texts=_true_texts(truth),
        malformed=bool(row.get('malformed', False)),
        diagnostics=tuple(map(str, _field(row, 'diagnostics', Sequence, ()))),
        groups={str(kind): str(name) for kind, name in _field(row, 'groups', Mapping, {}).items()},
        scores=_numbers(_field(row, 'scores', Mapping, {})),
        log_prob=float(row['log_prob']) if is_number(row.get('log_prob')) else None,
        error=None if row.get('error') is None else str(row['error']),
    )


def _needed(row: Mapping[str, Any], key: str) -> Any:
    if row.get(key) is None:
        raise ValueError(f'there is no {key!r}')
    return row[key]


def _field(row: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    value = row.get(key)
    if value is None:
        return default
    if not isinstance(value, kind) or isinstance(value, str):
        raise ValueError(f'{key!r} has another form: {value!r}')
    return value


def _image_size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    try:
        width, height = (int(side) for side in value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"'image_size' is a width and a height, not {value!r}") from error
    if width < 1 or height < 1:
        raise ValueError(f"'image_size' is not positive: {value!r}")
    return width, height


def _true_texts(truth: Mapping[str, Any]) -> tuple[str, ...]:
    text = truth.get('text')
    return (text,) if isinstance(text, str) else tuple(map(str, _field(truth, 'text', Sequence, ())))


def _boxes(value: Any, name: str) -> np.ndarray | None:
    if value is None:
        return None
    try:
        boxes = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f'{name!r} is a list of boxes of five numbers') from error
    if boxes.size == 0:
        return np.zeros((0, 5))
    if boxes.ndim != 2 or boxes.shape[1] != 5:
        raise ValueError(f'{name!r} is a list of boxes of five numbers, not of shape {boxes.shape}')
    return boxes


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in values.items() if is_number(value)}


def is_number(value: Any) -> bool:
    """Tell whether a value of a file is a finite number, of a size that float64 can hold."""
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def overlaps(cases: Sequence[Case]) -> list[np.ndarray | None]:
    """Return the overlap (exact rotated IoU) of each predicted box with each true one: (N, M), None without boxes.

    Boxes of different classes overlap by nothing.
    """
    boxed = [case for case in cases if case.has_boxes]
    tables = iter(overlap_tables([case.boxes for case in boxed], [case.true_boxes for case in boxed]))
    return [_same_class(case) * next(tables) if case.has_boxes else None for case in cases]


def _same_class(case: Case) -> np.ndarray:
    """Tell which predicted box (N) has the class of which true one (M); all have where classes are not told."""
    if len(case.true_labels) != len(case.true_boxes) or len(case.labels) != len(case.boxes):
        return np.ones((len(case.boxes), len(case.true_boxes)), dtype=bool)
    return np.array(case.labels, dtype=object)[:, None] == np.array(case.true_labels, dtype=object)


def quality(case: Case, iou: np.ndarray | None) -> float:
    """Tell how good an answer is, in [0, 1], so that the best and worst can be shown.

    Boxes count by the overlaps of the matching of greatest total overlap, divided by the larger number of boxes: 1 only
    if all are found, exactly, and none too many. Words count by ``right`` of the metrics where it is told, else by the
    first score that they tell, else by whether they are a true answer.

    Args:
        case: The answer.
        iou: Its entry of :func:`overlaps`.
    """
    if iou is not None:
        return float(partner_overlaps(iou).sum() / max(iou.shape)) if max(iou.shape) else 1.0
    if case.scores:
        return case.scores.get('right', next(iter(case.scores.values())))
    return float(exact_match(case.text, case.true_texts))


def partner_overlaps(iou: np.ndarray) -> np.ndarray:
    """Return the overlap (M,) of each true box with the predicted one that it is matched with; 0 without one.

    Args:
        iou: (N, M) overlaps of predicted with true boxes. The matching is the one of greatest total overlap.
    """
    partners = np.zeros(iou.shape[1])
    if iou.size and 1 in iou.shape:
        row, column = np.unravel_index(np.argmax(iou), iou.shape)
        partners[column] = iou[row, column]
    elif iou.size:
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(iou, maximize=True)
        partners[columns] = iou[rows, columns]
    return partners
