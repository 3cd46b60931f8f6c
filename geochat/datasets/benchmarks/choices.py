"""Benchmarks of multiple-choice questions, and VHM's questions that try a model's honesty."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from geochat.datasets.benchmarks.base import BenchmarkReader, field, groups, text_field
from geochat.datasets.json_records import iterate_records
from geochat.registry import DATASETS
from geochat.structures import Question

LETTERS = 'ABCDE'
"""Letters of the options; no benchmark here has more than five."""

_OPTION = re.compile(r'^[ \t]*\(?([A-Z])[.):]\s*(\S.*?)[ \t]*$', re.MULTILINE)


@DATASETS.register_module()
class CircularChoiceBenchmark(BenchmarkReader):
    """Multiple-choice questions asked several times with the options turned round, as ``FIT-RSRC_Questions_2k.jsonl``.

    A row has ``question_id``, ``image``, ``text`` (the question with its options), ``category`` and ``ground_truth``
    (a letter). The rows of one ``question_id`` and ``category`` are one question with its options turned; the true
    answer's ``circle`` says which belong together.
    """

    def question(self, row: Mapping[str, Any]) -> Question:
        """Read a row."""
        question_id, text = str(field(row, 'question_id')), text_field(row, 'text', 'question')
        category = text_field(row, 'category').lower()
        options = _options(text)
        return Question(
            id=question_id,
            images=(text_field(row, 'image'),),
            query={'text': text, 'options': options} if options else {'text': text},
            truth={'text': _letter(text_field(row, 'ground_truth'), options), 'circle': f'{question_id}/{category}'},
            groups={'category': category},
        )


@DATASETS.register_module()
class GEOBenchBenchmark(BenchmarkReader):
    """Multiple-choice questions as in GEOBench-VLM's ``Single/qa.json``, for the task multiple_choice.

    A row has ``question_id``, ``image_path``, ``prompts`` (the question in several wordings, each of which is asked),
    ``options_list``, ``ground_truth_option`` (a letter), ``task`` and ``cls_description`` (what to know beforehand).
    """

    def records(self) -> Iterator[tuple[str, tuple[int, Mapping[str, Any], str]]]:
        """Yield the wordings, each with its row."""
        for place, row in super().records():
            prompts = row.get('prompts') if isinstance(row, Mapping) else None
            if not isinstance(prompts, Sequence) or isinstance(prompts, str) or not prompts:
                raise ValueError(f"{place}: 'prompts' is a list of questions, not {prompts!r}")
            for number, prompt in enumerate(prompts, start=1):
                yield place, (number, row, prompt)

    def question(self, row: tuple[int, Mapping[str, Any], str]) -> Question:
        """Read a wording."""
        number, row, prompt = row
        options = tuple(map(str, field(row, 'options_list')))
        asked = '\n'.join(part for part in (row.get('cls_description') or '', prompt) if part)
        return Question(
            id=f'{field(row, "question_id")}/{number}',
            images=(text_field(row, 'image_path'),),
            query={'question': asked, 'options': options},
            truth={'text': _letter(text_field(row, 'ground_truth_option'), options)},
            groups=groups(row, {'task': 'task'}),
        )


HONESTY_FILES = {
    'presence_mo_dota.json': ('presence', None),
    'abspos_dota-test_mc.json': ('absolute position', None),
    'abspos_false_dota-test_random_mc.json': ('absolute position', 'random'),
    'abspos_false_dota-test_popular_mc.json': ('absolute position', 'popular'),
    'abspos_false_dota-test_adversarial_mc.json': ('absolute position', 'adversarial'),
    'relpos_dota-test_mc.json': ('relative position', None),
    'relpos_false_dota-test_random_mc.json': ('relative position', 'random'),
    'relpos_false_dota-test_popula_mc.json': ('relative position', 'popular'),
    'relpos_false_dota-test_adversarial_mc.json': ('relative position', 'adversarial'),
    'color_dota-test_fair1m-val_open.json': ('color', None),
    'color_false_dota-test_random_open.json': ('color', 'random'),
    'color_false_dota-test_popular_open.json': ('color', 'popular'),
    'color_false_dota-test_adversarial_open.json': ('color', 'adversarial'),
    'color_false_pan_dota-test.json': ('color', 'panchromatic'),
}
"""VHM_Eval's files of honesty questions, as its data page lists them: what they ask, and which false premise they make:
None, an object that is not there and was drawn in one of three ways, or colours where the picture is panchromatic."""


@DATASETS.register_module()
class HonestyBenchmark(BenchmarkReader):
    """VHM_Eval's questions about presence, position and colour, with true and with false premises.

    Each of :data:`HONESTY_FILES` is a JSON list. A row has ``image`` (a file name), ``image_path`` (its folder) and
    ``conversations``: the question, then the true answer. ``deceptive`` of the truth says whether the premise is false.
    Scores are broken down by ``task`` and by ``trap``, the kind of false premise.

    Args:
        data_file: The folder that has the files.
        image_source: Config of the image source; its names are ``FOLDER/PICTURE``.
    """

    @property
    def files(self) -> tuple[str, ...]:
        """The files of :data:`HONESTY_FILES`."""
        return tuple(str(Path(self.data_file) / name) for name in HONESTY_FILES)

    def records(self) -> Iterator[tuple[str, tuple[str, str, Mapping[str, Any]]]]:
        """Yield the rows of all files, each with its file's name and a number."""
        for path, name in zip(self.files, HONESTY_FILES, strict=True):
            for number, record in enumerate(iterate_records(path), start=1):
                yield f'{path}, {record.place}', (name, number, record.value)

    def question(self, row: tuple[str, int, Mapping[str, Any]]) -> Question:
        """Read a row."""
        name, number, row = row
        turns = field(row, 'conversations')
        if not isinstance(turns, Sequence) or len(turns) != 2:
            raise ValueError("'conversations' is a question and its answer")
        asked, answer = (text_field(turn, 'value') for turn in turns)
        text = asked.replace('<image>', '').strip()
        options = _options(text)
        task, trap = HONESTY_FILES[name]
        return Question(
            id=f'{Path(name).stem}/{number}',
            images=(f'{text_field(row, "image_path")}/{text_field(row, "image")}',),
            query={'text': text, 'options': options} if options else {'text': text},
            truth={'text': _letter(answer, options) if options else answer, 'deceptive': trap is not None},
            groups={'task': task, 'trap': trap} if trap else {'task': task},
        )


def _options(text: str) -> tuple[str, ...]:
    """Return the options that a question lists, a line each (``A. river``); none if it lists none in this way."""
    found = dict(_OPTION.findall(text))
    return tuple(found.values()) if len(found) > 1 and tuple(found) == tuple(LETTERS[: len(found)]) else ()


def _letter(answer: str, options: Sequence[str]) -> str:
    """Return the letter of a true answer, which may have the option's words behind it.

    Raises:
        ValueError: If it is no letter, or one beyond the options.
    """
    match = re.match(r'\s*\(?([A-Z])(?![A-Za-z])', answer)
    letters = LETTERS[: len(options)] if options else LETTERS
    if match is None or match[1] not in letters:
        raise ValueError(f'the true answer is one of the letters {letters}, not {answer!r}')
    return match[1]
