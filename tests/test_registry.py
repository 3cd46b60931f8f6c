"""A slip in a name or a key is answered with what was probably meant; everything else builds as MMEngine would."""

import logging
import sys

import pytest
from mmengine import registry as mmengine_registry
from mmengine.registry import DefaultScope

from geochat.registry import Registry, check_arguments, known_names, near_misses


class Grid:
    def __init__(self, size: int, spacing: float = 1.0):
        self.size = size
        self.spacing = spacing


def open_ended(**settings):
    return settings


@pytest.fixture
def parts() -> Registry:
    registry = Registry('test part')
    registry.register_module(name=['Grid', 'regular_grid'], module=Grid)
    registry.register_module(name='HexagonCodec', module=open_ended)
    return registry


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a function that writes an importable module for this test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    written = []

    def write(name: str, text: str) -> None:
        (tmp_path / f'{name}.py').write_text(text)
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


def test_near_misses_ignore_case_and_come_best_first():
    names = ['GeoChatBoxCodec', 'QuadBoxCodec', 'geochat', 'linear']
    assert near_misses('geochatboxcodec', names)[0] == 'GeoChatBoxCodec'
    assert near_misses('lineer', names) == ['linear']
    assert near_misses('zzz', names) == []
    assert known_names('lineer', names) == 'did you mean linear?'
    assert known_names('zzz', ['refer', 'chat']) == 'there are chat, refer'


def test_every_name_of_a_part_builds_it(parts):
    assert parts.build({'type': 'Grid', 'size': 3}).size == 3
    assert parts.build({'type': 'regular_grid', 'size': 3}).spacing == 1.0
    assert parts.build({'type': Grid, 'size': 3, 'spacing': 0.5}).spacing == 0.5


def test_default_arguments_fill_in_what_the_config_leaves_out(parts):
    grid = parts.build({'size': 3}, default_args={'type': 'Grid', 'size': 4, 'spacing': 2.0})
    assert (grid.size, grid.spacing) == (3, 2.0)


def test_a_misspelt_name_is_answered_with_the_nearest_and_where_it_comes_from(parts):
    with pytest.raises(KeyError) as error:
        parts.build({'type': 'Gird', 'size': 3})
    message = error.value.args[0]
    assert "'Gird' is not a registered test part; did you mean 'Grid'" in message
    assert __name__ in message


def test_a_name_like_no_other_is_answered_with_all_there_are(parts):
    with pytest.raises(KeyError, match=r"there are 'Grid'.*'HexagonCodec'.*'regular_grid'"):
        parts.build({'type': 'zzz'})


def test_a_misspelt_key_is_answered_with_the_nearest(parts):
    with pytest.raises(TypeError, match=r"Grid \(.*\) has no setting 'spaceing': did you mean 'spacing'"):
        parts.build({'type': 'Grid', 'size': 3, 'spaceing': 2.0})


def test_a_key_like_no_other_is_answered_with_all_there_are(parts):
    with pytest.raises(TypeError, match=r"no setting 'zzz': it takes size, spacing"):
        parts.build({'type': 'Grid', 'size': 3, 'zzz': 2.0})


def test_a_part_that_takes_any_key_is_given_any_key(parts):
    assert parts.build({'type': 'HexagonCodec', 'anything': 1}) == {'anything': 1}


def test_allowed_keys_are_not_refused():
    check_arguments(Grid, {'size': 1, 'frozen': True}, allowed=('frozen',))
    with pytest.raises(TypeError, match=r"did you mean 'frozen'"):
        check_arguments(Grid, {'size': 1, 'forzen': True}, allowed=('frozen',))


@pytest.mark.parametrize('cfg', [None, 'Grid', [], {'size': 3}])
def test_only_a_dict_with_a_type_is_built(parts, cfg):
    with pytest.raises(TypeError, match='a test part is built from a dict with the key "type"'):
        parts.build(cfg)


@pytest.mark.parametrize('key', [None, 3, ['Grid']])
def test_a_type_is_a_name_or_a_class(parts, key):
    with pytest.raises(TypeError, match='the type of a test part is a name or a class'):
        parts.resolve(key)


def test_a_dotted_path_builds_an_unregistered_class(parts, module):
    module('other_parts', 'class Hexagons:\n    def __init__(self, side):\n        self.side = side\n')
    assert parts.build({'type': 'other_parts.Hexagons', 'side': 2}).side == 2


def test_a_dotted_path_to_a_missing_member_names_the_nearest(parts, module):
    module('other_parts', 'class Hexagons:\n    pass\n')
    with pytest.raises(KeyError, match=r"'other_parts' has no callable 'Hexagon'; it has Hexagons"):
        parts.resolve('other_parts.Hexagon')


@pytest.mark.parametrize('text', ['raise ValueError("no licence")', 'import a_module_that_is_not_there'])
def test_a_dotted_path_into_a_broken_module_says_what_broke(parts, module, text):
    module('broken_parts', text + '\n')
    with pytest.raises(KeyError, match=r"Importing 'broken_parts' failed: .*(no licence|a_module_that_is_not_there)"):
        parts.resolve('broken_parts.Grid')


def test_a_module_is_no_part(parts):
    with pytest.raises(KeyError):
        parts.resolve('json')
    with pytest.raises(KeyError):
        parts.resolve('os.path')


def test_a_short_name_never_imports_a_module_of_that_name(parts, module):
    module('somewhere', 'raise RuntimeError("imported")\n')
    with pytest.raises(KeyError, match='is not a registered test part'):
        parts.resolve('somewhere')


def test_a_child_builds_what_mmengine_has_and_the_other_way_round():
    """The scope says 'geochat' in both directions, so that OpenMMLab's builders find our parts."""
    from mmengine.evaluator import BaseMetric, DumpResults

    from geochat.registry import METRICS

    class AnswerLength(BaseMetric):
        def process(self, data_batch, data_samples):
            raise NotImplementedError

        def compute_metrics(self, results):
            raise NotImplementedError

    METRICS.register_module(name='AnswerLength', module=AnswerLength)
    try:
        assert METRICS.resolve('DumpResults') is DumpResults
        assert isinstance(mmengine_registry.METRICS.build({'type': 'geochat.AnswerLength'}), AnswerLength)
        with pytest.raises(KeyError, match=r"did you mean 'DumpResults' \(from mmengine"):
            METRICS.resolve('DumpResult')
    finally:
        METRICS.module_dict.pop('AnswerLength')


def test_a_build_under_our_default_scope_is_silent(parts, caplog):
    with caplog.at_level(logging.INFO), DefaultScope.overwrite_default_scope('geochat'):
        parts.build({'type': 'Grid', 'size': 3})
    assert not caplog.records
