"""Instruction data in the LLaVA format, as GeoChat_Instruct has it: read lazily, shared between worker processes."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from multiprocessing.sharedctypes import RawArray
from typing import Any

import numpy as np
from mmengine.logging import print_log
from PIL import Image

from geochat.box_codecs import BoxCodec, transcode
from geochat.datasets.errors import DataError, DataFileError
from geochat.datasets.record_index import RecordIndex
from geochat.registry import BOX_CODECS, DATASETS, TRANSFORMS
from geochat.structures import IGNORE_INDEX, Record

PROBLEMS = {
    'picture': 'replaced by others, because a picture cannot be read',
    'box': 'replaced by others, because a box cannot be rewritten for the box codec',
    'answer': 'replaced by others, because max_length leaves nothing of their answers',
    'truncated': 'cut to max_length',
}
"""What can befall a record while it is used, and how a report says it."""

_FLAGS = {name: 1 << bit for bit, name in enumerate(PROBLEMS)}
_READ = 1 << len(PROBLEMS)
_REPLACED = sum(bit for name, bit in _FLAGS.items() if name != 'truncated')
_MAX_STAND_INS = 10
_MAX_WARNINGS = 5


@DATASETS.register_module()
class InstructionDataset:
    """Records of an instruction file as training samples.

    A record that cannot be used because a picture is missing or damaged is replaced by another of the same task and
    number of pictures, always the same one; so is one of which ``max_length`` leaves no answer. Every such record is
    warned of (the first ones), counted across worker processes, and named by :meth:`problems`.

    Args:
        data_file: JSON list or JSONL file of records (see :func:`~geochat.datasets.instruction_record.parse_record`).
        processor: Config of the :class:`~geochat.datasets.SampleProcessor`.
        image_source: Config of the image source, such as :class:`~geochat.datasets.transforms.ImageFolder`; None if no
            record has a picture.
        box_codec: Config of the box codec that the model speaks. Training texts are never cut within a box of it.
        source_codec: Config of the box codec that the file is written in; None if it is ``box_codec``. If they differ,
            the boxes of all texts are rewritten.
        independent_turns: True trains each question and its answer as if they were alone with the pictures, though the
            turns of a record share one row; False trains the dialogue, whose turns see what was said before.
        skip_bad_records: True leaves out records of the wrong form, and says how many; False refuses such a file.
        max_replaced: Share of the records that may be replaced by others; more are an error. Each rank goes by those
            that it reads itself.
        tasks: Marks of the tasks whose records are kept, such as ``('[refer]', '[grounding]')``: a record is of the
            task whose mark its first question begins with. ``''`` stands for records without a mark; None keeps all.

    Raises:
        FileNotFoundError: If the data file is not there.
        DataFileError: If it is empty, not JSON, has records of the wrong form or none of a task that is to be kept; the
            message names file and records.
    """

    metainfo: Mapping[str, Any] = {}
    """MMEngine asks every dataset for its metainfo; instruction data has none."""

    def __init__(
        self,
        data_file: str,
        processor: Mapping[str, Any],
        image_source: Mapping[str, Any] | None = None,
        box_codec: Mapping[str, Any] | None = None,
        source_codec: Mapping[str, Any] | None = None,
        independent_turns: bool = False,
        skip_bad_records: bool = False,
        max_replaced: float = 0.1,
        tasks: Sequence[str] | None = None,
    ):
        from mmengine.dist import get_world_size

        self.data_file = data_file
        try:
            self.records = RecordIndex(data_file)
            self._check_records(skip_bad_records)
            if tasks is not None:
                self.records.keep_tasks(tasks)
        except ValueError as error:
            raise DataFileError(str(error)) from error
        self.image_source = None if image_source is None else TRANSFORMS.build(dict(image_source))
        self._pictures_from = str(image_source)
        if self.image_source is None and self.num_images.any():
            raise DataFileError(f'{data_file} has records with pictures: it needs an image_source')
        self.independent_turns = independent_turns
        self.processor = TRANSFORMS.build(dict(processor))
        self.box_codec = _build_codec(box_codec)
        self.source_codec = _differing(_build_codec(source_codec), self.box_codec)
        # One byte a record, shared with forked and spawned workers. Bytes are written whole, so no lock is needed.
        self._flags = RawArray('B', len(self.records))
        self._num_warnings = 0
        self._last_images: dict[str, Image.Image] = {}
        self.max_replaced = max_replaced
        self._num_ranks = get_world_size()

    def full_init(self) -> None:
        """Do nothing: MMEngine's dataset wrappers call this, and the constructor has done everything."""

    def __len__(self) -> int:
        return len(self.records)

    @property
    def lengths(self) -> np.ndarray:
        """Estimated tokens of text of each record: (N,) int32."""
        return self.records.entries['length']

    @property
    def num_images(self) -> np.ndarray:
        """Number of pictures of each record: (N,) int32."""
        return self.records.entries['num_images']

    @property
    def pictures(self) -> np.ndarray:
        """Which pictures each record shows: (N,) int32, equal for records of the same pictures, -1 without any."""
        return self.records.entries['pictures']

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read, prepare and return a training sample (see :meth:`SampleProcessor.training_sample`).

        Raises:
            DataError: If neither the record nor those that could stand in for it can be used, or more records than
                ``max_replaced`` allows have been replaced.
        """
        errors = []
        for candidate in self._candidates(index):
            self._flags[candidate] |= _READ
            try:
                return self._sample(candidate)
            except _UnusableRecordError as error:
                self._note(candidate, error)
                errors.append(error)
        raise DataError(
            f'{self.data_file}: neither record {self._number(index)} nor {len(errors) - 1} others in its place can be '
            f'used. The first: {errors[0]}'
        )

    def problems(self) -> dict[str, list[int]]:
        """Return the records that something befell so far, in any process of this machine that uses this dataset.

        Returns:
            For each of :data:`PROBLEMS`, the numbers of the records in their file, counted from 1.
        """
        return self._numbers(np.array(self._flags))

    def report(self) -> str:
        """Say what befell records so far; empty if nothing did.

        In distributed training every rank must call this: the ranks' counts are put together.
        """
        from mmengine.dist import all_gather_object

        flags = np.bitwise_or.reduce(all_gather_object(np.array(self._flags)))
        lines = []
        for problem, numbers in self._numbers(flags).items():
            if numbers:
                named = ', '.join(map(str, numbers[:10])) + (', ...' if len(numbers) > 10 else '')
                lines.append(f'{len(numbers)} of {len(self)} records were {PROBLEMS[problem]}: {named}')
        return '\n'.join(f'{self.data_file}: {line}' for line in lines)

    def _check_records(self, skip_bad_records: bool) -> None:
        records = self.records
        if records.num_bad:
            more = f'\n  and {records.num_bad - len(records.complaints)} more'
            listed = '\n  '.join(records.complaints) + (more if records.num_bad > len(records.complaints) else '')
            message = f'{self.data_file}: {records.num_bad} records are not of the instruction format:\n  {listed}'
            if not skip_bad_records:
                raise ValueError(f'{message}\nmend them, or leave them out with skip_bad_records=True')
            print_log(f'{message}\nthey are left out', logger='current', level=logging.WARNING)
        if not len(records):
            raise ValueError(f'{self.data_file} has no usable record')

    def _candidates(self, index: int) -> Iterator[int]:
        """Yield a record, then those that may stand in for it: of its kind if there are any, always the same ones."""
        yield index
        kinds = self.records.entries['kind']
        others = np.flatnonzero(kinds == kinds[index])
        if len(others) < 2:
            others = np.arange(len(self))
        others = others[others != index % len(self)]
        chosen = np.random.default_rng([index % len(self)]).permutation(others)[:_MAX_STAND_INS]
        yield from map(int, chosen)

    def _sample(self, index: int) -> dict[str, Any]:
        record = self.records[index]
        try:
            images = self._load_images(record.images)
        except OSError as error:
            raise _UnusableRecordError('picture', error) from error
        if self.source_codec is not None and images:
            try:
                record = self._transcode(record, {image.size for image in images})
            except ValueError as error:
                raise _UnusableRecordError('box', error) from error
        pattern = None if self.box_codec is None else self.box_codec.pattern
        sample = self.processor.training_sample(record, images, pattern, self.independent_turns)
        if (sample['labels'] == IGNORE_INDEX).all():
            raise _UnusableRecordError('answer', 'max_length leaves nothing of its answer')
        # Joined datasets may have other pictures by the same name.
        sample['image_keys'] = [f'{self._pictures_from}: {key}' for key in sample['image_keys']]
        if sample['truncated']:
            self._flags[index] |= _FLAGS['truncated']
        return sample

    def _load_images(self, names: Sequence[str]) -> list[Image.Image]:
        """Load pictures; those of the record before are at hand: a sampler may bring a picture's records together."""
        last = self._last_images
        self._last_images = {name: last[name] if name in last else self.image_source.load(name) for name in names}
        return [self._last_images[name] for name in names]

    def _transcode(self, record: Record, sizes: set[tuple[int, int]]) -> Record:
        if len(sizes) > 1:
            raise ValueError(f'its pictures differ in size ({sizes}), and no box says which one it lies on')
        (size,) = sizes
        messages = (
            replace(message, text=transcode(message.text, self.source_codec, self.box_codec, size))
            for message in record.messages
        )
        return replace(record, messages=tuple(messages))

    def _note(self, index: int, error: '_UnusableRecordError') -> None:
        """Mark a record that cannot be used, and warn of the first ones."""
        self._flags[index] |= _FLAGS[error.problem]
        self._num_warnings += 1
        if self._num_warnings <= _MAX_WARNINGS:
            message = f'{self.data_file}, record {self._number(index)}: {error}; another record takes its place'
            print_log(message, logger='current', level=logging.WARNING)
        flags = np.frombuffer(self._flags, dtype=np.uint8)
        count = np.count_nonzero(flags & _REPLACED)
        # A rank reads its share in an epoch, and in time more of them.
        share = max(np.count_nonzero(flags & _READ), -(-len(self) // self._num_ranks))
        if count > self.max_replaced * share:
            raise DataError(
                f'{self.data_file}: {count} of {share} records cannot be used, more than max_replaced='
                f'{self.max_replaced:g} allows. The last: record {self._number(index)}: {error}'
            )

    def _number(self, index: int) -> int:
        return int(self.records.entries['number'][index])

    def _numbers(self, flags: np.ndarray) -> dict[str, list[int]]:
        numbers = self.records.entries['number']
        return {problem: numbers[(flags & bit) > 0].tolist() for problem, bit in _FLAGS.items()}


class _UnusableRecordError(Exception):
    def __init__(self, problem: str, reason: Exception | str):
        super().__init__(str(reason))
        self.problem = problem


def _build_codec(settings: Mapping[str, Any] | None) -> BoxCodec | None:
    return None if settings is None else BOX_CODECS.build(dict(settings))


def _differing(source: BoxCodec | None, target: BoxCodec | None) -> BoxCodec | None:
    """Return the codec that texts are to be rewritten from; None if they are in the target's language already."""
    if source is None or (type(source) is type(target) and vars(source) == vars(target)):
        return None
    if target is None:
        raise ValueError('source_codec says what the data is written in, but there is no box_codec to rewrite it for')
    return source
