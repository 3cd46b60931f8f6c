"""What stands where in a built-in scene: its background and its objects, from (split, index) alone."""

import math
import random
from dataclasses import dataclass

import numpy as np

SPLITS = ('pretrain', 'train', 'val', 'test')
"""Each split draws its scenes from seeds of its own, so that no scene of one is ever a scene of another."""

BACKGROUNDS = ('harbor', 'airport', 'residential', 'farmland', 'forest', 'desert')
"""The scene classes. What stands on a background is independent of it: it tells nothing about the objects."""

COLORS = {
    'red': (205, 42, 38),
    'blue': (38, 82, 214),
    'yellow': (238, 205, 40),
    'white': (243, 243, 240),
    'black': (30, 30, 34),
}
"""Colour names and their RGB values."""

MIN_SIDE, MAX_SIDE = 0.12, 0.40
"""Shortest and longest side of an object, as a fraction of the picture's side."""

GAP = 0.015
"""Least distance between two objects and between an object and the picture's edge."""

_TWINS_SHARE = 0.55
_MAX_TRIES = 60


@dataclass(frozen=True)
class Category:
    """An object class and how long it is against its width.

    Attributes:
        min_aspect: Least length over width.
        max_aspect: Largest length over width.
        small_below: Length (fraction of the picture) under which an object of this class is called small.
        large_above: Length over which it is called large.
    """

    min_aspect: float
    max_aspect: float
    small_below: float
    large_above: float


def _category(min_aspect: float, max_aspect: float) -> Category:
    shortest = MIN_SIDE * min_aspect
    spread = MAX_SIDE - shortest
    return Category(min_aspect, max_aspect, shortest + 0.35 * spread, shortest + 0.65 * spread)


CATEGORIES = {
    'ship': _category(1.8, 3.0),
    'airplane': _category(1.0, 1.3),
    'truck': _category(1.6, 2.6),
    'tennis court': _category(1.4, 2.0),
    'building': _category(1.0, 1.7),
    'bridge': _category(2.0, 3.0),
}
"""Object classes by name. Small and large are the lower and upper third of the lengths that a class comes in."""


@dataclass(frozen=True)
class SceneObject:
    """One object on the unit canvas (x to the right, y down, both 0 to 1).

    Attributes:
        category: Key of :data:`CATEGORIES`.
        color: Key of :data:`COLORS`.
        cx: Centre, x.
        cy: Centre, y.
        length: Extent along the heading.
        width: Extent across the heading.
        heading: Where its front points, radians in [0, 2 pi), clockwise on screen from the x axis.
    """

    category: str
    color: str
    cx: float
    cy: float
    length: float
    width: float
    heading: float

    @property
    def box(self) -> tuple[float, float, float, float, float]:
        """(cx, cy, w, h, angle) on the unit canvas, angle in radians folded to [0, pi / 2), w along the angle.

        A rectangle has one such form: turning by a quarter swaps its sides, turning by a half changes nothing.
        """
        quarters, angle = divmod(self.heading, math.pi / 2)
        sides = (self.length, self.width) if int(quarters) % 2 == 0 else (self.width, self.length)
        return (self.cx, self.cy, *sides, angle)

    @property
    def size(self) -> str:
        """How large it is among its class: 'small', 'normal' or 'large'."""
        category = CATEGORIES[self.category]
        if self.length < category.small_below:
            return 'small'
        return 'large' if self.length > category.large_above else 'normal'

    def corners(self, margin: float = 0.0) -> list[tuple[float, float]]:
        """Return the four corners on the unit canvas, each side moved out by ``margin``."""
        ux, uy = math.cos(self.heading), math.sin(self.heading)
        a, b = self.length / 2 + margin, self.width / 2 + margin
        return [(self.cx + s * a * ux - t * b * uy, self.cy + s * a * uy + t * b * ux) for s, t in _CORNER_SIGNS]


_CORNER_SIGNS = ((1, 1), (-1, 1), (-1, -1), (1, -1))


@dataclass(frozen=True)
class Scene:
    """A built-in scene, still without pixels.

    Attributes:
        split: One of :data:`SPLITS`.
        index: Number within the split, from 0.
        background: One of :data:`BACKGROUNDS`, the scene's class.
        objects: One to six objects that do not touch each other or the edge.
    """

    split: str
    index: int
    background: str
    objects: tuple[SceneObject, ...]

    @property
    def name(self) -> str:
        """The picture's file name, such as ``'train/000123.png'``."""
        return f'{self.split}/{self.index:06d}.png'

    def boxes(self, image_size: tuple[int, int]) -> np.ndarray:
        """Return the objects' boxes.

        Args:
            image_size: Width and height in pixels; scenes are square, so both are the same.

        Returns:
            float64 array (N, 5): cx, cy, w, h in pixels, angle in radians in [0, pi / 2), clockwise on screen.
        """
        side = image_size[0]
        return np.array([item.box for item in self.objects]) * [side, side, side, side, 1.0]


