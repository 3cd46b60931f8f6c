import json
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image
from small_parts import tokenizer_folder
from torch.utils.data import DataLoader

from geochat.box_codecs import BoxCodec
from geochat.datasets import DataError, LengthGroupedSampler, collate_samples, instruction
from geochat.datasets.transforms import PadResizeNormalize
from geochat.prompts import load_tokenizer
from geochat.registry import BOX_CODECS, DATASETS
from geochat.structures import IMAGE_TOKEN_INDEX, GroundedText

PARITY = Path(os.environ.get('GEOCHAT_PARITY', Path(__file__).parents[3] / 'shared' / 'parity'))
NUM_RECORDS = 12


def record(number, question='How many planes are there?', answer='no', picture=True):
    start = '<image>\n' if picture else ''
    turns = [{'from': 'human', 'value': start + question}, {'from': 'gpt', 'value': answer}]
    return {'id': str(number), 'conversations': turns} | ({'image': f'{number}.png'} if picture else {})


@pytest.fixture
def folder(tmp_path):
    """Twelve records: 0 to 5 ask, 6 to 9 refer, 10 and 11 are text only; the picture of record n has grey value n."""
    (tmp_path / 'images').mkdir()
    for number in range(10):
        Image.new('RGB', (8, 8), (number,) * 3).save(tmp_path / 'images' / f'{number}.png')
    refer = [record(n, '[refer] where is <p>the red ship</p> ?', '{<12><34><56><78>|<90>}') for n in range(6, 10)]
    write(tmp_path, [record(n) for n in range(6)] + refer + [record(n, picture=False) for n in (10, 11)])
    return tmp_path


def write(folder, records):
    (folder / 'data.json').write_text(json.dumps(records), encoding='utf-8')


def settings(folder, **changes):
    return {
        'type': 'InstructionDataset',
        'data_file': str(folder / 'data.json'),
        'image_source': {'type': 'ImageFolder', 'root': str(folder / 'images')},
        'processor': {
            'type': 'SampleProcessor',
            'tokenizer': tokenizer_folder(),
            'chat_template': {'type': 'vicuna_v1', 'system': ''},
            'image_transform': {'type': 'PadResizeNormalize', 'size': 4, 'mean': (0.0,) * 3, 'std': (1.0,) * 3},
            'max_length': 200,
        },
        'box_codec': {'type': 'geochat'},
        'max_replaced': 1.0,
        **changes,
    }


def build(folder, **changes):
    return DATASETS.build(settings(folder, **changes))


def words(sample):
    ids = sample['input_ids']
    return load_tokenizer(tokenizer_folder()).decode(ids[ids != IMAGE_TOKEN_INDEX].tolist())


def shown(sample):
    """Number of the record whose picture a sample has."""
    return round(float(sample['pixels'][0].max() * 255))


def test_records_become_samples(folder):
    dataset = build(folder)
    assert len(dataset) == NUM_RECORDS
    assert [shown(dataset[n]) for n in range(10)] == list(range(10))
    assert '{<12><34><56><78>|<90>}</s>' in words(dataset[7])
    assert dataset[10]['pixels'] == []
    assert not any(dataset.problems().values()) and dataset.report() == ''
    with pytest.raises(IndexError):
        dataset[NUM_RECORDS]


@pytest.mark.parametrize(
    ('tasks', 'numbers'),
    [(['[refer]'], [6, 7, 8, 9]), ([''], [0, 1, 2, 3, 4, 5, 10, 11]), (['', '[refer]'], range(12))],
)
def test_records_of_some_tasks_are_kept(folder, tasks, numbers):
    dataset = build(folder, tasks=tasks)
    assert len(dataset) == len(dataset.lengths) == len(numbers)
    assert [dataset.records[n].id for n in range(len(dataset))] == [str(number) for number in numbers]
    in_a_worker = pickle.loads(pickle.dumps(dataset.records))
    assert [in_a_worker[n].id for n in range(len(dataset))] == [str(number) for number in numbers]


def test_stand_ins_are_of_the_tasks_that_are_kept(folder):
    (folder / 'images' / '7.png').unlink()
    dataset = build(folder, tasks=['[refer]'])
    assert shown(dataset[1]) in (6, 8, 9)
    assert dataset.problems()['picture'] == [8]


