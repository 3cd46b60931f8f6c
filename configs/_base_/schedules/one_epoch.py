"""One epoch of AdamW, cosine with 3 % warm-up, bfloat16: what GeoChat and both stages of LLaVA-1.5 have in common."""

from torch.optim import AdamW

from geochat.engine.loops import TrainLoop
from geochat.engine.optimization import AmpOptimWrapper, CosineWithWarmupLR
from geochat.engine.partwise import PartwiseConstructor

train_cfg = dict(type=TrainLoop, max_epochs=1)

optim_wrapper = dict(
    type=AmpOptimWrapper,
    dtype='bfloat16',
    optimizer=dict(type=AdamW, lr=2e-4, weight_decay=0.0, fused=True),
    constructor=PartwiseConstructor,
    clip_grad=dict(max_norm=1.0),  # the default of Hugging Face's Trainer, with which the originals were trained
)

param_scheduler = dict(type=CosineWithWarmupLR, warmup_ratio=0.03, by_epoch=False)
