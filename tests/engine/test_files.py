"""Folders that are written whole or not at all."""

import pytest

from geochat.engine.files import WriteError, delete_folder, replace_text, replaced_folder, written


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_takes_the_place_of_the_old_one(tmp_path):
    target = tmp_path / 'iter_2'
    for text in ('old', 'new'):
        with replaced_folder(target) as new:
            assert new != target
            (new / 'file').write_text(text)
        assert (target / 'file').read_text() == text
        assert names(tmp_path) == ['iter_2']


def test_a_file_of_its_name_is_replaced_too(tmp_path):
    (tmp_path / 'iter_2').write_text('old')
    with replaced_folder(tmp_path / 'iter_2') as new:
        (new / 'file').touch()
    assert names(tmp_path) == ['iter_2']
    assert names(tmp_path / 'iter_2') == ['file']


def test_what_fails_leaves_the_old_folder_and_nothing_else(tmp_path):
    target = tmp_path / 'iter_2'
    target.mkdir()
    expected = r'file cannot be written \(.* MB free on its disk\): no room'
    with pytest.raises(WriteError, match=expected), replaced_folder(target) as new, written(new / 'file'):
        raise RuntimeError('no\nroom')
    assert names(tmp_path) == ['iter_2']


def test_what_is_half_written_keeps_the_name_that_says_so(tmp_path):
    with pytest.raises(KeyboardInterrupt), replaced_folder(tmp_path / 'iter_2'):
        raise KeyboardInterrupt
    assert names(tmp_path) == ['iter_2.unfinished']


def test_a_deleted_folder_is_gone_with_what_was_left_of_it(tmp_path):
    for name in ('iter_2', 'iter_2.replaced'):
        (tmp_path / name / 'inner').mkdir(parents=True)
    delete_folder(tmp_path / 'iter_2')
    delete_folder(tmp_path / 'iter_3')
    assert names(tmp_path) == []


def test_a_small_file(tmp_path):
    replace_text(tmp_path / 'last', 'iter_2')
    replace_text(tmp_path / 'last', 'iter_4')
    assert (tmp_path / 'last').read_text() == 'iter_4'
    assert names(tmp_path) == ['last']
    with pytest.raises(WriteError, match='nowhere/last cannot be written'):
        replace_text(tmp_path / 'nowhere' / 'last', 'iter_2')
