"""A config is read as plain values, changed by dotted keys, and a slip is answered with the near miss."""

import logging
from pathlib import Path

import pytest
from mmengine.config import Config

from geochat.engine.config import (
    ConfigError,
    apply_options,
    change_config,
    check_parts,
    load_config,
    parse_options,
    registry_at,
    value_at,
)
from geochat.registry import BOX_CODECS, HOOKS, TASK_PROMPT_TEMPLATES

NEW_STYLE = """
from mmengine.hooks import IterTimerHook
from torch.optim import AdamW

_lr = 1e-3
optim_wrapper = dict(optimizer=dict(type=AdamW, lr=_lr, betas=(0.9, 0.95)))
custom_hooks = [dict(type=IterTimerHook)]
"""


class FirstCodec:
    def __init__(self, bins: int = 100, turned: bool = True):
        pass


class SecondCodec:
    def __init__(self, digits: int = 2):
        pass


@pytest.fixture
def codecs():
    """Two box codecs that are registered for the time of a test, the first under two names."""
    for name, codec in (('FirstCodec', FirstCodec), ('first', FirstCodec), ('SecondCodec', SecondCodec)):
        BOX_CODECS.register_module(name=name, module=codec)
    yield
    for name in ('FirstCodec', 'first', 'SecondCodec'):
        BOX_CODECS.module_dict.pop(name)


def write(folder: Path, text: str, name: str = 'run.py') -> Path:
    path = folder / name
    path.write_text(text, encoding='utf-8')
    return path


def test_classes_become_import_paths_and_private_names_are_left_out(tmp_path):
    cfg = load_config(write(tmp_path, NEW_STYLE))
    assert cfg.to_dict() == {
        'optim_wrapper': {'optimizer': {'type': 'torch.optim.AdamW', 'lr': 1e-3, 'betas': (0.9, 0.95)}},
        'custom_hooks': [{'type': 'mmengine.hooks.IterTimerHook'}],
    }
    assert cfg.filename == str(tmp_path / 'run.py')


def test_a_missing_file_is_answered_with_those_of_similar_names(tmp_path):
    write(tmp_path, NEW_STYLE, 'geochat_large.py')
    with pytest.raises(FileNotFoundError, match=r'geochat_lage.*did you mean .*geochat_large\.py'):
        load_config(tmp_path / 'geochat_lage.py')
    with pytest.raises(FileNotFoundError, match='no config file'):
        load_config(tmp_path / 'nothing_like_it.py')


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('3', 3),
        ('1e-4', 1e-4),
        ('True', True),
        ('false', False),
        ('None', None),
        ('vicuna_v1', 'vicuna_v1'),
        ('a folder/with spaces', 'a folder/with spaces'),
        ("'7'", '7'),
        ('1,2,3', [1, 2, 3]),
        ('majority,grey', ['majority', 'grey']),
        ('[data/a.json, data/b.json]', ['data/a.json', 'data/b.json']),
        ('(0.9,0.95)', (0.9, 0.95)),
        ('[(1,x),(2,true)]', [(1, 'x'), (2, True)]),
        ('', ''),
        ('a=b', 'a=b'),
        ('{<10><20><30><40>|<5>}', '{<10><20><30><40>|<5>}'),
    ],
)
def test_option_values(text, value):
    assert parse_options([f'key={text}']) == {'key': value}


@pytest.mark.parametrize('text', ['llm', '=3'])
def test_an_option_without_key_and_value(text):
    with pytest.raises(ConfigError, match='KEY=VALUE'):
        parse_options([text])


def test_options_reach_every_leaf(tmp_path):
    cfg = load_config(
        write(tmp_path, NEW_STYLE),
        ['optim_wrapper.optimizer.lr=0.5', 'custom_hooks.0.priority=LOW', 'randomness.seed=3', 'max_length=64'],
    )
    assert cfg.optim_wrapper.optimizer.lr == 0.5
    assert cfg.optim_wrapper.optimizer.betas == (0.9, 0.95)
    assert cfg.custom_hooks == [{'type': 'mmengine.hooks.IterTimerHook', 'priority': 'LOW'}]
    assert (cfg.randomness, cfg.max_length) == ({'seed': 3}, 64)


