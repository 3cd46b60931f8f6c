"""Referring expressions in the files of other projects: VOC's XML, RefCOCO's pickle, TransVG's lists."""

import json
import pickle
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geochat.datasets.benchmarks.base import BenchmarkReader, existing_file, field, text_field
from geochat.datasets.benchmarks.boxes import upright_box
from geochat.registry import DATASETS
from geochat.structures import Question


@DATASETS.register_module()
class VOCReferringBenchmark(BenchmarkReader):
    """Referring expressions in VOC's XML with a ``description`` of each object, as DIOR-RSVG and OPT-RSVG have them.

    The objects are numbered from 0 through all XML files, sorted by name, and a split is a file with a number a line.
    (The published loaders take the files in whatever order the file system gives.) The true box is ``bndbox``.

    Args:
        data_file: The split, such as ``test.txt``.
        image_source: Config of the image source; a picture's name is the XML's ``filename``.
        annotations: The folder of the XML files.
    """

    def __init__(self, data_file: str, image_source: Mapping[str, Any], annotations: str):
        self.annotations = annotations
        super().__init__(data_file, image_source)

    @property
    def files(self) -> tuple[str, ...]:
        """The split and the XML files."""
        return (self.data_file, *map(str, xml_files(self.annotations)))

    def records(self) -> Iterator[tuple[str, tuple[int, str, ElementTree.Element]]]:
        """Yield the split's objects, each with its number and its picture's name, in the order of the XML files."""
        wanted = _numbers(self.data_file)
        number = 0
        for path in xml_files(self.annotations):
            root = read_xml(path)
            for position, element in enumerate(root.findall('object'), start=1):
                if number in wanted:
                    yield f'{path}, object {position}', (number, element_text(root, 'filename'), element)
                number += 1
        if wanted and max(wanted) >= number:
            raise ValueError(f'{self.data_file} names object {max(wanted)}, but {self.annotations} has only {number}')

    def question(self, row: tuple[int, str, ElementTree.Element]) -> Question:
        """Read an object."""
        number, name, element = row
        return Question(
            id=str(number),
            images=(name,),
            query={'phrase': element_text(element, 'description')},
            truth={'boxes': voc_box(element)},
            groups={'class': element_text(element, 'name')},
        )


@DATASETS.register_module()
class RefCOCOBenchmark(BenchmarkReader):
    """Referring expressions in RefCOCO's form, as RRSIS-D has them: a pickle of expressions, and COCO's JSON of boxes.

    The pickle is a list of objects with ``image_id``, ``ann_id``, ``split`` and ``sentences`` (a list of objects with
    ``sent_id`` and ``raw`` or ``sent``); each sentence is a question. The true box is the annotation's ``bbox``:
    left, top, width and height in pixels.

    Args:
        data_file: The pickle, such as ``refs(unc).p``. It is read as lists, dicts, texts and numbers; one that asks for
            anything else is refused, so that a stranger's file runs no code.
        image_source: Config of the image source; a picture's name is COCO's ``file_name``.
        instances_file: COCO's JSON, such as ``instances.json``.
        split: The split to keep.
    """

    def __init__(self, data_file: str, image_source: Mapping[str, Any], instances_file: str, split: str = 'test'):
        self.instances_file = instances_file
        self.split = split
        super().__init__(data_file, image_source)

    @property
    def files(self) -> tuple[str, ...]:
        """The expressions and the boxes."""
        return (self.data_file, self.instances_file)

    def records(self) -> Iterator[tuple[str, tuple[Mapping[str, Any], Mapping[str, Any], '_Instances']]]:
        """Yield the sentences of the split, each with the expression it belongs to and the boxes."""
        instances = _read_instances(self.instances_file)
        for number, reference in enumerate(_read_pickle(self.data_file), start=1):
            place = f'{self.data_file}, expression {number}'
            if not isinstance(reference, Mapping) or not isinstance(reference.get('sentences'), Sequence):
                raise ValueError(f'{place}: an expression is an object with a list of sentences')
            if reference.get('split') == self.split:
                for sentence in reference['sentences']:
                    yield place, (reference, sentence, instances)

    def question(self, row: tuple[Mapping[str, Any], Mapping[str, Any], '_Instances']) -> Question:
        """Read a sentence."""
        reference, sentence, instances = row
        annotation = _entry(instances.annotations, field(reference, 'ann_id'), self.instances_file, 'annotation')
        image = _entry(instances.images, field(reference, 'image_id'), self.instances_file, 'image')
        left, top, width, height = _four(field(annotation, 'bbox'))
        category = instances.classes.get(annotation.get('category_id'))
        return Question(
            id=str(field(sentence, 'sent_id')),
            images=(text_field(image, 'file_name'),),
            query={'phrase': text_field(sentence, 'raw', 'sent')},
            truth={'boxes': upright_box([left, top, left + width, top + height])},
            groups={} if category is None else {'class': str(category)},
        )


