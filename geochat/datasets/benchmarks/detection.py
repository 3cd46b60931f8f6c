"""Detection benchmarks: which objects of some classes a picture has, and where."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from geochat.datasets.benchmarks.base import BenchmarkReader
from geochat.datasets.benchmarks.expressions import element_text, number_of, read_xml, split_lines, voc_box
from geochat.registry import DATASETS
from geochat.structures import Question
from geochat.structures.polygons import box_corners, polygons_to_boxes

CORNERS = [f'{axis}_{side}' for side in ('left_top', 'right_top', 'right_bottom', 'left_bottom') for axis in 'xy']
"""Elements of a DIOR-R ``robndbox``, in the order of its corners."""


class DetectionBenchmark(BenchmarkReader):
    """Pictures with all their objects; the files' own form is the subclass's.

    The query has the ``classes``; the true answer has ``boxes``, ``labels`` (the class of each) and ``difficult``
    (whether each is marked so; published scores leave these out). A picture without objects is a question too.

    Args:
        data_file: Says which pictures there are.
        image_source: Config of the image source.
        classes: Names of the classes, as the files write them but for case.
        image_suffix: Ending of the pictures' file names.
    """

    def __init__(self, data_file: str, image_source: Mapping[str, Any], classes: Sequence[str], image_suffix: str):
        self.classes = tuple(name.lower() for name in classes)
        self.image_suffix = image_suffix
        super().__init__(data_file, image_source)

    def ask(self, name: str, objects: Sequence[tuple[np.ndarray, str, bool]]) -> Question:
        """Return the question about a picture.

        Args:
            name: The picture's name without its ending.
            objects: Corners (4, 2) in pixels, class and difficulty of each object.

        Raises:
            ValueError: If an object is of another class.
        """
        labels = tuple(label.lower() for _, label, _ in objects)
        for label in labels:
            if label not in self.classes:
                raise ValueError(f'the class {label!r} is none of {", ".join(self.classes)}')
        boxes = polygons_to_boxes([corners for corners, _, _ in objects])
        difficult = tuple(difficult for _, _, difficult in objects)
        truth = {'boxes': boxes, 'labels': labels, 'difficult': difficult}
        return Question(name, (name + self.image_suffix,), {'classes': self.classes}, truth)


@DATASETS.register_module()
class DOTABenchmark(DetectionBenchmark):
    """Pictures labelled in DOTA's text form, whole or cut into tiles.

    A picture has a file ``NAME.txt`` with a line an object: x1 y1 x2 y2 x3 y3 x4 y4 class difficulty, the corners in
    pixels. Lines such as ``gsd:0.5`` are passed over.

    Args:
        data_file: The folder of these files.
        image_source: Config of the image source.
        classes: Names of the classes.
        image_suffix: Ending of the pictures' file names.
    """

    def __init__(
        self, data_file: str, image_source: Mapping[str, Any], classes: Sequence[str], image_suffix: str = '.png'
    ):
        super().__init__(data_file, image_source, classes, image_suffix)

    @property
    def files(self) -> tuple[str, ...]:
        """The text files, sorted by name."""
        return tuple(str(path) for path in sorted(Path(self.data_file).glob('*.txt')))

    def records(self) -> Iterator[tuple[str, Path]]:
        """Yield the text files."""
        if not Path(self.data_file).is_dir():
            raise FileNotFoundError(f'the folder of labels {self.data_file} does not exist')
        for path in self.files:
            yield path, Path(path)

    def question(self, row: Path) -> Question:
        """Read a text file."""
        objects = []
        for number, line in enumerate(row.read_text(encoding='utf-8-sig').splitlines(), start=1):
            if line.strip() and not line.lower().startswith(('imagesource:', 'gsd:')):
                try:
                    objects.append(_dota_object(line.split()))
                except ValueError as error:
                    raise ValueError(f'line {number}: {error}') from error
        return self.ask(row.stem, objects)


@DATASETS.register_module()
class DIORBenchmark(DetectionBenchmark):
    """Pictures labelled in DIOR-R's XML: ``robndbox`` with four corners, or DIOR's upright ``bndbox``.

    Args:
        data_file: The split, such as ``ImageSets/Main/test.txt``: a picture's number a line.
        image_source: Config of the image source.
        classes: Names of the classes.
        annotations: The folder of the XML files, such as ``Annotations/Oriented Bounding Boxes``.
        image_suffix: Ending of the pictures' file names.
    """

    def __init__(
        self,
        data_file: str,
        image_source: Mapping[str, Any],
        classes: Sequence[str],
        annotations: str,
        image_suffix: str = '.jpg',
    ):
        self.annotations = annotations
        super().__init__(data_file, image_source, classes, image_suffix)

    @property
    def files(self) -> tuple[str, ...]:
        """The split and its XML files."""
        return (self.data_file, *(str(self._annotation(name)) for name in split_lines(self.data_file)))

    def records(self) -> Iterator[tuple[str, str]]:
        """Yield the names of the split."""
        for number, name in enumerate(split_lines(self.data_file), start=1):
            yield f'{self.data_file}, line {number} ({self._annotation(name)})', name

    def question(self, row: str) -> Question:
        """Read a picture's XML file."""
        return self.ask(row, [_dior_object(element) for element in read_xml(self._annotation(row)).findall('object')])

    def _annotation(self, name: str) -> Path:
        return Path(self.annotations) / f'{name}.xml'


def _dota_object(fields: Sequence[str]) -> tuple[np.ndarray, str, bool]:
    if len(fields) not in (9, 10):
        raise ValueError(f'an object is eight numbers, a class and its difficulty, not {" ".join(fields)!r}')
    try:
        corners = np.array(fields[:8], dtype=np.float64).reshape(4, 2)
    except ValueError:
        corners = np.array(np.nan)
    if not np.isfinite(corners).all():
        raise ValueError(f'an object begins with eight numbers, not {" ".join(fields[:8])!r}')
    return corners, fields[8], len(fields) == 10 and fields[9] != '0'


def _dior_object(element: Element) -> tuple[np.ndarray, str, bool]:
    if element.find('robndbox') is not None:
        corners = np.array([number_of(element, f'robndbox/{key}') for key in CORNERS]).reshape(4, 2)
    else:
        corners = box_corners(voc_box(element))[0]
    return corners, element_text(element, 'name'), (element.findtext('difficult') or '0').strip() == '1'