def test_options_do_not_change_the_config_they_are_applied_to():
    cfg = Config({'llm': {'type': 'A', 'lora': None}})
    changed = apply_options(cfg, {'llm.lora.r': 8})
    assert (cfg.llm.lora, changed.llm.lora) == (None, {'r': 8})
    assert value_at(changed, 'llm.lora.r') == 8


def test_an_entry_of_a_tuple_is_a_leaf_too(tmp_path):
    cfg = load_config(write(tmp_path, NEW_STYLE), ['optim_wrapper.optimizer.betas.1=0.98'])
    assert cfg.optim_wrapper.optimizer.betas == (0.9, 0.98)
    with pytest.raises(ConfigError, match="betas is a list of 2: '2' is not one of its indices"):
        load_config(write(tmp_path, NEW_STYLE), ['optim_wrapper.optimizer.betas.2=0.98'])


def test_a_key_with_dots_in_it():
    cfg = Config({'optim_wrapper': {'paramwise_cfg': {'custom_keys': {'llm.lora': {'lr_mult': 1}}}}})
    key = 'optim_wrapper.paramwise_cfg.custom_keys.llm.lora.lr_mult'
    assert value_at(apply_options(cfg, {key: 2}), key) == 2


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('visionencoder.type=X', "the config has no setting 'visionencoder'; did you mean 'vision_encoder'"),
        ('compile=True', 'compile is not set for the whole run: set compile=True in vision_encoder or llm'),
        ('train_dataloader.batchsize=8', "train_dataloader has no setting 'batchsize'; did you mean 'batch_size'"),
        ('optim_wrapper.optimzer.lr=1', "optim_wrapper has no setting 'optimzer'; did you mean 'optimizer'"),
        ('custom_hooks.1.interval=5', "custom_hooks is a list of 1: '1' is not one of its indices"),
        ('custom_hooks.first.interval=5', "'first' is not one of its indices"),
        ('optim_wrapper.optimizer.lr.start=5', 'optim_wrapper.optimizer.lr is 0.001: there is no'),
        ('benchmarks.refer.tasks=refer', "benchmarks.refer has no setting 'tasks'; did you mean 'task'"),
    ],
)
def test_a_slip_is_answered_with_the_near_miss(tmp_path, option, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, NEW_STYLE), [option])


def test_an_unknown_setting_in_the_file_itself(tmp_path):
    with pytest.raises(ConfigError, match=r"no setting 'train_dataloder'; did you mean 'train_dataloader'"):
        load_config(write(tmp_path, NEW_STYLE + '\ntrain_dataloder = dict()'))


def test_a_benchmark_needs_its_three_settings_and_a_known_task():
    prompts = {'refer': {'type': 'Refer'}}
    whole = {'reader': {}, 'task': 'refer', 'metrics': []}
    with pytest.raises(ConfigError, match=r"benchmarks.reffer has no 'reader'; did you mean benchmarks.refer"):
        change_config(
            Config({'benchmarks': {'refer': whole, 'reffer': {'task': 'refer'}}, 'task_prompts': prompts}), ()
        )
    for task in ('reffer', {'ref': 'refer', 'grounding': 'reffer'}):
        with pytest.raises(ConfigError, match=r"there is no 'reffer' in task_prompts, but refer"):
            change_config(Config({'benchmarks': {'a': {**whole, 'task': task}}, 'task_prompts': prompts}), ())


def test_a_changed_type_drops_the_old_settings_and_says_which(codecs, caplog):
    cfg = Config({'box_codec': {'type': 'FirstCodec', 'bins': 50, 'turned': False}})
    with caplog.at_level(logging.WARNING):
        changed = apply_options(cfg, {'box_codec.digits': 3, 'box_codec.type': 'SecondCodec'})
    assert changed.box_codec == {'type': 'SecondCodec', 'digits': 3}
    assert 'box_codec is now SecondCodec: dropped the settings of FirstCodec: bins, turned' in caplog.text