def test_a_task_that_no_record_has_is_named(folder):
    with pytest.raises(
        ValueError, match=r"data\.json has no records of the task '\[refr\]'; its tasks are '', '\[refer\]'"
    ):
        build(folder, tasks=['[refr]'])


def test_lengths_and_pictures_are_told_without_reading_pictures(folder):
    dataset = build(folder)
    for path in (folder / 'images').iterdir():
        path.unlink()
    assert dataset.num_images.tolist() == [1] * 10 + [0] * 2
    assert len(set(dataset.lengths[:6])) == 1 < len(set(dataset.lengths))
    assert sorted(LengthGroupedSampler(dataset, 2, seed=0)) == list(range(NUM_RECORDS))


def test_a_record_without_picture_file_is_replaced_by_one_of_its_kind_counted_and_named(folder):
    (folder / 'images' / '2.png').unlink()
    (folder / 'images' / '7.png').write_bytes(b'no picture')
    dataset = build(folder)
    assert shown(dataset[2]) in {0, 1, 3, 4, 5} and shown(dataset[7]) in {6, 8, 9}
    assert [shown(dataset[n]) for n in (2, 7)] == [shown(dataset[n]) for n in (2, 7)]
    assert dataset.problems()['picture'] == [3, 8]
    expected = '2 of 12 records were replaced by others, because a picture cannot be read: 3, 8'
    assert dataset.report() == f'{folder / "data.json"}: {expected}'


def test_the_first_replacements_are_warned_of(folder, monkeypatch):
    said = []
    monkeypatch.setattr(instruction, 'print_log', lambda text, **_: said.append(text))
    monkeypatch.setattr(instruction, '_MAX_WARNINGS', 2)
    (folder / 'images' / '2.png').unlink()
    dataset = build(folder)
    for _ in range(3):
        dataset[2]
    assert len(said) == 2
    assert 'data.json, record 3: the picture' in said[0] and '2.png does not exist; another' in said[0]


def test_the_only_record_of_its_kind_is_replaced_by_any_other(folder):
    write(folder, [record(0), record(1, '[identify] it', 'a ship')])
    (folder / 'images' / '1.png').unlink()
    assert shown(build(folder)[1]) == 0


def test_where_no_record_can_be_used_the_first_reason_is_given(folder):
    for path in (folder / 'images').iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r'neither record 1 nor 5 others .*0\.png does not exist'):
        build(folder)[0]


@pytest.mark.parametrize('context', ['fork', 'spawn'])
def test_worker_processes_share_the_counts(folder, context):
    (folder / 'images' / '2.png').unlink()
    (folder / 'images' / '8.png').unlink()
    dataset = build(folder)
    loader = DataLoader(
        dataset, batch_size=4, num_workers=2, collate_fn=collate_samples, multiprocessing_context=context
    )
    assert sum(len(batch['input_ids']) for batch in loader) == NUM_RECORDS
    assert dataset.problems()['picture'] == [3, 9]


def test_records_that_were_cut_are_counted_and_not_cut_within_a_box(folder):
    write(folder, [record(n) for n in range(6)] + [record(6, '[refer] the ship', 'at {<12><34><56><78>|<90>}')])
    whole = build(folder)[6]['input_ids']
    changed = settings(folder)
    changed['processor']['max_length'] = len(whole) - 2
    dataset = DATASETS.build(changed)
    sample = dataset[6]
    assert words(sample).rstrip().endswith('ASSISTANT: at')
    dataset[0]
    assert dataset.problems()['truncated'] == [7]
    assert '1 of 7 records were cut to max_length: 7' in dataset.report()


def test_a_record_of_which_no_answer_is_left_is_replaced_and_counted(folder):
    length = len(build(folder)[0]['input_ids'])
    changed = settings(folder)
    changed['processor']['max_length'] = length
    write(folder, [record(0), record(1, 'How many planes are there? ' * 9)])
    dataset = DATASETS.build(changed)
    assert shown(dataset[1]) == 0
    assert dataset.problems()['answer'] == [2]


def test_more_replaced_records_than_allowed_are_an_error(folder):
    for number in (1, 2):
        (folder / 'images' / f'{number}.png').unlink()
    dataset = build(folder, max_replaced=0.2)
    assert {shown(dataset[n]) for n in (1, 2)} <= {0, 3, 4, 5}
    (folder / 'images' / '3.png').unlink()
    dataset = build(folder, max_replaced=0.2)
    expected = r'data\.json: 3 of 12 records cannot be used, more than max_replaced=0\.2 allows\. .* record \d: .*png'
    with pytest.raises(DataError, match=expected):
        [dataset[n] for n in (1, 2, 3)]