def scene_seed(split: str, index: int) -> str:
    """Return the seed of a scene. It spells the split, so that two splits cannot share one.

    Raises:
        ValueError: If there is no such split or the index is negative.
    """
    if split not in SPLITS:
        raise ValueError(f'{split!r} is not a split of the built-in scenes; there are {", ".join(SPLITS)}')
    if index < 0:
        raise ValueError(f'scenes are numbered from 0, not {index}')
    return f'geochat scene {split} {index}'


def make_scene(split: str, index: int) -> Scene:
    """Lay out one scene, the same on every machine.

    Args:
        split: One of :data:`SPLITS`.
        index: Number within the split, from 0.

    Raises:
        ValueError: If there is no such split or the index is negative.
    """
    rng = random.Random(scene_seed(split, index))
    background = rng.choice(BACKGROUNDS)
    objects: list[SceneObject] = []
    for category in _draw_categories(rng):
        placed = _place(rng, category, objects)
        if placed is not None:
            objects.append(placed)
    return Scene(split, index, background, tuple(objects))


def parse_name(name: str) -> tuple[str, int]:
    """Read the split and the index from a picture's name.

    Args:
        name: Such as ``'train/000123.png'``.

    Raises:
        ValueError: If the name is not of that form.
    """
    split, _, rest = name.strip().partition('/')
    digits = rest.removesuffix('.png')
    if split not in SPLITS or not (digits.isascii() and digits.isdigit()):
        raise ValueError(f'{name!r} is not the name of a built-in scene, such as "train/000123.png"')
    return split, int(digits)


def _draw_categories(rng: random.Random) -> list[str]:
    """Draw the classes of one to six objects; most pictures of two and more hold several of one class."""
    count = rng.choices((1, 2, 3, 4, 5, 6), weights=(5, 5, 5, 4, 3, 2))[0]
    names = list(CATEGORIES)
    alike = 1 + (rng.random() < _TWINS_SHARE)
    while alike > 1 and alike < min(count, 5) and rng.random() < 0.4:
        alike += 1
    first = rng.choice(names)
    others = [name for name in names if name != first]
    return [first] * min(alike, count) + [rng.choice(others) for _ in range(count - alike)]


def _place(rng: random.Random, category: str, others: list[SceneObject]) -> SceneObject | None:
    """Find room for an object of a class, trying shorter ones as room gets scarce; None if there is none."""
    shape = CATEGORIES[category]
    shortest = MIN_SIDE * shape.min_aspect
    color = rng.choice(tuple(COLORS))
    for attempt in range(_MAX_TRIES):
        longest = MAX_SIDE - (MAX_SIDE - shortest) * max(0.0, attempt / _MAX_TRIES - 0.3)
        length = rng.uniform(shortest, longest)
        aspect = rng.uniform(shape.min_aspect, min(shape.max_aspect, length / MIN_SIDE))
        heading = rng.uniform(0.0, 2 * math.pi)
        width = length / aspect
        reach_x = (length * abs(math.cos(heading)) + width * abs(math.sin(heading))) / 2 + GAP
        reach_y = (length * abs(math.sin(heading)) + width * abs(math.cos(heading))) / 2 + GAP
        cx, cy = rng.uniform(reach_x, 1 - reach_x), rng.uniform(reach_y, 1 - reach_y)
        candidate = SceneObject(category, color, cx, cy, length, width, heading)
        if all(_apart(candidate, other) for other in others):
            return candidate
    return None


def _apart(first: SceneObject, second: SceneObject) -> bool:
    """Tell whether two objects keep the gap: whether an axis of one of them separates the widened rectangles."""
    pair = (first.corners(GAP / 2), second.corners(GAP / 2))
    for item in (first, second):
        for direction in (item.heading, item.heading + math.pi / 2):
            ux, uy = math.cos(direction), math.sin(direction)
            one, two = ([x * ux + y * uy for x, y in corners] for corners in pair)
            if max(one) < min(two) or max(two) < min(one):
                return True
    return False
