"""The best and the worst answers, with predicted and true boxes drawn on their pictures."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from geochat.evaluation.functional import box_corners
from geochat.visualization.boxes import PREDICTED_COLOR, TRUE_COLOR, Color, draw_boxes
from geochat.visualization.report.cases import Case

ASKED_COLOR: Color = (255, 214, 10)
"""RGB of boxes that a question speaks of."""

PICTURE_SIDE = 512
"""Longer side in pixels of the pictures in the page."""

LINE_WIDTH = 3
"""Pixels; the page shows pictures at about half their size."""

JPEG_QUALITY = 82

SMALLEST_SHARE = 0.25
"""Boxes that take less than this share of a large picture's side are shown in a cut-out around them."""


def choose(
    cases: Sequence[Case], qualities: Sequence[float], count: int
) -> tuple[list[tuple[Case, float]], list[tuple[Case, float]]]:
    """Choose the best and the worst answers, each with its quality.

    Among equals those come first that the model was surest of, then those that come first in the file; a picture is
    shown again only if there are no others. The best are of the better half and not wholly wrong, the worst of the
    others and not wholly right.

    Args:
        cases: The answers to a benchmark.
        qualities: How good each is, in [0, 1]; see :func:`.cases.quality`.
        count: Most answers of each kind.
    """
    surest = sorted(zip(cases, qualities, strict=True), key=lambda entry: -(entry[0].log_prob or 0.0))
    from_best = sorted(surest, key=lambda entry: -entry[1])
    best = [entry for entry in from_best[: (len(from_best) + 1) // 2] if entry[1] > 0]
    # Sorted anew, not reversed: the surest are to come first here too.
    worst = sorted((entry for entry in from_best[len(best) :] if entry[1] < 1), key=lambda entry: entry[1])
    return _different_pictures(best, count), _different_pictures(worst, count)


def _different_pictures(ordered: Sequence[tuple[Case, float]], count: int) -> list[tuple[Case, float]]:
    chosen, again, seen = [], [], set()
    for entry in ordered:
        if len(chosen) == count:
            break
        (again if entry[0].images in seen else chosen).append(entry)
        seen.add(entry[0].images)
    return [*chosen, *again[: count - len(chosen)]]


def draw_case(image: Image.Image, case: Case, asked: np.ndarray) -> tuple[Image.Image, bool]:
    """Draw the boxes of an answer on its picture, which comes out small.

    Args:
        image: The picture, RGB.
        case: The answer.
        asked: (K, 5) boxes that the question speaks of.

    Returns:
        The drawing, and whether it shows a cut-out only: boxes that are small in a large picture would not be seen.
    """
    predicted, truth = (np.zeros((0, 5)) if boxes is None else boxes for boxes in (case.boxes, case.true_boxes))
    boxes = np.concatenate([asked, truth, predicted])
    drawable = np.isfinite(boxes).all(axis=1)
    colors = [ASKED_COLOR] * len(asked) + [TRUE_COLOR] * len(truth) + [PREDICTED_COLOR] * len(predicted)
    labels = [''] * (len(asked) + len(truth)) + list(case.labels) if len(case.labels) == len(predicted) else ()
    window = _window(image.size, boxes[drawable])
    cut = image.crop(window)
    scale = min(1.0, PICTURE_SIDE / max(cut.size))
    small = cut.resize([max(1, round(side * scale)) for side in cut.size], Image.Resampling.LANCZOS)
    moved = boxes - [window[0], window[1], 0, 0, 0]
    moved[:, :4] *= scale
    drawing = draw_boxes(
        small,
        moved[drawable],
        [label for label, good in zip(labels, drawable, strict=True) if good] if labels else (),
        [color for color, good in zip(colors, drawable, strict=True) if good],
        LINE_WIDTH,
    )
    drawing.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    return drawing, window != (0, 0, *image.size)


def _window(size: tuple[int, int], boxes: np.ndarray) -> tuple[int, int, int, int]:
    """Return the part of a picture that is shown: all, or the surroundings of boxes that are small in a large one."""
    whole = (0, 0, *size)
    if not len(boxes) or max(size) <= PICTURE_SIDE:
        return whole
    corners = box_corners(boxes).reshape(-1, 2).clip(0, size)
    low, high = corners.min(axis=0), corners.max(axis=0)
    if (high - low).max() >= SMALLEST_SHARE * max(size):
        return whole
    sides = np.minimum(max(3 * (high - low).max(), PICTURE_SIDE / 2), size).astype(int)
    start = np.clip((low + high - sides) / 2, 0, size - sides).astype(int)
    return (*start.tolist(), *(start + sides).tolist())


def data_uri(image: Image.Image) -> str:
    """Return a picture as a JPEG that stands in the page itself."""
    file = io.BytesIO()
    # Thin lines of strong colours bleed where colours have half the resolution.
    image.save(file, 'JPEG', quality=JPEG_QUALITY, subsampling=0, optimize=True)
    return f'data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode("ascii")}'
