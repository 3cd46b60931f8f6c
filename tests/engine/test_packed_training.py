"""The two settings of a data loader that pack: what a run makes of them."""

import pytest
from small_run import small_run

from geochat.engine import build_runner

PACKED = {'type': 'geochat.datasets.pack_samples'}
GROUPED = {'type': 'ImageGroupedSampler'}


def losses(folder, **loader):
    """Train a few steps and return their losses."""
    cfg = small_run(folder, train_cfg={'type': 'TrainLoop', 'max_iters': 3, 'accumulation': 2}, custom_hooks=[])
    cfg.train_dataloader.pop('sampler')  # merged, it would keep its settings
    cfg.train_dataloader.update(batch_size=4, sampler=dict(GROUPED), **loader)
    cfg.default_hooks.checkpoint = None
    cfg.val_dataloader = cfg.val_cfg = None
    cfg.experiment_name = f'{folder.parent.name}_{folder.name}'  # by the second, two quick runs would share their log
    runner = build_runner(cfg)
    runner.train()
    return list(runner.message_hub.get_scalar('train/loss').data[0]), runner


@pytest.mark.parametrize('share_images', [True, False])
def test_a_packed_run_takes_the_steps_of_a_padded_one(tmp_path, share_images):
    plain, _ = losses(tmp_path / 'plain')
    packed, runner = losses(tmp_path / 'packed', collate_fn={**PACKED, 'share_images': share_images})
    assert packed == pytest.approx(plain, rel=1e-5)
    assert len(packed) == 3
    batch = next(iter(runner.train_dataloader))
    assert len(batch['input_ids']) == 1 and batch['num_records'] == 4
    assert ('branches' in batch) == share_images
    assert runner.train_dataloader.sampler.batch_size == 4
