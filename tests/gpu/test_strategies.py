"""Every ZeRO stage on one GPU does what plain training does there. (Never run yet: written where there was no GPU.)"""

import pytest
import torch
from processes import train_in_processes
from small_parts import small_model
from uneven_training import uneven_config

LETS_GO = {'settings': {'zero_optimization': {'stage3_param_persistence_threshold': 0}}}
"""What makes ZeRO-3 treat small weights as it does large ones."""

STRATEGIES = {
    'zero1': {'zero_stage': 1},
    'zero2': {'zero_stage': 2},
    'zero2_offload': {'zero_stage': 2, 'offload_optimizer': True},
    'zero3': {'zero_stage': 3, **LETS_GO},
    'zero3_offload': {'zero_stage': 3, 'offload_optimizer': True, 'offload_parameters': True, **LETS_GO},
}


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_every_stage_on_a_gpu_is_plain_training(tmp_path):
    torch.save(small_model(seed=1).state_dict(), tmp_path / 'start.pth')
    config = uneven_config(accumulation=4, steps=4, text_only=True, load_from=str(tmp_path / 'start.pth'))
    runs = {'plain': config}
    for name, settings in STRATEGIES.items():
        runs[name] = {**config, 'strategy': {'type': 'DeepSpeedStrategy', **settings}}
    asked = [{**run, 'work_dir': str(tmp_path / name)} for name, run in runs.items()]
    losses, log = train_in_processes(asked, DS_ACCELERATOR='cuda')
    assert all(losses), log[-6000:]
    for name, found in zip(runs, losses, strict=True):
        assert found['train/loss'] == pytest.approx(losses[0]['train/loss'], rel=1e-4), name
        assert found['val/loss'] == pytest.approx(losses[0]['val/loss'], rel=1e-4), name