@DATASETS.register_module()
class RSVGBenchmark(BenchmarkReader):
    """Referring expressions as in RSVG's ``rsvg_test.pth``: a list of tuples that begin with picture, box, expression.

    A box is its left, top, right and bottom edge in pixels. The file is PyTorch's, and is read as plain values only;
    the same list as JSON is read too.
    """

    def records(self) -> Iterator[tuple[str, Any]]:
        """Yield the list's entries."""
        for number, entry in enumerate(_read_list(self.data_file), start=1):
            yield f'{self.data_file}, entry {number}', (number, entry)

    def question(self, row: tuple[int, Any]) -> Question:
        """Read an entry."""
        number, entry = row
        if not isinstance(entry, Sequence) or len(entry) < 3 or not all(isinstance(entry[at], str) for at in (0, 2)):
            raise ValueError(f'an entry is a picture, a box and an expression, not {entry!r}')
        name, edges, phrase = entry[:3]
        return Question(str(number), (name,), {'phrase': phrase.strip()}, {'boxes': upright_box(edges)})


def xml_files(folder: str) -> list[Path]:
    """Return the XML files of a folder, sorted by name.

    Raises:
        FileNotFoundError: If it is not there or has none.
    """
    files = sorted(Path(folder).glob('*.xml'))
    if not files:
        raise FileNotFoundError(f'there is no folder {folder} with XML files')
    return files


def read_xml(path: str | Path) -> ElementTree.Element:
    """Return the root of an XML file.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is not XML; the message names it.
    """
    file = existing_file(path, 'annotation')
    try:
        return ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f'{path}: not XML: {error}') from error


def element_text(element: ElementTree.Element, key: str) -> str:
    """Return the text within an element.

    Raises:
        ValueError: If there is none.
    """
    text = (element.findtext(key) or '').strip()
    if not text:
        raise ValueError(f'there is no <{key}>')
    return text


def number_of(element: ElementTree.Element, key: str) -> float:
    """Return the number within an element.

    Raises:
        ValueError: If there is none.
    """
    text = element_text(element, key)
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f'<{key}> is a number, not {text!r}') from error


def voc_box(element: ElementTree.Element) -> np.ndarray:
    """Return the upright box (1, 5) of a VOC object, its ``bndbox``.

    Raises:
        ValueError: If it has none.
    """
    return upright_box([number_of(element, f'bndbox/{key}') for key in ('xmin', 'ymin', 'xmax', 'ymax')])


def split_lines(path: str) -> list[str]:
    """Return the lines of a file that lists a split, without empty ones.

    Raises:
        FileNotFoundError: If it is not there.
    """
    lines = existing_file(path, 'split').read_text(encoding='utf-8').splitlines()
    return [line.strip() for line in lines if line.strip()]


def _numbers(path: str) -> set[int]:
    numbers = set()
    for line, text in enumerate(split_lines(path), start=1):
        if not text.isdecimal():
            raise ValueError(f'{path}, line {line}: the number of an object, not {text!r}')
        numbers.add(int(text))
    return numbers


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, dicts, texts and numbers, and nothing that would have to be imported."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f'it asks for {module}.{name}, which is no plain value')


def _read_pickle(path: str) -> list[Any]:
    file = existing_file(path)
    try:
        with file.open('rb') as stream:
            value = _PlainUnpickler(stream, encoding='latin1').load()
    except Exception as error:  # a damaged pickle makes the reader raise nearly anything
        raise ValueError(f'{path} is not a pickle of plain values: {error}') from error
    if not isinstance(value, list):
        raise ValueError(f'{path} is a list of expressions, not {type(value).__name__}')
    return value


@dataclass(frozen=True)
class _Instances:
    """COCO's images and annotations by their ids, and the names of its categories."""

    images: Mapping[Any, Mapping[str, Any]]
    annotations: Mapping[Any, Mapping[str, Any]]
    classes: Mapping[Any, str]


def _read_instances(path: str) -> _Instances:
    file = existing_file(path, 'file of boxes')
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
        images, annotations = ({entry['id']: entry for entry in content[key]} for key in ('images', 'annotations'))
        classes = {entry['id']: entry['name'] for entry in content.get('categories', ())}
        return _Instances(images, annotations, classes)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} is not in the form of COCO ({type(error).__name__}: {error})') from error


def _entry(entries: Mapping[Any, Any], key: Any, path: str, kind: str) -> Mapping[str, Any]:
    if key not in entries:
        raise ValueError(f'{path} has no {kind} {key!r}')
    return entries[key]


def _four(value: Any) -> Sequence[float]:
    if not isinstance(value, Sequence) or len(value) != 4:
        raise ValueError(f'a bbox is left, top, width and height, not {value!r}')
    return value


def _read_list(path: str) -> list[Any]:
    file = existing_file(path)
    try:
        if path.endswith('.json'):
            value = json.loads(file.read_text(encoding='utf-8'))
        else:
            import torch

            value = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # what PyTorch raises depends on what is wrong with the file
        raise ValueError(f'{path} is not a list of plain values: {error}') from error
    if not isinstance(value, list):
        raise ValueError(f'{path} is a list of expressions, not {type(value).__name__}')
    return value
