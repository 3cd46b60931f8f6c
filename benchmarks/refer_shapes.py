"""Whether boxes lie on the objects on wide and tall pictures too: a trained model is asked about parts of scenes.

    python benchmarks/refer_shapes.py --model work_dirs/geochat_tiny --json refer_shapes.json --sheet refer_shapes.png

Held-out scenes are asked about whole, and cut to a wide and to a tall part around an object that its class and colour
tell from all others. A model that has learnt from square pictures sees the others padded to a square, with objects as
large as ever; so it should find them there as well, if its boxes are read as it means them.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine
from PIL import Image

from geochat.datasets.scenes import draw_scene, make_scene
from geochat.datasets.scenes.questions import describe, referring_phrases

SIDE = 512
"""Pixels of a scene's sides."""

SHORT_SIDE = 308
"""Pixels of the shorter side of a part: its shape is 5 to 3."""

SHAPES = {'square': (SIDE, SIDE), 'wide': (SIDE, SHORT_SIDE), 'tall': (SHORT_SIDE, SIDE)}

CELL = 320
"""Pixels of a picture on the sheet."""


def questions(size: tuple[int, int], count: int) -> Iterator[tuple[Image.Image, str, np.ndarray]]:
    """Yield pictures of a size with a phrase each and the box that it stands for, in pixels of the picture."""
    index = 0
    while count:
        scene = make_scene('test', index)
        index += 1
        for number, item in enumerate(scene.objects):
            phrase = describe(item)
            corners = np.array(item.corners()) * SIDE
            low, high = corners.min(axis=0), corners.max(axis=0)
            if phrase not in referring_phrases(scene, number) or (high - low > size).any():
                continue
            corner = np.clip((low + high - size) / 2, 0, SIDE - np.array(size)).round().astype(int)
            picture = draw_scene(scene, SIDE).crop((*corner.tolist(), *(corner + size).tolist()))
            box = scene.boxes((SIDE, SIDE))[number]
            yield picture, phrase, box - [*corner, 0, 0, 0]
            count -= 1
            break


def ask(inferencer: Any, size: tuple[int, int], count: int) -> tuple[dict[str, float], list[Image.Image]]:
    """Return how well the boxes of answers lie on the objects, and the first pictures with their boxes."""
    from geochat.evaluation.functional import rotated_iou

    pictures, phrases, boxes = zip(*questions(size, count), strict=True)
    answers = inferencer(list(pictures), list(phrases), task='refer')
    overlaps = np.array(
        [
            rotated_iou(answer.boxes[:1], box[None])[0] if len(answer.boxes) else 0.0
            for answer, box in zip(answers, boxes, strict=True)
        ]
    )
    figures = {
        'questions': count,
        'acc@0.25': round(float((overlaps >= 0.25).mean()), 3),
        'acc@0.5': round(float((overlaps >= 0.5).mean()), 3),
        'mean_iou': round(float(overlaps.mean()), 3),
    }
    return figures, [answer.draw() for answer in answers[:6]]


def write_sheet(rows: list[list[Image.Image]], path: Path) -> None:
    """Write pictures side by side, a row a shape."""
    sheet = Image.new('RGB', (CELL * max(map(len, rows)), CELL * len(rows)), 'white')
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            picture.thumbnail((CELL - 8, CELL - 8))
            sheet.paste(picture, (column * CELL, row * CELL))
    sheet.save(path)


def main() -> None:
    """Ask, print the figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', required=True, help='the work directory of a quick start, or its model folder')
    parser.add_argument('--questions', type=int, default=200, help='of each shape')
    parser.add_argument('--sheet', type=Path, help='file to write the first pictures to')
    parser.add_argument('--json', type=Path, help='file to write the figures to')
    args = parser.parse_args()
    from geochat.apis import GeoChatInferencer

    inferencer = GeoChatInferencer(args.model)
    report: dict[str, Any] = {'machine': machine(), 'model': args.model, 'shapes': {}}
    rows = []
    for shape, size in SHAPES.items():
        report['shapes'][shape], pictures = ask(inferencer, size, args.questions)
        rows.append(pictures)
        print(f'{shape:7} {size[0]} x {size[1]}:', report['shapes'][shape], flush=True)
    if args.sheet:
        write_sheet(rows, args.sheet)
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
