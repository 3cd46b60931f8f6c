import json
import os
import pickle

import numpy as np
import pytest

from geochat.datasets import record_index
from geochat.datasets.record_index import RecordIndex


def record(number, question='[refer] where is <p>it</p> ?', answer='there', **fields):
    turns = [{'from': 'human', 'value': f'<image>\n{question}'}, {'from': 'gpt', 'value': answer}]
    return {'id': f'r{number}', 'image': f'{number}.png', 'conversations': turns, **fields}


def written(path, records, lines=False):
    text = '\n'.join(map(json.dumps, records)) if lines else json.dumps(records)
    path.write_text(text, encoding='utf-8')
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'geochat'


@pytest.fixture
def builds(monkeypatch):
    """Count how often a file is read from end to end."""
    done = []
    build = record_index._build
    monkeypatch.setattr(record_index, '_build', lambda path: done.append(path) or build(path))
    return done


@pytest.mark.parametrize('lines', [False, True])
def test_records_are_read_by_number(tmp_path, lines):
    index = RecordIndex(written(tmp_path / 'data.json', [record(n) for n in range(5)], lines))
    assert [index[n].id for n in range(len(index))] == ['r0', 'r1', 'r2', 'r3', 'r4']
    assert index[-1].images == ('4.png',)
    with pytest.raises(IndexError):
        index[5]


def test_records_of_one_task_and_number_of_pictures_are_of_one_kind(tmp_path):
    text_only = {'conversations': [{'from': 'human', 'value': 'hi'}, {'from': 'gpt', 'value': 'hello there'}]}
    records = [record(0), record(1, 'What is this?'), record(2), text_only, record(4, 'Is it?', 'a' * 400)]
    index = RecordIndex(written(tmp_path / 'data.json', records))
    kinds = index.entries['kind'].tolist()
    assert kinds[0] == kinds[2] and kinds[1] == kinds[4] and len(set(kinds)) == 3
    assert index.entries['num_images'].tolist() == [1, 1, 1, 0, 1]
    assert index.entries['number'].tolist() == [1, 2, 3, 4, 5]
    assert index.entries['length'].argmax() == 4 and index.entries['length'].argmin() == 3
    assert index[3].id == '4'


def test_records_of_the_same_pictures_have_the_same_number(tmp_path):
    text_only = {'conversations': [{'from': 'human', 'value': 'hi'}, {'from': 'gpt', 'value': 'hello there'}]}
    two = record(0, '<image>\nWhich is older?', image=['1.png', '0.png'])
    records = [record(0), record(1), text_only, record(0, 'Is it?'), two, {**two, 'image': ['0.png', '1.png']}, two]
    index = RecordIndex(written(tmp_path / 'data.json', records))
    assert index.entries['pictures'].tolist() == [0, 1, -1, 0, 2, 3, 2]


def test_the_index_is_built_once_and_mapped_from_its_file(tmp_path, builds):
    path = written(tmp_path / 'data.json', [record(n) for n in range(5)])
    first, second = RecordIndex(path), RecordIndex(path)
    assert len(builds) == 1
    assert names(tmp_path) == ['data.json', 'data.json.index']
    assert isinstance(first.entries, np.memmap)
    np.testing.assert_array_equal(first.entries, second.entries)


def test_the_index_is_built_anew_when_the_data_changes_or_the_index_is_damaged(tmp_path, builds):
    path = written(tmp_path / 'data.json', [record(n) for n in range(5)])
    RecordIndex(path)
    written(path, [record(n) for n in range(6)])
    assert len(RecordIndex(path)) == 6
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    RecordIndex(path)
    assert len(builds) == 3
    index_file = tmp_path / 'data.json.index'
    whole = index_file.read_bytes()
    for damaged in (b'', b'words', b'{}\n', whole[:-10]):
        index_file.write_bytes(damaged)
        assert [item.id for item in map(RecordIndex(path).__getitem__, range(6))] == [f'r{n}' for n in range(6)]
    assert len(builds) == 7


def test_the_index_goes_to_the_cache_where_the_datas_folder_cannot_be_written(tmp_path, cache, builds):
    path = written(tmp_path / 'data.json', [record(n) for n in range(5)])
    (tmp_path / 'data.json.index').mkdir()  # stands in the way, for root too
    for _ in range(2):
        assert len(RecordIndex(path)) == 5
    assert len(builds) == 1
    assert [name.endswith('-data.json.index') for name in names(cache)] == [True]
    assert names(tmp_path) == ['cache', 'data.json', 'data.json.index']


def test_a_worker_gets_the_index_files_place_and_the_entries_only_where_there_is_no_file(tmp_path, cache):
    path = written(tmp_path / 'data.json', [record(n) for n in range(500)])
    index = RecordIndex(path)
    packed = pickle.dumps(index)
    assert len(packed) < 1000
    assert pickle.loads(packed)[499].id == 'r499'
    (tmp_path / 'data.json.index').unlink()
    (tmp_path / 'data.json.index').mkdir()
    cache.parent.write_text('in the way of the cache too')
    index = RecordIndex(path)
    assert not isinstance(index.entries, np.memmap)
    assert pickle.loads(pickle.dumps(index))[499].id == 'r499'


def test_bad_records_are_left_out_counted_and_named_also_by_a_stored_index(tmp_path, builds):
    bad = [{'id': 'x'}, record(1, image=None)]
    path = written(tmp_path / 'data.json', [record(0), bad[0], record(2), bad[1], record(4)])
    for _ in range(2):
        index = RecordIndex(path)
        assert [index[n].id for n in range(len(index))] == ['r0', 'r2', 'r4']
        assert index.entries['number'].tolist() == [1, 3, 5]
        assert index.num_bad == 2
        assert index.complaints[0] == "record 2: there is no 'conversations', or it is empty"
        assert index.complaints[1].startswith('record 4: an image token without a picture')
    assert len(builds) == 1


def test_a_file_with_bad_records_only_has_an_empty_index(tmp_path):
    index = RecordIndex(written(tmp_path / 'data.json', [{}] * 30))
    assert (len(index), index.num_bad, len(index.complaints)) == (0, 30, 10)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nothing\.json'):
        RecordIndex(tmp_path / 'nothing.json')


def test_a_long_reading_says_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(record_index, '_SECONDS_BETWEEN_REPORTS', -1)
    said = []
    monkeypatch.setattr(record_index, 'print_log', lambda text, **_: said.append(text))
    RecordIndex(written(tmp_path / 'data.json', [record(n) for n in range(3)]))
    assert len(said) == 3 and '%, 0 s left' in said[0]
