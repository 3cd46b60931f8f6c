"""DeepSpeed's settings follow from the config, and what cannot work is refused with a sentence."""

import os
import time

import pytest
from mmengine.hooks import EMAHook, ParamSchedulerHook

from geochat.engine.optimization import AmpOptimWrapper
from geochat.engine.strategies import build_tools
from geochat.engine.strategies.deepspeed import (
    DeepSpeedStrategy,
    check_hooks,
    check_loops,
    check_model,
    check_optimizer,
    engine_settings,
    precision_and_clipping,
    register_optimizers,
)
from geochat.installation import InstallationError


def test_name_is_the_one_that_mmengine_looks_for():
    assert DeepSpeedStrategy.__name__ == 'DeepSpeedStrategy'


@pytest.mark.parametrize('stage', [1, 2, 3])
def test_stage_and_further_settings(stage):
    settings = engine_settings(
        stage, False, False, {'zero_optimization': {'reduce_bucket_size': 1000}, 'wall_clock_breakdown': True}
    )
    assert settings['zero_optimization'] == {'stage': stage, 'reduce_bucket_size': 1000}
    assert settings['wall_clock_breakdown'] is True


def test_offload():
    on_cpu = {'device': 'cpu', 'pin_memory': True}
    zero = engine_settings(3, True, True, {})['zero_optimization']
    assert zero == {'stage': 3, 'offload_optimizer': on_cpu, 'offload_param': on_cpu}
    assert engine_settings(2, True, False, {})['zero_optimization'] == {'stage': 2, 'offload_optimizer': on_cpu}
    with pytest.raises(ValueError, match=r'offload_parameters needs strategy\.zero_stage 3, not 2'):
        engine_settings(2, True, True, {})


@pytest.mark.parametrize(
    ('stage', 'settings', 'message'),
    [
        (4, {}, 'zero_stage must be 1, 2 or 3, not 4'),
        (2, {'gradient_accumulation_steps': 2}, 'gradient_accumulation_steps is derived: set train_cfg.accumulation'),
        (2, {'gradient_clipping': 1.0}, 'set optim_wrapper.clip_grad.max_norm'),
        (2, {'train_batch_size': 8}, 'set train_dataloader.batch_size and train_cfg.accumulation'),
        (2, {'bf16': {'enabled': True}}, 'set optim_wrapper'),
        (2, {'zero_optimization': {'stage': 3}}, 'set strategy.zero_stage'),
        (2, {'zero_optimization': {'offload_optimizer': {}}}, 'set strategy.offload_optimizer'),
        (3, {'zero_optimization': {'offload_param': {}}}, 'set strategy.offload_parameters'),
    ],
)
def test_what_is_said_elsewhere_is_refused(stage, settings, message):
    with pytest.raises(ValueError, match=message):
        engine_settings(stage, False, False, settings)


@pytest.mark.parametrize(
    ('optim_wrapper', 'expected'),
    [
        ({}, {}),
        ({'type': 'OptimWrapper', 'clip_grad': {'max_norm': 0.5}}, {'gradient_clipping': 0.5}),
        ({'type': 'AmpOptimWrapper'}, {'bf16': {'enabled': True}}),
        ({'type': AmpOptimWrapper, 'dtype': 'bfloat16'}, {'bf16': {'enabled': True}}),
    ],
)
def test_precision_and_clipping_follow_from_the_optim_wrapper(optim_wrapper, expected):
    assert precision_and_clipping({'optimizer': {'type': 'AdamW'}, **optim_wrapper}) == expected


@pytest.mark.parametrize(
    ('optim_wrapper', 'message'),
    [
        ({'type': 'ApexOptimWrapper'}, 'ApexOptimWrapper does not work under DeepSpeed'),
        ({'accumulative_counts': 2}, 'accumulative_counts does not work .* set train_cfg.accumulation instead'),
        ({'type': 'AmpOptimWrapper', 'dtype': 'float8'}, "'float8' is none of bfloat16, float16; for float32"),
        ({'clip_grad': {'type': 'value', 'clip_value': 1}}, 'clips by the 2-norm only'),
        ({'clip_grad': {'max_norm': 1, 'norm_type': 1}}, 'clips by the 2-norm only'),
    ],
)
def test_what_deepspeed_cannot_do_is_refused(optim_wrapper, message):
    with pytest.raises(ValueError, match=message):
        precision_and_clipping({'optimizer': {'type': 'AdamW'}, **optim_wrapper})


