"""Records that are distributed over pictures, tasks and lengths as those of GeoChat_Instruct, with made-up words.

Pictures and records of each source and task are those of the paper (arXiv 2311.15826, tables 1 and 2). Its tasks add up
to 306,500 records and not to the 318,000 that it names; the difference is given to the conversations, the most frequent
task. How the records of a source lie on its pictures is not published: here each picture has one record, and the others
fall on pictures at random. The numbers of words are estimates with which a record has 850 bytes on average, as in the
published file (263 MB, 308,700 records).
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Task:
    """One kind of records.

    Attributes:
        records: Their number in GeoChat_Instruct.
        turns: Questions a record.
        question: Words of a question.
        answer: Words of an answer.
        mark: Task mark that a question begins with.
    """

    records: int
    turns: int
    question: int
    answer: int
    mark: str = ''


@dataclass(frozen=True)
class Source:
    """Pictures of one origin, and the records on them.

    Attributes:
        pictures: Number of pictures.
        side: Their width and height in pixels.
        tasks: Kinds of records.
    """

    pictures: int
    side: int
    tasks: tuple[Task, ...]

    @property
    def num_records(self) -> int:
        """Number of records."""
        return sum(task.records for task in self.tasks)


SOURCES = {
    'LRBEN': Source(600, 256, (Task(56_000, 1, 20, 1),)),
    'FloodNet': Source(4_000, 3000, (Task(4_000, 1, 18, 2),)),
    'NWPU': Source(31_500, 256, (Task(31_500, 1, 150, 1),)),
    'SAMRS': Source(
        105_090,
        800,
        (
            Task(30_000, 1, 5, 110),  # detailed description
            Task(76_500, 6, 12, 20),  # conversation; 65,000 in the paper's table
            Task(10_000, 1, 15, 110),  # reasoning
            Task(45_000, 1, 5, 90, '[grounding]'),
            Task(40_000, 1, 15, 10, '[identify]'),
            Task(25_000, 1, 15, 15, '[refer]'),
        ),
    ),
}
"""The sources; side lengths are the most common ones."""

# fmt: off
VOCABULARY = (
    'airplane', 'airport', 'at', 'black', 'blue', 'bottom', 'bridge', 'buildings', 'center', 'court', 'desert',
    'farmland', 'following', 'forest', 'given', 'harbor', 'image', 'in', 'is', 'large', 'left', 'location', 'normal',
    'number', 'of', 'one', 'red', 'residential', 'right', 'ship', 'short', 'small', 'tennis', 'the', 'there', 'this',
    'top', 'trucks', 'what', 'where', 'white', 'yellow',
)
# fmt: on
"""Words of one token each in the quick start's tokenizer."""


class Words:
    """Draws words; a text is a piece of one long random text, which is quick."""

    def __init__(self, rng: np.random.Generator, size: int = 50_000, longest: int = 1_000):
        drawn = rng.integers(len(VOCABULARY), size=size + longest)
        self.text = [VOCABULARY[index] for index in drawn.tolist()]
        self.rng, self.size = rng, size
        self.begins: list[int] = []

    def draw(self, count: int) -> str:
        """Return so many words."""
        if not self.begins:
            self.begins = self.rng.integers(self.size, size=10_000).tolist()
        begin = self.begins.pop()
        return ' '.join(self.text[begin : begin + count])


def make_records(share: float = 1.0, seed: int = 0) -> list[dict[str, Any]]:
    """Make up records in random order.

    Args:
        share: Share of GeoChat_Instruct. Each source has this share of its records, on whole pictures but for the last.
        seed: Of the words, of the order, and of which picture has how many records.
    """
    rng = np.random.default_rng(seed)
    words = Words(rng)
    made = [record for name, source in SOURCES.items() for record in _of_source(name, source, share, rng, words)]
    return [made[index] for index in rng.permutation(len(made))]


def _of_source(
    name: str, source: Source, share: float, rng: np.random.Generator, words: Words
) -> Iterator[dict[str, Any]]:
    extra = rng.integers(source.pictures, size=source.num_records - source.pictures)
    on_picture = np.repeat(np.arange(source.pictures), 1 + np.bincount(extra, minlength=source.pictures))
    tasks = np.repeat(np.arange(len(source.tasks)), [task.records for task in source.tasks])
    count = round(share * source.num_records)
    for number, (picture, task) in enumerate(zip(on_picture[:count], rng.permutation(tasks)[:count], strict=True)):
        yield record(f'{name}_{number}', f'{name}/{picture:06d}.jpg', source.tasks[task], words)


def record(name: str, picture: str, task: Task, words: Words) -> dict[str, Any]:
    """Make up one record of a task."""
    turns = []
    for number in range(task.turns):
        question = ' '.join([task.mark, words.draw(task.question)]).strip()
        turns.append({'from': 'human', 'value': question if number else f'<image>\n{question}'})
        turns.append({'from': 'gpt', 'value': words.draw(task.answer)})
    return {'id': name, 'image': picture, 'conversations': turns}


def write(path: Path, made: Sequence[dict[str, Any]]) -> None:
    """Write records as a JSON list or, if the name ends so, as JSONL."""
    with path.open('w', encoding='utf-8') as file:
        if path.suffix == '.jsonl':
            file.writelines(json.dumps(record) + '\n' for record in made)
        else:
            json.dump(list(made), file)


def write_pictures(folder: Path, names: Sequence[str], side: int, kinds: int = 32, seed: int = 0) -> None:
    """Write JPEG files: smooth random colours with some noise, so that they take as long to decode as photographs.

    Args:
        folder: Where the names begin.
        names: Names of the files.
        side: Width and height in pixels.
        kinds: Different pictures; names share them in turn.
        seed: Of the pictures.
    """
    rng = np.random.default_rng(seed)
    encoded = []
    for _ in range(min(kinds, len(names))):
        colours = Image.fromarray(rng.integers(256, size=(8, 8, 3), dtype=np.uint8)).resize((side, side))
        noisy = np.asarray(colours) + rng.normal(0, 8, size=(side, side, 1))
        buffer = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, 'JPEG', quality=90)
        encoded.append(buffer.getvalue())
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded[number % len(encoded)])
