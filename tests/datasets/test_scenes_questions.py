"""Questions about built-in scenes have one right answer each, and their files are those of GeoChat's."""

import collections
import json
import re

import numpy as np
import pytest
import shapely

from geochat.box_codecs import GeoChatBoxCodec
from geochat.datasets.scenes import Scene, SceneFiles, SceneObject, make_scene
from geochat.datasets.scenes.questions import VQA_SUFFIX, independent_turns, place, referring_phrases


def ship(color: str, cx: float, cy: float, length: float = 0.3, category: str = 'ship') -> SceneObject:
    return SceneObject(category, color, cx, cy, length, length / 2, 0.5)


def phrases(*objects: SceneObject) -> list[str]:
    return referring_phrases(Scene('val', 0, 'desert', objects), 0)


def test_lone_object_needs_no_attribute():
    assert phrases(ship('red', 0.2, 0.2)) == ['ship', 'ship at the top left', 'red ship', 'red ship at the top left']


def test_twin_is_told_apart_by_colour_or_place():
    found = phrases(ship('red', 0.2, 0.2), ship('blue', 0.5, 0.8))
    assert found == ['ship at the top left', 'red ship', 'red ship at the top left']


def test_twin_is_told_apart_by_size():
    found = phrases(ship('red', 0.15, 0.15, length=0.22), ship('red', 0.2, 0.25, length=0.38))
    assert found == ['small ship', 'small ship at the top left', 'small red ship', 'small red ship at the top left']


def test_twin_that_nothing_tells_apart():
    assert phrases(ship('red', 0.15, 0.1), ship('red', 0.2, 0.25)) == []


def test_other_classes_are_no_rivals():
    assert 'ship' in phrases(ship('red', 0.2, 0.2), ship('red', 0.2, 0.2, category='bridge'))


@pytest.mark.parametrize(
    ('centre', 'words'),
    [((0.5, 0.5), 'center'), ((0.1, 0.5), 'left'), ((0.9, 0.9), 'bottom right'), ((0.33, 0.5), ''), ((0.5, 0.66), '')],
)
def test_place(centre, words):
    assert place(ship('red', *centre)) == words


def test_place_in_doubt_is_no_distinction():
    """A twin near the line between left and middle may be said to be on the left."""
    assert 'ship at the left' not in phrases(ship('red', 0.1, 0.5), ship('red', 0.34, 0.5))


@pytest.fixture(scope='module')
def dialogues():
    scenes = [make_scene('train', index) for index in range(400)]
    return [(scene, independent_turns(scene, lambda number: f'box {number}')) for scene in scenes]


def test_answers_are_true(dialogues):
    for scene, turns in dialogues:
        for turn in turns:
            if turn.task == 'scene':
                assert turn.answer == scene.background
            elif turn.task == 'presence':
                category = re.search(r'there an? (.+) in the image', turn.question)[1]
                assert turn.answer == ('yes' if any(item.category == category for item in scene.objects) else 'no')
            elif turn.task == 'count':
                category = re.search(r'number of (.+)s in the image', turn.question)[1]
                assert turn.answer == str(sum(item.category == category for item in scene.objects))
            elif turn.task == 'refer':
                phrase = re.search(r'<p> ?(.*?) ?</p>', turn.question)[1]
                number = int(turn.answer.removeprefix('box '))
                assert phrase in referring_phrases(scene, number)
            else:
                item = scene.objects[int(re.search(r'box (\d)', turn.question)[1])]
                assert turn.answer == f'<p>1 {item.color} {item.category}</p>'


def test_no_two_turns_of_a_record_are_the_same(dialogues):
    for _, turns in dialogues:
        assert len({(turn.task, re.sub('where is|where can I locate', '', turn.question)) for turn in turns}) == len(
            turns
        )


def test_every_scene_is_asked_for_classes_and_for_objects(dialogues):
    for scene, turns in dialogues:
        tasks = collections.Counter(turn.task for turn in turns)
        assert (tasks['presence'], tasks['count']) == (3, 2)
        assert tasks['identify'] == min(2, len(scene.objects))
        assert tasks['refer'] <= min(4, len(scene.objects))
    assert 0.2 < sum(turn.task == 'scene' for _, turns in dialogues for turn in turns) / len(dialogues) < 0.4


def test_any_task_may_come_first(dialogues):
    first = collections.Counter(turns[0].task for _, turns in dialogues)
    assert min(first[task] for task in ('scene', 'presence', 'count', 'refer', 'identify')) > 3


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('scenes')
    SceneFiles(str(root), image_size=112, num_train=20, num_val=5, num_test=200).prepare()
    return root


def read(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_instruction_file(folder):
    records = read(folder / 'train.jsonl')
    assert len(records) == 20
    for number, record in enumerate(records):
        assert set(record) == {'id', 'image', 'conversations'}
        assert record['image'] == f'train/{number:06d}.png'
        values = [turn['value'] for turn in record['conversations']]
        assert values[0].startswith('<image>\n')
        assert not any('<image>' in value for value in values[1:])
        assert [turn['from'] for turn in record['conversations']] == ['human', 'gpt'] * (len(values) // 2)


def test_referring_file_agrees_with_the_scenes(folder):
    for number, row in enumerate(read(folder / 'referring.jsonl')):
        scene = make_scene('test', number)
        assert row['image_id'] + '.png' == scene.name
        (index,) = row['obj_ids']
        assert row['question'] in referring_phrases(scene, index)
        expected = shapely.Polygon(np.array(scene.objects[index].corners()) * 112)
        assert shapely.Polygon(row['ground_truth'][0]).symmetric_difference(expected).area < 0.05


def test_region_captioning_file_agrees_with_the_scenes(folder):
    codec = GeoChatBoxCodec()
    for number, row in enumerate(read(folder / 'region_captioning.jsonl')):
        item = make_scene('test', number).objects[row['obj_ids'][0]]
        assert row['ground_truth'] == f'1 {item.color} {item.category}'
        read_box = codec.decode(row['question'], (112, 112)).boxes[0]
        np.testing.assert_allclose(read_box[:2] / 112, (item.cx, item.cy), atol=0.006)


def test_vqa_files(folder):
    presence = collections.Counter(row['ground_truth'] for row in read(folder / 'presence.jsonl'))
    assert set(presence) == {'yes', 'no'}
    assert abs(presence['yes'] - presence['no']) < 60
    counts = {row['ground_truth'] for row in read(folder / 'counting.jsonl')}
    assert counts <= set('012345')
    assert all(row['text'].endswith(VQA_SUFFIX) for row in read(folder / 'counting.jsonl'))


def test_prepare_again_changes_nothing_and_new_settings_do(tmp_path):
    settings = {'image_size': 112, 'num_train': 3, 'num_val': 2, 'num_test': 2}
    SceneFiles(str(tmp_path), **settings).prepare()
    (tmp_path / 'val.jsonl').write_text('mine')
    SceneFiles(str(tmp_path), **settings).prepare()
    assert (tmp_path / 'val.jsonl').read_text() == 'mine'
    SceneFiles(str(tmp_path), **{**settings, 'num_train': 4}).prepare()
    assert len(read(tmp_path / 'val.jsonl')) == 2
    assert len(read(tmp_path / 'train.jsonl')) == 4


def test_bad_settings(tmp_path):
    with pytest.raises(ValueError, match='positive'):
        SceneFiles(str(tmp_path), image_size=112, num_train=0, num_val=1, num_test=1)
