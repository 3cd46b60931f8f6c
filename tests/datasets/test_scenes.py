"""Built-in scenes keep what they promise: sizes, angles, twins, exact boxes, splits that share nothing."""

import collections
import math
import time

import cv2
import numpy as np
import pytest
import shapely

from geochat.datasets.scenes import SceneImages, draw_scene, make_scene
from geochat.datasets.scenes.layout import BACKGROUNDS, CATEGORIES, COLORS, SPLITS, Scene, SceneObject, scene_seed
from geochat.datasets.scenes.questions import referring_phrases


@pytest.fixture(scope='module')
def scenes() -> list[Scene]:
    return [make_scene('train', index) for index in range(1000)]


def polygon(item: SceneObject) -> shapely.Polygon:
    return shapely.Polygon(item.corners())


def test_splits_share_no_seed():
    seeds = [scene_seed(split, index) for split in SPLITS for index in range(5000)]
    assert len(set(seeds)) == len(seeds)


def test_splits_share_no_scene():
    layouts = {split: {make_scene(split, index).objects for index in range(500)} for split in SPLITS}
    assert len(set.union(*layouts.values())) == 500 * len(SPLITS)


def test_scene_depends_on_its_name_alone():
    assert make_scene('test', 17) == make_scene('test', 17)
    first, second = (np.asarray(draw_scene(make_scene('test', 17), 112)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_variety(scenes):
    assert {scene.background for scene in scenes} == set(BACKGROUNDS)
    objects = [item for scene in scenes for item in scene.objects]
    assert {item.category for item in objects} == set(CATEGORIES)
    assert {item.color for item in objects} == set(COLORS)
    assert len(CATEGORIES) >= 6
    assert len(COLORS) >= 5
    assert {len(scene.objects) for scene in scenes} == {1, 2, 3, 4, 5, 6}


def test_sides_and_aspects(scenes):
    for item in (item for scene in scenes for item in scene.objects):
        assert 0.12 - 1e-9 <= item.width <= item.length <= 0.40 + 1e-9
        assert item.length / item.width <= 3 + 1e-9


def test_angles_are_uniform(scenes):
    angles = np.degrees([item.box[4] for scene in scenes for item in scene.objects])
    assert angles.min() >= 0
    assert angles.max() < 90
    shares = np.histogram(angles, bins=6, range=(0, 90))[0] / len(angles)
    np.testing.assert_allclose(shares, 1 / 6, atol=0.03)


def test_most_referred_objects_are_oblique(scenes):
    angles = [
        math.degrees(item.box[4])
        for scene in scenes
        for number, item in enumerate(scene.objects)
        if referring_phrases(scene, number)
    ]
    assert np.mean([15 <= angle <= 75 for angle in angles]) >= 0.6


def test_half_of_the_pictures_have_twins(scenes):
    twins = [max(collections.Counter(item.category for item in scene.objects).values()) >= 2 for scene in scenes]
    assert np.mean(twins) >= 0.5


def test_objects_lie_apart_and_inside(scenes):
    picture = shapely.box(0, 0, 1, 1)
    for scene in scenes[:300]:
        shapes = [polygon(item) for item in scene.objects]
        assert all(picture.contains(shape) for shape in shapes)
        assert all(not first.intersects(second) for i, first in enumerate(shapes) for second in shapes[:i])


def test_box_is_the_rectangle_with_its_angle_folded(scenes):
    for scene in scenes[:200]:
        for item, box in zip(scene.objects, scene.boxes((200, 200)), strict=True):
            cx, cy, w, h, angle = box
            corners = cv2.boxPoints(((cx, cy), (w, h), math.degrees(angle)))
            overlap = shapely.Polygon(corners / 200).intersection(polygon(item)).area
            assert overlap == pytest.approx(polygon(item).area, rel=1e-3)


@pytest.mark.parametrize('size', [112, 300])
@pytest.mark.parametrize('category', CATEGORIES)
def test_pixels_fill_the_box_and_nothing_else(category, size):
    """Drawn on an empty desert, an object's pixels reach each side of its box and do not pass it."""
    item = SceneObject(category, 'blue', 0.48, 0.53, 0.36, 0.36 / CATEGORIES[category].max_aspect, 0.6)
    empty, full = (Scene('val', 3, 'desert', objects) for objects in ((), (item,)))
    before, after = (np.asarray(draw_scene(scene, size)).astype(int) for scene in (empty, full))
    blue = (after - before)[:, :, 2] > 10  # neither sand nor shadow is bluer than sand
    y, x = np.nonzero(blue)
    dx, dy = (x + 0.5) / size - item.cx, (y + 0.5) / size - item.cy
    along = dx * math.cos(item.heading) + dy * math.sin(item.heading)
    across = dy * math.cos(item.heading) - dx * math.sin(item.heading)
    for place, extent in ((along, item.length), (across, item.width)):
        assert np.abs(place).max() <= extent / 2 + 0.9 / size
        assert -place.min() >= extent / 2 - 4 / size
        assert place.max() >= extent / 2 - 4 / size


def test_pictures_of_two_sizes_show_the_same_scene():
    scene = make_scene('val', 5)
    small, large = (draw_scene(scene, size) for size in (112, 448))
    averaged = cv2.resize(np.asarray(large), (112, 112), interpolation=cv2.INTER_AREA)
    assert np.abs(averaged.astype(int) - np.asarray(small)).mean() < 8


def test_drawing_is_quick():
    scenes = [make_scene('val', index) for index in range(60)]
    draw_scene(scenes[0], 112)
    start = time.process_time()
    for scene in scenes:
        draw_scene(scene, 112)
    assert (time.process_time() - start) / len(scenes) < 0.005


def test_image_source():
    source = SceneImages(size=64)
    picture = source.load(' val/000007.png ')
    assert (picture.mode, picture.size) == ('RGB', (64, 64))
    assert source.image_size('val/000007.png') == (64, 64)
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(draw_scene(make_scene('val', 7), 64)))


@pytest.mark.parametrize('name', ['val/7.jpg', 'nowhere/000001.png', '000001.png', 'val/-1.png', 'val/.png', ''])
def test_image_source_refuses_other_names(name):
    with pytest.raises(ValueError, match='not the name of a built-in scene'):
        SceneImages(size=64).load(name)


def test_bad_arguments():
    with pytest.raises(ValueError, match="'tset' is not a split"):
        make_scene('tset', 0)
    with pytest.raises(ValueError, match='numbered from 0'):
        make_scene('test', -1)
    with pytest.raises(ValueError, match='positive size'):
        SceneImages(size=0)
