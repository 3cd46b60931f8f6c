"""GeoChat's schedule: one epoch of AdamW, cosine with 3 % warm-up, bfloat16, a global batch of 144 records.

144 is 16 records a micro-batch, 3 micro-batches a step, 3 GPUs, as in the paper (arXiv 2311.15826, section 5.1). On N
GPUs keep ``train_dataloader.batch_size * train_cfg.accumulation * N`` at 144.
"""

from torch.optim import AdamW

from geochat.engine.loops import TrainLoop
from geochat.engine.optimization import AmpOptimWrapper, CosineWithWarmupLR

train_cfg = dict(type=TrainLoop, max_epochs=1, accumulation=3)

optim_wrapper = dict(
    type=AmpOptimWrapper,
    dtype='bfloat16',
    optimizer=dict(type=AdamW, lr=2e-4, weight_decay=0.0),  # the original's script; its README says 2e-5
    clip_grad=dict(max_norm=1.0),  # the default of Hugging Face's Trainer, with which the original was trained
)

param_scheduler = dict(type=CosineWithWarmupLR, warmup_ratio=0.03, by_epoch=False)