def test_another_name_of_the_same_part_keeps_the_settings(codecs, caplog):
    cfg = Config({'box_codec': {'type': f'{__name__}.FirstCodec', 'bins': 50}})
    changed = apply_options(cfg, {'box_codec.type': 'first'})
    assert changed.box_codec == {'type': 'first', 'bins': 50}
    assert not caplog.text


def test_a_part_of_a_package_that_is_not_here_can_be_replaced(codecs):
    cfg = Config({'box_codec': {'type': 'package_elsewhere.Codec', 'depth': 3}})
    assert apply_options(cfg, {'box_codec.type': 'SecondCodec'}).box_codec == {'type': 'SecondCodec'}


def test_a_changed_type_of_mmengine_drops_settings_too():
    cfg = Config({'optim_wrapper': {'optimizer': {'type': 'torch.optim.AdamW', 'betas': (0.9, 0.95), 'lr': 1}}})
    same = apply_options(cfg, {'optim_wrapper.optimizer.type': 'AdamW'})
    assert same.optim_wrapper.optimizer == {'type': 'AdamW', 'betas': (0.9, 0.95), 'lr': 1}
    other = apply_options(cfg, {'optim_wrapper.optimizer.lr': 2, 'optim_wrapper.optimizer.type': 'SGD'})
    assert other.optim_wrapper.optimizer == {'type': 'SGD', 'lr': 2}


def test_a_type_that_does_not_exist(codecs):
    with pytest.raises(ConfigError, match="'SecondCodecs' is not a registered box codec; did you mean 'SecondCodec'"):
        apply_options(Config({'box_codec': {'type': 'FirstCodec'}}), {'box_codec.type': 'SecondCodecs'})


def test_settings_that_a_part_does_not_take(codecs):
    check_parts(Config({'box_codec': {'type': 'FirstCodec', 'bins': 50}}))
    with pytest.raises(ConfigError, match=r"box_codec: FirstCodec .* has no setting 'bin': did you mean 'bins'"):
        check_parts(Config({'box_codec': {'type': 'FirstCodec', 'bin': 50}}))
    with pytest.raises(ConfigError, match="box_codec: 'FirstCode' is not a registered box codec"):
        check_parts(Config({'box_codec': {'type': 'FirstCode'}}))


def test_settings_of_adapters_are_checked_too():
    check_parts(Config({'llm': {'type': 'HFCausalLM', 'lora': {'r': 2, 'alpha': 4}}}))
    with pytest.raises(ConfigError, match=r"llm\.lora has no setting 'lora_alpha'; did you mean 'alpha'"):
        check_parts(Config({'llm': {'type': 'HFCausalLM', 'lora': {'lora_alpha': 4}}}))
    with pytest.raises(ConfigError, match=r"llm\.quantization has no setting 'bits'"):
        check_parts(Config({'llm': {'type': 'HFCausalLM', 'quantization': {'bits': 4}}}))


def test_where_a_type_is_looked_up():
    assert registry_at(['box_codec']) is BOX_CODECS
    assert registry_at(['test_cfg', 'task_prompts', 'refer']) is TASK_PROMPT_TEMPLATES
    assert registry_at(['custom_hooks', '0']) is HOOKS
    assert registry_at(['default_hooks', 'logger']) is HOOKS
    assert registry_at(['llm', 'lora']) is None
    assert registry_at([]) is None


def test_a_constructor_that_is_not_there_is_named_before_anything_is_built():
    cfg = Config({'optim_wrapper': {'constructor': 'geochat.engine.optimization.PartwiseConstructor'}})
    with pytest.raises(ConfigError, match=r'has no callable|did you mean .*PartwiseConstructor'):
        check_parts(cfg)