def test_float16_where_there_is_a_gpu(monkeypatch):
    optim_wrapper = {'type': 'geochat.engine.optimization.AmpOptimWrapper', 'dtype': 'float16', 'optimizer': {}}
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(ValueError, match="'float16' needs a GPU; 'bfloat16' runs on the CPU too"):
        precision_and_clipping(optim_wrapper)
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    assert precision_and_clipping(optim_wrapper) == {'fp16': {'enabled': True}}


def test_averaged_weights_are_refused():
    with pytest.raises(ValueError, match=r'EMAHook does not work under DeepSpeed: .* average checkpoints afterwards'):
        check_hooks([ParamSchedulerHook(), EMAHook()])
    with pytest.raises(ValueError, match='OwnAverage does not work under DeepSpeed'):
        check_hooks([type('OwnAverage', (EMAHook,), {})()])


@pytest.mark.parametrize('stage', [2, 3])
def test_the_state_of_a_checkpoint_is_called_after_the_stage(stage):
    strategy = object.__new__(DeepSpeedStrategy)
    strategy.config = engine_settings(stage, False, False, {})
    assert strategy.state_kind == f'DeepSpeed ZeRO-{stage}'


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        ({}, 'the config has no train_cfg'),
        ({'train_cfg': {'type': 'IterBasedTrainLoop'}}, 'its iterations are not optimizer steps; use TrainLoop'),
        (
            {'train_cfg': {'type': 'TrainLoop'}, 'val_cfg': {'type': 'BenchmarkLoop'}},
            r'answers are generated afterwards, with tools/test\.py',
        ),
    ],
)
def test_loops_that_generate_or_count_micro_batches_are_refused(cfg, message):
    with pytest.raises(ValueError, match=message):
        check_loops(cfg)


def test_loops_of_ours_are_fine():
    check_loops({'train_cfg': {'type': 'TrainLoop'}, 'val_cfg': {'type': 'geochat.engine.loops.ValLoop'}})


@pytest.mark.parametrize('setting', [{'quantization': {'kind': 'nf4'}}, {'compile': True}])
def test_parts_that_need_whole_weights_are_refused(setting):
    (key,) = setting
    with pytest.raises(ValueError, match=rf'llm\.{key} does not work with strategy\.zero_stage 3: .*zero_stage to 2'):
        check_model({'type': 'GeoChat', 'llm': {'type': 'HFCausalLM', **setting}})
    check_model({'type': 'GeoChat', 'llm': {'type': 'HFCausalLM', key: None}})


@pytest.mark.parametrize('kind', ['AdamW', 'torch.optim.AdamW', 'DeepSpeedCPUAdam'])
def test_elementwise_optimizers(kind):
    check_optimizer(kind)


@pytest.mark.parametrize('kind', ['MuonAdamW', 'geochat.engine.muon.MuonAdamW', 'Adafactor'])
def test_optimizers_that_need_whole_weights_are_refused(kind):
    with pytest.raises(ValueError, match=r'updates flat pieces of the weights: use one of SGD, .*AdamW'):
        check_optimizer(kind)


def test_optimizers_can_be_registered_again():
    from mmengine.registry import OPTIMIZERS

    register_optimizers()
    register_optimizers()
    assert 'FusedAdam' in OPTIMIZERS.module_dict


def test_missing_build_tools_are_named(monkeypatch):
    monkeypatch.setattr(build_tools, '_put_ninja_on_path', lambda: None)
    monkeypatch.setenv('PATH', '')
    with pytest.raises(InstallationError, match=r'The optimizer FusedAdam needs .* ninja and g\+\+ is missing'):
        build_tools.check_build_tools('The optimizer FusedAdam')


def test_ninja_beside_the_interpreter_is_found(monkeypatch, tmp_path):
    pytest.importorskip('ninja')
    compiler = tmp_path / 'g++'
    compiler.touch(mode=0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    build_tools.check_build_tools('A test')


@pytest.fixture
def lock(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_EXTENSIONS_DIR', str(tmp_path))
    path = tmp_path / 'cpu_adam' / 'lock'
    path.parent.mkdir()
    path.touch()
    return path


def test_old_lock_is_an_error_and_no_silent_wait(lock):
    an_hour_ago = time.time() - 3600
    os.utime(lock, (an_hour_ago, an_hour_ago))
    with pytest.raises(InstallationError, match=f'60 minutes old.*rm {lock}'):
        build_tools.wait_for_builds()


def test_young_lock_is_waited_for_aloud(lock, monkeypatch, caplog):
    monkeypatch.setattr(build_tools.time, 'sleep', lambda seconds: lock.unlink())
    build_tools.wait_for_builds()
    assert f'rm {lock}' in caplog.text


def test_no_lock_no_wait(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_EXTENSIONS_DIR', str(tmp_path / 'none'))
    build_tools.wait_for_builds()
