"""Pictures to try the demo with: built-in scenes, drawn when they are asked for."""

import base64
import functools
import io
from dataclasses import dataclass

from PIL import Image

from geochat.datasets.scenes import draw_scene, make_scene

SIDE = 768
"""Pixels of an example's sides."""

THUMBNAIL_SIDE = 112

SCENES = (12, 23, 49, 33, 51, 35)
"""Numbers of held-out scenes, one of each background, with several objects."""


@dataclass(frozen=True)
class Example:
    """A picture to try the demo with.

    Attributes:
        title: What it shows, for a person.
        thumbnail: It in small, as a data URL.
    """

    title: str
    thumbnail: str


@functools.cache
def examples() -> tuple[Example, ...]:
    """Return what there is to choose from."""
    found = []
    for number, index in enumerate(SCENES):
        buffer = io.BytesIO()
        draw_example(number, THUMBNAIL_SIDE).save(buffer, 'JPEG', quality=85)
        data = base64.b64encode(buffer.getvalue()).decode()
        scene = make_scene('test', index)
        found.append(Example(f'{scene.background}, {len(scene.objects)} objects', f'data:image/jpeg;base64,{data}'))
    return tuple(found)


def draw_example(number: int, side: int = SIDE) -> Image.Image:
    """Draw the picture of an example.

    Raises:
        IndexError: If there is no such example.
    """
    return draw_scene(make_scene('test', SCENES[number]), side)