def test_each_rank_goes_by_the_records_that_it_reads(folder, monkeypatch):
    for number in (0, 1):
        (folder / 'images' / f'{number}.png').unlink()
    monkeypatch.setattr('mmengine.dist.get_world_size', lambda: 3)
    dataset = build(folder, max_replaced=0.25)
    dataset[0]
    with pytest.raises(DataError, match=r'2 of 4 records cannot be used'):
        dataset[1]
    dataset = build(folder, max_replaced=0.25)
    for number in (*range(2, 10), 0, 1):  # more than its share, as after some epochs
        dataset[number]


class PixelBoxCodec(BoxCodec):
    """Writes upright boxes in pixels: [cx cy w h]."""

    pattern = r'\[\d+ \d+ \d+ \d+\]'
    separator = ' '

    def encode(self, boxes, image_size, labels=None):
        return ' '.join(f'[{cx:.0f} {cy:.0f} {w:.0f} {h:.0f}]' for cx, cy, w, h, _ in boxes)

    def decode(self, text, image_size):
        return GroundedText(text)

    def precision(self, image_size):
        return 0.75


def test_boxes_are_rewritten_where_the_file_speaks_another_box_language(folder):
    question = '[identify] {<0><0><50><50>|<0>} {<0><50><100><100>|<0>}'
    Image.new('RGB', (8, 4)).save(folder / 'images' / '0.png')
    write(folder, [record(0, question, 'at <p>it</p> {<50><0><100><100>|<0>}.'), record(10, question, 'x', False)])
    pixels = {'type': PixelBoxCodec}
    dataset = build(folder, box_codec=pixels, source_codec={'type': 'geochat'})
    rewritten, untouched = words(dataset[0]), words(dataset[1])
    write(folder, [record(0, '[identify] [2 1 4 2] [4 3 8 2]', 'at <p>it</p> [6 2 4 4].')])
    assert rewritten == words(build(folder, box_codec=pixels)[0])
    assert '{<0><0><50><50>|<0>}' in untouched  # without a picture there is no size in pixels


def test_a_record_whose_boxes_cannot_be_rewritten_is_replaced_and_counted(folder):
    write(folder, [record(0), record(1, answer='{<1><2><3>|<4>}')])
    dataset = build(folder, box_codec={'type': PixelBoxCodec}, source_codec={'type': 'geochat'})
    assert shown(dataset[1]) == 0
    assert dataset.problems()['box'] == [2]


def test_boxes_on_pictures_of_different_sizes_cannot_be_rewritten(folder):
    Image.new('RGB', (9, 9)).save(folder / 'images' / 'other.png')
    two = record(1, 'Both <image> of <image> here?')
    two['conversations'][0]['value'] = 'Both <image> of <image> here?'
    two['image'] = ['1.png', 'other.png']
    write(folder, [record(0), two])
    dataset = build(folder, box_codec={'type': PixelBoxCodec}, source_codec={'type': 'geochat'})
    assert len(dataset[1]['pixels']) == 1 and dataset.problems()['box'] == [2]
    assert len(build(folder)[1]['pixels']) == 2


def test_the_same_codec_by_another_name_rewrites_nothing(folder):
    assert build(folder, source_codec={'type': 'GeoChatBoxCodec'}).source_codec is None
    with pytest.raises(ValueError, match='no box_codec to rewrite it for'):
        build(folder, box_codec=None, source_codec={'type': 'geochat'})


def test_a_file_with_bad_records_is_refused_or_they_are_left_out(folder, monkeypatch):
    said = []
    monkeypatch.setattr(instruction, 'print_log', lambda text, **_: said.append(text))
    write(folder, [record(0), {'id': 'x', 'image': 'a.png'}, record(2)])
    with pytest.raises(DataError, match=r"(?s)data\.json: 1 records .*record 2: there is no 'conversations'.*skip_bad"):
        build(folder)
    dataset = build(folder, skip_bad_records=True)
    assert [shown(dataset[n]) for n in range(2)] == [0, 2]
    assert 'record 2' in said[0] and 'left out' in said[0]
    write(folder, [{}] * 12)
    with pytest.raises(ValueError, match='and 2 more'):
        build(folder)
    with pytest.raises(ValueError, match='no usable record'):
        build(folder, skip_bad_records=True)


