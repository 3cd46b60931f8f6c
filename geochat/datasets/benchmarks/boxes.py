"""Benchmarks about places on a picture in GeoChat-Bench's rows: referring expressions and captions of regions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from geochat.datasets.benchmarks.base import BenchmarkReader, field, groups, image_name, text_field
from geochat.registry import BOX_CODECS, DATASETS
from geochat.structures import GroundedText, Question
from geochat.structures.polygons import polygons_to_boxes

TRUTHS = ('ground_truth', 'obj_corner')
"""Fields that can have the true boxes of referring expressions."""


class BoxTextBenchmark(BenchmarkReader):
    """Rows about a picture that have boxes written in their texts; the rows' own form is the subclass's.

    Args:
        data_file: The file.
        image_source: Config of the image source. Boxes are in per cent, so the pictures' sizes are looked up.
        source_codec: Config of the box codec that the file is written in.
        image_suffix: Ending of the pictures' file names, if ``image_id`` leaves it out.
    """

    def __init__(
        self,
        data_file: str,
        image_source: Mapping[str, Any],
        source_codec: Mapping[str, Any] | None = None,
        image_suffix: str = '.png',
    ):
        self.codec = BOX_CODECS.build(dict(source_codec or {'type': 'geochat'}))
        self.image_suffix = image_suffix
        super().__init__(data_file, image_source)


@DATASETS.register_module()
class ReferringBenchmark(BoxTextBenchmark):
    """Referring expressions as in GeoChat-Bench's ``referring.jsonl`` or VRSBench's ``VRSBench_EVAL_referring.json``.

    A row has ``question_id``, ``image_id``, ``question`` (a phrase) and ``ground_truth``: in GeoChat-Bench polygons of
    four corners each, in pixels of the original picture (they may reach over its edge), in VRSBench the text of an
    upright box. Scores are broken down by what a row tells: ``type`` (in GeoChat-Bench ``ref`` or ``grounding``),
    ``size_group``, ``dataset``, ``obj_cls``, ``unique``; and by whether one object or several are meant.

    Args:
        data_file: The file.
        image_source: Config of the image source. Boxes in per cent need the pictures' sizes.
        types: Values of ``type`` to keep; None keeps all.
        image_suffix: Ending of the pictures' file names, if ``image_id`` leaves it out.
        source_codec: Config of the box codec that a ``ground_truth`` that is a text is written in.
        truth_from: ``'ground_truth'``, or ``'obj_corner'``: VRSBench's rotated boxes, eight fractions of the picture's
            width and height. VRSBench scores the upright ones.

    Raises:
        ValueError: Also if ``truth_from`` is neither.
    """

    def __init__(
        self,
        data_file: str,
        image_source: Mapping[str, Any],
        types: Sequence[str] | None = None,
        image_suffix: str = '.png',
        source_codec: Mapping[str, Any] | None = None,
        truth_from: str = 'ground_truth',
    ):
        if truth_from not in TRUTHS:
            raise ValueError(f'truth_from is one of {", ".join(map(repr, TRUTHS))}, not {truth_from!r}')
        self.types = types
        self.truth_from = truth_from
        self._polygons: list[tuple[np.ndarray, np.ndarray]] = []
        super().__init__(data_file, image_source, source_codec, image_suffix)
        self._fill_boxes()

    def question(self, row: Mapping[str, Any]) -> Question | None:
        """Read a row; it is left out if its type is not to be kept."""
        question_id = str(field(row, 'question_id'))
        if self.types is not None and field(row, 'type') not in self.types:
            return None
        name = image_name(row, self.image_suffix)
        boxes = self._boxes(field(row, self.truth_from), name)
        keys = {'size': 'size_group', 'type': 'type', 'dataset': 'dataset', 'class': 'obj_cls'}
        uniqueness = {'unique': str(bool(row['unique'])).lower()} if row.get('unique') is not None else {}
        return Question(
            id=question_id,
            images=(name,),
            query={'phrase': text_field(row, 'question')},
            truth={'boxes': boxes},
            groups={**groups(row, keys), **uniqueness, 'objects': 'single' if len(boxes) == 1 else 'multiple'},
        )

    def _boxes(self, value: Any, name: str) -> np.ndarray:
        if isinstance(value, str):
            return read_boxes(self.codec, value, self.picture_size(name), self.truth_from)
        corners = _quadrangles(value, self.truth_from)
        if self.truth_from == 'obj_corner':
            corners = corners * self.picture_size(name)
        boxes = np.zeros((len(corners), 5))
        self._polygons.append((boxes, corners))
        return boxes

    def _fill_boxes(self) -> None:
        """Turn all polygons into boxes at once, in a fifth of the time that it takes row by row."""
        if self._polygons:
            boxes = polygons_to_boxes(np.concatenate([corners for _, corners in self._polygons]))
            start = 0
            for rows, _ in self._polygons:
                rows[:] = boxes[start : start + len(rows)]
                start += len(rows)
        self._polygons.clear()


@DATASETS.register_module()
class RegionCaptionBenchmark(BoxTextBenchmark):
    """Captions of regions as in GeoChat-Bench's ``region_captioning.jsonl``, for the tasks region_caption and identify.

    A row has ``question_id``, ``image_id``, ``question`` (the text of a box), ``ground_truth`` (a caption, whose
    phrase marks are left out), ``type`` and ``size_group``.
    """

    def question(self, row: Mapping[str, Any]) -> Question:
        """Read a row."""
        question_id = str(field(row, 'question_id'))
        name = image_name(row, self.image_suffix)
        boxes = read_boxes(self.codec, text_field(row, 'question'), self.picture_size(name), 'question')
        return Question(
            id=question_id,
            images=(name,),
            query={'boxes': boxes},
            truth={'text': GroundedText(text_field(row, 'ground_truth')).words},
            groups=groups(row, {'size': 'size_group', 'type': 'type', 'dataset': 'dataset'}),
        )


def read_boxes(codec: Any, text: str, image_size: tuple[int, int], key: str) -> np.ndarray:
    """Read the boxes of a field that is to have some.

    Args:
        codec: The box codec that they are written in.
        text: The field.
        image_size: Width and height of the picture in pixels.
        key: The field's name, for the message.

    Raises:
        ValueError: If a box cannot be read, or there is none.
    """
    boxes = codec.decode_strict(text, image_size).boxes
    if not len(boxes):
        raise ValueError(f'{key!r} has no box: {text!r}')
    return boxes


def upright_box(corners: Sequence[float]) -> np.ndarray:
    """Return a box (1, 5) from its left, top, right and bottom edge in pixels, in either order of left and right.

    Raises:
        ValueError: If these are not four finite numbers.
    """
    try:
        x1, y1, x2, y2 = edges = np.array(corners, dtype=np.float64)
    except (ValueError, TypeError):
        edges = np.array(np.nan)
    if not np.isfinite(edges).all():
        raise ValueError(f'a box is its left, top, right and bottom edge in pixels, not {corners!r}')
    return np.array([[(x1 + x2) / 2, (y1 + y2) / 2, abs(x2 - x1), abs(y2 - y1), 0.0]])


def _quadrangles(value: Any, key: str) -> np.ndarray:
    """Return polygons of four corners each: (N, 4, 2)."""
    try:
        corners = np.array(value, dtype=np.float64)
    except (ValueError, TypeError):
        corners = np.zeros(0)
    if not corners.size or corners.size % 8 or corners.shape[-1] not in (2, 8) or not np.isfinite(corners).all():
        raise ValueError(f'{key!r} is a list of polygons of four finite corners (x, y) each, not {value!r}')
    return corners.reshape(-1, 4, 2)
