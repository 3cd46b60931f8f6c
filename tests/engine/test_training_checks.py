"""What a config says twice, or what this machine lacks, is refused before anything is built, by its key."""

import pytest
from small_run import small_run

from geochat.engine import ConfigError, build_runner
from geochat.engine.training_checks import check_training

ADAMW = {'type': 'AdamW', 'lr': 1e-3}


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (
            {'strategy': {'type': 'DeepSpeedStrategy', 'gradient_accumulation_steps': 4}},
            r'strategy\.gradient_accumulation_steps is derived: set train_cfg\.accumulation instead',
        ),
        (
            {'strategy': {'type': 'DeepSpeedStrategy', 'train_micro_batch_size_per_gpu': 4}},
            r'strategy\.train_micro_batch_size_per_gpu is derived: set train_dataloader\.batch_size instead',
        ),
        (
            {'train_dataloader': {'batch_size': 2, 'batch_sampler': {'batch_size': 4}}},
            r'train_dataloader\.batch_size=2 and train_dataloader\.batch_sampler\.batch_size=4 contradict each other',
        ),
        ({'val_dataloader': {'batch_size': 0}}, r'val_dataloader\.batch_size must be a whole number above 0, not 0'),
        ({'optim_wrapper': {'accumulative_counts': 4}}, r'the accumulation is said in train_cfg\.accumulation'),
        (
            {'optim_wrapper': {'optimizer': ADAMW, 'paramwise_cfg': {'projector': {'lr': 2e-5}}}},
            r'paramwise_cfg\.projector needs optim_wrapper\.constructor=PartwiseConstructor',
        ),
        ({'optim_wrapper': {'type': 'AmpOptimWrapper', 'dtype': 'float8'}}, "'float8' is none of bfloat16, float16"),
    ],
)
def test_contradictions(cfg, message):
    with pytest.raises(ConfigError, match=message):
        check_training(cfg)


def test_float16_on_a_cpu(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(ConfigError, match="'float16' needs a GPU"):
        check_training({'optim_wrapper': {'type': 'geochat.engine.optimization.AmpOptimWrapper', 'dtype': 'float16'}})


def test_bfloat16_on_a_gpu_that_lacks_it(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.is_bf16_supported', lambda including_emulation: False)
    monkeypatch.setattr('torch.cuda.get_device_name', lambda: 'Tesla V100')
    with pytest.raises(ConfigError, match=r"'bfloat16': Tesla V100 lacks it .* use 'float16'"):
        check_training({'optim_wrapper': {'type': 'AmpOptimWrapper'}})


def test_a_run_is_checked_before_it_is_built(tmp_path):
    cfg = small_run(tmp_path, optim_wrapper={'optimizer': ADAMW, 'accumulative_counts': 2})
    with pytest.raises(ConfigError, match='accumulative_counts=2 is not used'):
        build_runner(cfg)
