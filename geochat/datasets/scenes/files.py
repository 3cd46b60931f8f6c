"""Instruction and benchmark files about built-in scenes, in the formats of GeoChat_Instruct and GeoChat-Bench."""

import functools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from geochat.box_codecs import GeoChatBoxCodec
from geochat.datasets.scenes.layout import Scene, make_scene
from geochat.datasets.scenes.questions import (
    count_turn,
    describe,
    draw_count_class,
    draw_presence_class,
    independent_turns,
    presence_turn,
    referring_phrases,
    scene_turn,
)
from geochat.registry import DATASETS
from geochat.structures import IMAGE_PLACEHOLDER

FORMAT = 3
"""Raised whenever scenes or wordings change, so that old files are written anew."""

SMALL_AREA, LARGE_AREA = 0.035, 0.065
"""Shares of the picture's area under which a referred object is small and over which it is large."""


@DATASETS.register_module()
class SceneFiles:
    """Writes what the quick start learns from and is tested on.

    ``train.jsonl`` and ``val.jsonl`` hold one record a picture, whose turns are independent; ``scene.jsonl``,
    ``presence.jsonl``, ``counting.jsonl``, ``referring.jsonl`` and ``region_captioning.jsonl`` one question a picture
    of the test split.

    Args:
        root: Folder to write to.
        image_size: Width and height in pixels of the pictures that the benchmarks' polygons are told in.
        num_train: Pictures to learn from.
        num_val: Pictures for the validation loss.
        num_test: Questions a task.

    Raises:
        ValueError: If a number of pictures is not positive.
    """

    def __init__(self, root: str, image_size: int, num_train: int, num_val: int, num_test: int):
        if min(image_size, num_train, num_val, num_test) < 1:
            raise ValueError('the picture size and the numbers of pictures of SceneFiles are positive')
        self.root = Path(root)
        self.image_size = image_size
        self.counts = {'train': num_train, 'val': num_val, 'test': num_test}

    def prepare(self) -> None:
        """Write the files, unless they are there already with the same settings.

        Raises:
            OSError: If the folder cannot be written.
        """
        manifest = self.root / 'manifest.json'
        wanted = {'format': FORMAT, 'image_size': self.image_size, **self.counts}
        if manifest.is_file() and json.loads(manifest.read_text(encoding='utf-8')) == wanted:
            return
        self.root.mkdir(parents=True, exist_ok=True)
        manifest.unlink(missing_ok=True)
        for split in ('train', 'val'):
            _write_lines(self.root / f'{split}.jsonl', self._lines(instruction_record, split))
        for name, question in BENCHMARK_QUESTIONS.items():
            line = functools.partial(question, image_size=self.image_size)
            _write_lines(self.root / f'{name}.jsonl', self._lines(line, 'test'))
        _write_lines(manifest, [wanted])

    def _lines(self, line: Callable[[Scene], dict], split: str) -> Iterator[dict]:
        """Make the lines of a file, one a picture, and say now and then how far a long file is."""
        count = self.counts[split]
        for index in range(count):
            if index and index % _REPORT_EVERY == 0:
                print(f'writing {split} scenes to {self.root}: {index} of {count}', flush=True)
            yield line(make_scene(split, index))


_REPORT_EVERY = 4000


def instruction_record(scene: Scene) -> dict[str, Any]:
    """Return the questions about a scene as a record of GeoChat_Instruct."""
    conversations = []
    for turn in independent_turns(scene, functools.partial(box_text, scene)):
        start = '' if conversations else f'{IMAGE_PLACEHOLDER}\n'
        conversations.append({'from': 'human', 'value': start + turn.question})
        conversations.append({'from': 'gpt', 'value': turn.answer})
    return {'id': _image_id(scene), 'image': scene.name, 'conversations': conversations}


def box_text(scene: Scene, index: int) -> str:
    """Return an object's box in GeoChat's language, which does not depend on the picture's size: scenes are square."""
    return _CODEC.encode(scene.boxes((100, 100))[index : index + 1], (100, 100))


_CODEC = GeoChatBoxCodec()


def scene_question(scene: Scene, image_size: int) -> dict[str, Any]:
    """Return a line like those of GeoChat-Bench's AID file."""
    turn = scene_turn(scene)
    return _text_question(scene, turn.question) | {'ground_truth': turn.answer}


def presence_question(scene: Scene, image_size: int) -> dict[str, Any]:
    """Return a line like those of GeoChat-Bench's RSVQA files, with the answer beside it."""
    turn = presence_turn(scene, draw_presence_class(scene, _rng(scene, 'presence')))
    return _text_question(scene, turn.question) | {'category': 'presence', 'ground_truth': turn.answer}


def count_question(scene: Scene, image_size: int) -> dict[str, Any]:
    """Return a line like those of GeoChat-Bench's RSVQA files, with the answer beside it."""
    turn = count_turn(scene, draw_count_class(scene, _rng(scene, 'count')))
    return _text_question(scene, turn.question) | {'category': 'count', 'ground_truth': turn.answer}


def referring_question(scene: Scene, image_size: int) -> dict[str, Any]:
    """Return a line like those of GeoChat-Bench's referring file; the truth is a list of corners in pixels."""
    rng = _rng(scene, 'refer')
    phrases = {number: referring_phrases(scene, number) for number in range(len(scene.objects))}
    index = rng.choice([number for number, fitting in phrases.items() if fitting])
    corners = np.round(np.array(scene.objects[index].corners()) * image_size, 3).tolist()
    return _object_question(scene, index) | {'question': rng.choice(phrases[index]), 'ground_truth': [corners]}


def identify_question(scene: Scene, image_size: int) -> dict[str, Any]:
    """Return a line like those of GeoChat-Bench's region captions: the question is a box, the truth its words."""
    index = _rng(scene, 'identify').randrange(len(scene.objects))
    words = f'1 {describe(scene.objects[index])}'
    return _object_question(scene, index) | {'question': box_text(scene, index), 'ground_truth': words}


BENCHMARK_QUESTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    'scene': scene_question,
    'presence': presence_question,
    'counting': count_question,
    'referring': referring_question,
    'region_captioning': identify_question,
}
"""File names without their ending, and what makes their lines."""


def _rng(scene: Scene, task: str) -> random.Random:
    return random.Random(f'{task} question about {scene.name}')


def _image_id(scene: Scene) -> str:
    return scene.name.removesuffix('.png')


def _text_question(scene: Scene, text: str) -> dict[str, Any]:
    return {'question_id': _image_id(scene), 'image': scene.name, 'text': text}


def _object_question(scene: Scene, index: int) -> dict[str, Any]:
    item = scene.objects[index]
    area = item.length * item.width
    group = 'small' if area < SMALL_AREA else 'large' if area > LARGE_AREA else 'medium'
    return {
        'question_id': _image_id(scene),
        'image_id': _image_id(scene),
        'type': 'ref',
        'dataset': 'scenes',
        'obj_ids': [index],
        'size_group': group,
    }


def _write_lines(path: Path, lines: Iterator[dict] | list[dict]) -> None:
    """Write JSON lines to a temporary name, then rename, so that a file is whole or not there."""
    part = path.with_name(path.name + '.part')
    with part.open('w', encoding='utf-8') as stream:
        for line in lines:
            stream.write(json.dumps(line) + '\n')
    part.replace(path)
