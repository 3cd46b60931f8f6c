"""What each patch of a built-in scene shows: the targets that the tiny encoder is pretrained on."""

import numpy as np

from geochat.datasets.scenes.layout import BACKGROUNDS, CATEGORIES, COLORS, Scene, SceneObject

SIZES = ('small', 'normal', 'large')

CHOICES = {
    'background': len(BACKGROUNDS),
    'category': len(CATEGORIES) + 1,
    'color': len(COLORS),
    'size': len(SIZES),
    'row': 3,
    'column': 3,
    'center': 2,
}
"""Targets that are one of several values, and how many. Category 0 is none; center tells the patch under an object's
centre from the others; row and column are the object's on the three-by-three grid."""

NUMBERS = dict.fromkeys(('left', 'top', 'right', 'bottom'), (-20, 120)) | {'angle': (0, 90)}
"""Targets that are numbers, and their first and last: the edges of the box before it is turned, in per cent of the
picture's side, and its angle in degrees."""

UNTOLD = -1000
"""Value of a target where it has no meaning: what only an object has, in a patch that shows none."""

TARGETS = (*CHOICES, *NUMBERS)
"""The columns of :func:`patch_targets`."""

_SAMPLES = 4
_LEAST_SHARE = 0.2


def patch_owners(scene: Scene, side: int) -> np.ndarray:
    """Return which object each patch shows most of.

    Args:
        scene: The scene.
        side: Patches along a side.

    Returns:
        int64 array (side * side,), row by row: the object's number in the scene, -1 where objects cover less than a
        fifth of the patch. The patch under an object's centre is always the object's.
    """
    steps = (np.arange(side * _SAMPLES) + 0.5) / (side * _SAMPLES)
    cx, cy, w, h, angle = scene.boxes((1, 1)).T[:, :, None, None]
    dx, dy = steps[None, None, :] - cx, steps[None, :, None] - cy
    along = dx * np.cos(angle) + dy * np.sin(angle)
    across = dy * np.cos(angle) - dx * np.sin(angle)
    inside = (np.abs(along) <= w / 2) & (np.abs(across) <= h / 2)
    shares = inside.reshape(-1, side, _SAMPLES, side, _SAMPLES).mean(axis=(2, 4)).reshape(-1, side * side)
    owners = np.where(shares.max(axis=0) >= _LEAST_SHARE, shares.argmax(axis=0), -1)
    owners[center_patches(scene, side)] = np.arange(len(scene.objects))
    return owners


def center_patches(scene: Scene, side: int) -> list[int]:
    """Return the patch under each object's centre, counted row by row."""
    return [int(item.cy * side) * side + int(item.cx * side) for item in scene.objects]


def patch_targets(scene: Scene, side: int) -> np.ndarray:
    """Return the targets of each patch.

    Args:
        scene: The scene.
        side: Patches along a side.

    Returns:
        int64 array (side * side, len(TARGETS)), :data:`UNTOLD` where a target has no meaning.
    """
    nothing = [0, *[UNTOLD] * (len(TARGETS) - 3)]
    of_objects = np.array([nothing, *map(_object_targets, scene.objects)])[patch_owners(scene, side) + 1]
    background = np.full(len(of_objects), BACKGROUNDS.index(scene.background))
    center = np.zeros(len(of_objects), dtype=np.int64)
    center[center_patches(scene, side)] = 1
    before = len(CHOICES) - 2
    return np.column_stack([background, of_objects[:, :before], center, of_objects[:, before:]])


def _object_targets(item: SceneObject) -> list[int]:
    """Return the targets that an object gives its patches, those of its centre patch apart."""
    cx, cy, w, h, angle = item.box
    edges = (100 * side for side in (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))
    return [
        list(CATEGORIES).index(item.category) + 1,
        list(COLORS).index(item.color),
        SIZES.index(item.size),
        int(item.cy * 3),
        int(item.cx * 3),
        *map(round, edges),
        round(float(np.degrees(angle))),
    ]
