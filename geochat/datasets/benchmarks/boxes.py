"""Benchmarks about places on a picture: referring expressions and captions of regions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from geochat.datasets.benchmarks.base import BenchmarkReader, field, groups, image_name, text_field
from geochat.datasets.transforms import image_size
from geochat.registry import BOX_CODECS, DATASETS
from geochat.structures import Question
from geochat.structures.polygons import polygons_to_boxes


@DATASETS.register_module()
class ReferringBenchmark(BenchmarkReader):
    """Referring expressions as in GeoChat-Bench's ``referring.jsonl``.

    A row has ``question_id``, ``image_id``, ``question`` (a phrase), ``ground_truth`` (polygons of four corners each,
    in pixels of the original picture; they may reach over its edge), ``type`` (``ref`` or ``grounding``) and
    ``size_group``. Scores are broken down by size, by type and by whether one object or several are meant.

    Args:
        data_file: The file.
        image_source: Config of the image source.
        types: Values of ``type`` to keep; None keeps all. The original asks ``ref`` rows to refer and others to ground.
        image_suffix: Ending of the pictures' file names, which ``image_id`` leaves out.
    """

    def __init__(
        self,
        data_file: str,
        image_source: Mapping[str, Any],
        types: Sequence[str] | None = None,
        image_suffix: str = '.png',
    ):
        self.types = types
        self.image_suffix = image_suffix
        super().__init__(data_file, image_source)

    def question(self, row: Mapping[str, Any]) -> Question | None:
        """Read a row; it is left out if its type is not to be kept."""
        if self.types is not None and field(row, 'type') not in self.types:
            return None
        boxes = polygons_to_boxes(_quadrangles(field(row, 'ground_truth')))
        return Question(
            id=str(field(row, 'question_id')),
            images=(image_name(row, self.image_suffix),),
            query={'phrase': text_field(row, 'question')},
            truth={'boxes': boxes},
            groups={
                **groups(row, {'size': 'size_group', 'type': 'type'}),
                'objects': 'single' if len(boxes) == 1 else 'multiple',
            },
        )


@DATASETS.register_module()
class RegionCaptionBenchmark(BenchmarkReader):
    """Captions of regions as in GeoChat-Bench's ``region_captioning.jsonl``, for the tasks region_caption and identify.

    A row has ``question_id``, ``image_id``, ``question`` (the text of a box), ``ground_truth`` (a caption), ``type``
    and ``size_group``.

    Args:
        data_file: The file.
        image_source: Config of the image source. Boxes are in per cent, so the pictures' sizes are looked up.
        source_codec: Config of the box codec that the file is written in.
        image_suffix: Ending of the pictures' file names, which ``image_id`` leaves out.
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

    def question(self, row: Mapping[str, Any]) -> Question:
        """Read a row."""
        name = image_name(row, self.image_suffix)
        return Question(
            id=str(field(row, 'question_id')),
            images=(name,),
            query={'boxes': self._boxes(text_field(row, 'question'), name)},
            truth={'text': text_field(row, 'ground_truth')},
            groups=groups(row, {'size': 'size_group', 'type': 'type'}),
        )

    def _boxes(self, text: str, name: str) -> np.ndarray:
        boxes = self.codec.decode_strict(text, image_size(self.image_source, name)).boxes
        if not len(boxes):
            raise ValueError(f"'question' has no box: {text!r}")
        return boxes


def _quadrangles(value: Any) -> np.ndarray:
    """Return polygons of four corners each: (N, 4, 2)."""
    try:
        corners = np.array(value, dtype=np.float64)
    except (ValueError, TypeError):
        corners = np.zeros(0)
    if not corners.size or corners.size % 8 or corners.shape[-1] not in (2, 8):
        raise ValueError(f"'ground_truth' is a list of polygons of four corners (x, y) each, not {value!r}")
    return corners.reshape(-1, 4, 2)