def test_pictures_need_an_image_source_and_text_alone_does_not(folder):
    with pytest.raises(ValueError, match='image_source'):
        build(folder, image_source=None)
    write(folder, [record(0, picture=False)])
    assert build(folder, image_source=None)[0]['pixels'] == []


def test_mmengine_builds_its_data_loader_from_a_config_and_joins_datasets(folder):
    init_default_scope('geochat')
    config = {
        'dataset': {'type': 'ConcatDataset', 'datasets': [settings(folder), settings(folder)]},
        'sampler': {'type': 'LengthGroupedSampler', 'batch_size': 5},
        'collate_fn': {'type': collate_samples},
        'batch_size': 5,
        'num_workers': 0,
    }
    loader = Runner.build_dataloader(config, seed=3)
    assert isinstance(loader.dataset, ConcatDataset) and loader.sampler.seed == 3
    batches = list(loader)
    assert sum(len(batch['labels']) for batch in batches) == 2 * NUM_RECORDS
    assert all(isinstance(batch['pixels'], torch.Tensor) for batch in batches)


@pytest.mark.skipif(not PARITY.is_dir(), reason=f'no recordings of the original at {PARITY} (GEOCHAT_PARITY)')
def test_ids_and_labels_of_a_file_are_those_of_the_original(tmp_path, monkeypatch):
    records = json.loads((PARITY / 'conversations.json').read_text())
    expected = json.loads((PARITY / 'tokens_expected.json').read_text())
    (tmp_path / 'images').mkdir()
    for name in {entry['image'] for entry in records if 'image' in entry}:
        Image.new('RGB', (4, 4)).save(tmp_path / 'images' / name)
    write(tmp_path, records)
    changed = settings(tmp_path)
    changed['processor'] |= {
        'tokenizer': str(PARITY / 'geochat-tiny'),
        'chat_template': {'type': 'vicuna_v1'},
        'max_length': 2048,
    }
    dataset = DATASETS.build(changed)
    assert len(dataset) == len(expected)
    for index, wanted in enumerate(expected):
        sample = dataset[index]
        np.testing.assert_array_equal(sample['input_ids'], wanted['input_ids'])
        np.testing.assert_array_equal(sample['labels'], wanted['labels'])
    assert BOX_CODECS.resolve('geochat').__name__ == 'GeoChatBoxCodec'


def test_a_picture_that_the_record_before_has_too_is_read_and_prepared_once(folder, monkeypatch):
    write(folder, [record(0), {**record(0), 'id': 'again'}, record(1), record(0)])
    dataset = build(folder)
    loaded, prepared = [], []
    load, transform = dataset.image_source.load, PadResizeNormalize.__call__
    monkeypatch.setattr(dataset.image_source, 'load', lambda name: loaded.append(name) or load(name))
    monkeypatch.setattr(
        PadResizeNormalize, '__call__', lambda self, image: prepared.append(image) or transform(self, image)
    )
    assert [shown(dataset[index]) for index in range(4)] == [0, 0, 1, 0]
    assert loaded == ['0.png', '1.png', '0.png']
    assert len(prepared) == 3


def test_a_transform_that_may_draw_prepares_each_record_by_itself(folder):
    class Brighter(PadResizeNormalize):
        def __call__(self, image):
            pixels, geometry = super().__call__(image)
            return pixels + random.random(), geometry

    write(folder, [record(0), {**record(0), 'id': 'again'}])
    dataset = build(folder)
    dataset.processor.image_transform = Brighter(4, (0.0,) * 3, (1.0,) * 3)
    first, second = (dataset[index]['pixels'][0].max() for index in (0, 1))
    assert first != second


def test_pictures_of_one_name_from_two_folders_are_two_pictures(folder):
    (folder / 'others').mkdir()
    Image.new('RGB', (8, 8), (200,) * 3).save(folder / 'others' / '3.png')
    here, there = build(folder), build(folder, image_source={'type': 'ImageFolder', 'root': str(folder / 'others')})
    assert len(collate_samples([here[3], here[3]])['pixels']) == 1
    assert len(collate_samples([here[3], there[3]])['pixels']) == 2
