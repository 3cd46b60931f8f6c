"""What each patch of a built-in scene shows: the targets that the tiny encoder is pretrained on."""

import numpy as np

from geochat.datasets.scenes.layout import BACKGROUNDS, CATEGORIES, COLORS, Scene

SIZES = ('small', 'normal', 'large')

BIN_RANGE = (-20, 120)
"""First and last per cent of the picture's side that a box's edges are told by."""

TARGETS = {
    'background': len(BACKGROUNDS),
    'category': len(CATEGORIES) + 1,
    'color': len(COLORS) + 1,
    'size': len(SIZES) + 1,
    'row': 4,
    'column': 4,
    'left': BIN_RANGE[1] - BIN_RANGE[0] + 1,
    'top': BIN_RANGE[1] - BIN_RANGE[0] + 1,
    'right': BIN_RANGE[1] - BIN_RANGE[0] + 1,
    'bottom': BIN_RANGE[1] - BIN_RANGE[0] + 1,
    'angle': 91,
}
"""Targets of a patch and how many values each has. Of those that an object gives, 0 stands for none."""

BOX_TARGETS = ('left', 'top', 'right', 'bottom', 'angle')
"""Targets in per cent and degrees, whose neighbouring values are nearly right; told only where there is an object."""

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
    for number, item in enumerate(scene.objects):
        owners[int(item.cy * side) * side + int(item.cx * side)] = number
    return owners


def patch_targets(scene: Scene, side: int) -> np.ndarray:
    """Return the targets of each patch.

    Args:
        scene: The scene.
        side: Patches along a side.

    Returns:
        int64 array (side * side, len(TARGETS)) in the order of :data:`TARGETS`.
    """
    rows = [[0] * (len(TARGETS) - 1)] + [_object_targets(item) for item in scene.objects]
    found = np.array(rows, dtype=np.int64)[patch_owners(scene, side) + 1]
    background = np.full((len(found), 1), BACKGROUNDS.index(scene.background))
    return np.hstack([background, found])


def _object_targets(item) -> list[int]:
    cx, cy, w, h, angle = item.box
    edges = 100 * np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
    return [
        list(CATEGORIES).index(item.category) + 1,
        list(COLORS).index(item.color) + 1,
        SIZES.index(item.size) + 1,
        int(item.cy * 3) + 1,
        int(item.cx * 3) + 1,
        *(np.rint(edges).astype(int) - BIN_RANGE[0]),
        round(float(np.degrees(angle))),
    ]
