import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geochat.datasets import json_records
from geochat.datasets.json_records import iterate_records, read_record

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('records')


def written(path, text):
    path.write_bytes(text.encode('utf-8'))
    return path


@given(st.lists(values, min_size=1, max_size=5), st.booleans(), st.sampled_from([None, 2]), st.integers(1, 9))
@settings(deadline=None)
def test_a_list_is_read_as_the_json_module_reads_it_whatever_the_window(folder, records, ascii_only, indent, window):
    path = written(folder / 'list.json', json.dumps(records, ensure_ascii=ascii_only, indent=indent))
    usual, json_records._WINDOW = json_records._WINDOW, window
    try:
        items = list(iterate_records(path))
    finally:
        json_records._WINDOW = usual
    assert [item.value for item in items] == records
    assert [read_record(path, item.start, item.stop) for item in items] == records
    assert [item.place for item in items] == [f'record {number}' for number in range(1, len(records) + 1)]


@given(st.lists(st.dictionaries(st.text(), values), min_size=1, max_size=5), st.booleans(), st.sampled_from('\n\r'))
@settings(deadline=None)
def test_lines_are_read_as_the_json_module_reads_them(folder, records, ascii_only, ending):
    lines = [json.dumps(record, ensure_ascii=ascii_only) for record in records]
    path = written(folder / 'lines.jsonl', '\n'.join(lines) + ending * 2)
    items = list(iterate_records(path))
    assert [item.value for item in items] == records
    assert [read_record(path, item.start, item.stop) for item in items] == records


def test_empty_lines_and_a_byte_order_mark_are_passed_over(tmp_path):
    path = written(tmp_path / 'lines.jsonl', '\ufeff\n {"a": 1} \n\n{"a": "é"}\n')
    items = list(iterate_records(path))
    assert [(item.value, item.place) for item in items] == [({'a': 1}, 'line 2'), ({'a': 'é'}, 'line 4')]
    assert read_record(path, items[1].start, items[1].stop) == {'a': 'é'}
    path = written(tmp_path / 'list.json', '\ufeff \n[{"a": 1}]')
    assert [read_record(path, item.start, item.stop) for item in iterate_records(path)] == [{'a': 1}]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', r'broken\.json is empty'),
        (' \n\t\n', r'broken\.json is empty'),
        ('[]', r'broken\.json has no records'),
        ('[{"a": 1}, {"a": }]', r'broken\.json, record 2: not JSON: Expecting value at byte 17'),
        ('[{"a": 1} {"a": 2}]', r'broken\.json, record 1: no comma or closing bracket'),
        ('[{"a": 1}, {"a": 2}', r'broken\.json, record 2: the file ends after it'),
        ('[{"a": 1}, {"a": "unfini', r'broken\.json, record 2: not JSON: Unterminated string'),
        ('[{"a": 1},', r'broken\.json, record 2: not JSON'),
        ('[{"a": 1}]]', r'broken\.json, record 1: there is text after the end of the list'),
        ('{"a": 1}\n{"a": 2', r'broken\.json, line 2: not JSON'),
        ('{\n"a": 1\n}', r'broken\.json, line 1: not JSON'),
        ('plain words', r'broken\.json, line 1: not JSON'),
    ],
)
def test_what_is_not_json_is_named_with_its_place(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        list(iterate_records(written(tmp_path / 'broken.json', text)))


def test_text_that_is_not_utf8_is_named(tmp_path):
    for name, data in {'list.json': b'[{"a": "\xe9"}]', 'lines.jsonl': b'{"a": "\xe9"}'}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=rf'{name}, (record|line) 1: .*utf-8|{name}.*UTF-8'):
            list(iterate_records(tmp_path / name))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nothing\.json does not exist'):
        list(iterate_records(tmp_path / 'nothing.json'))


def test_a_file_that_has_changed_is_named(tmp_path):
    path = written(tmp_path / 'list.json', '[{"a": 1}, {"b": 2}]')
    (_, second) = iterate_records(path)
    written(path, '[{"a": 1000}, {"b": 2}]')
    with pytest.raises(ValueError, match=r'list\.json has changed'):
        read_record(path, second.start, second.stop)
