"""Benchmarks whose answers are descriptions of pictures."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from geochat.datasets.benchmarks.base import BenchmarkReader, existing_file, field, image_name, text_field
from geochat.datasets.benchmarks.boxes import BoxTextBenchmark
from geochat.registry import DATASETS
from geochat.structures import Question


@DATASETS.register_module()
class CaptionBenchmark(BenchmarkReader):
    """Captions as in VRSBench's ``VRSBench_EVAL_Cap.json``, for the task caption.

    A row has ``question_id``, ``image_id`` (the picture's file name), ``question`` (the words to ask with) and
    ``ground_truth`` (a caption).
    """

    def question(self, row: Mapping[str, Any]) -> Question:
        """Read a row."""
        return Question(
            id=str(field(row, 'question_id')),
            images=(text_field(row, 'image_id'),),
            query={'text': text_field(row, 'question')},
            truth={'text': text_field(row, 'ground_truth')},
        )


class SplitCaptions(BenchmarkReader):
    """Pictures with several captions each, in one file with all splits; the file's own form is the subclass's.

    Args:
        data_file: The file.
        image_source: Config of the image source.
        split: The split to keep.
    """

    def __init__(self, data_file: str, image_source: Mapping[str, Any], split: str = 'test'):
        self.split = split
        super().__init__(data_file, image_source)

    def keep(self, row: Mapping[str, Any], name: str, captions: Sequence[str]) -> Question | None:
        """Return the question about a picture, if it is of the split that is kept."""
        if field(row, 'split') != self.split:
            return None
        return Question(id=name, images=(name,), query={}, truth={'text': [caption.strip() for caption in captions]})


@DATASETS.register_module()
class KarpathyCaptionBenchmark(SplitCaptions):
    """Captions in the form of Karpathy's split of COCO, as RSICD's ``dataset_rsicd.json``.

    The file is an object with ``images``: a list of objects with ``filename``, ``split`` and ``sentences``, a list of
    objects with ``raw``.
    """

    def records(self) -> Iterator[tuple[str, Any]]:
        """Yield the entries of ``images``."""
        images = read_object(self.data_file).get('images')
        if not isinstance(images, list):
            raise ValueError(f"{self.data_file}: there is no list 'images'")
        for number, row in enumerate(images, start=1):
            yield f'{self.data_file}, image {number}', row

    def question(self, row: Mapping[str, Any]) -> Question | None:
        """Read an image; it is left out if it is of another split."""
        name = text_field(row, 'filename')
        return self.keep(row, name, [text_field(sentence, 'raw') for sentence in field(row, 'sentences')])


@DATASETS.register_module()
class NWPUCaptionBenchmark(SplitCaptions):
    """Captions in the form of NWPU-Captions' ``dataset_nwpu.json``.

    The file is an object with a list of pictures for each class. Each has ``filename``, ``split`` and the captions
    ``raw``, ``raw_1`` to ``raw_4``; its file lies in a folder of the class's name.
    """

    def records(self) -> Iterator[tuple[str, Any]]:
        """Yield the pictures, each with its class."""
        for name, rows in read_object(self.data_file).items():
            if not isinstance(rows, list):
                raise ValueError(f'{self.data_file}: the class {name!r} has no list of pictures')
            for number, row in enumerate(rows, start=1):
                yield f'{self.data_file}, {name} {number}', (name, row)

    def question(self, row: tuple[str, Mapping[str, Any]]) -> Question | None:
        """Read a picture; it is left out if it is of another split."""
        folder, row = row
        name = f'{folder}/{text_field(row, "filename")}'
        keys = [key for key in ('raw', 'raw_1', 'raw_2', 'raw_3', 'raw_4') if key in row]
        return self.keep(row, name, [text_field(row, key) for key in keys or ('raw',)])


@DATASETS.register_module()
class GroundingDescriptionBenchmark(BoxTextBenchmark):
    """Grounded descriptions as in GeoChat-Bench's ``grounding_description.jsonl``, for the task grounding.

    A row has ``image_id`` and ``description``. The published file has no boxes, so that only the words can be scored.
    Where descriptions have boxes, in the language of ``source_codec`` (``<p>two ships</p> {...}{...}``), the true
    answer has them too, and words without boxes and phrase marks.
    """

    def question(self, row: Mapping[str, Any]) -> Question:
        """Read a row."""
        text, name = text_field(row, 'description'), image_name(row, self.image_suffix)
        grounded = self.codec.decode_strict(text, self.picture_size(name))
        boxes = {'boxes': grounded.boxes} if len(grounded.boxes) else {}
        truth = {'text': grounded.words, **boxes}
        return Question(id=str(row.get('question_id', name)), images=(name,), query={}, truth=truth)


def read_object(path: str) -> Mapping[str, Any]:
    """Read a JSON file that is an object.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is not JSON or no object; the message names it.
    """
    file = existing_file(path)
    try:
        value = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path}: not JSON: {error}') from error
    if not isinstance(value, Mapping):
        raise ValueError(f'{path} is an object, not {type(value).__name__}')
    return value
