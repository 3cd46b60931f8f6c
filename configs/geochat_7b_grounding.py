"""GeoChat's second stage: 1,600 more steps on the records that point at things.

    tools/dist_train.sh configs/geochat_7b_grounding.py 3
    python tools/test.py configs/geochat_7b_grounding.py work_dirs/geochat_7b_grounding/model

It goes on from what ``geochat_7b.py`` leaves. The original's files have no script for it; it is described in the paper
(section 5.1: 1,600 steps on grounding data) and by its author in issue 21 (the records with [refer] or [grounding]).
"""

from mmengine.config import read_base

with read_base():
    from ._base_.benchmarks.all import *
    from ._base_.datasets.geochat_instruct import *
    from ._base_.models.clip_vicuna_7b import *
    from ._base_.models.geochat_tasks import *
    from ._base_.runtime.default import *
    from ._base_.runtime.tensorboard import *
    from ._base_.schedules.one_epoch import *
    from ._base_.strategies.zero2 import *

load_from = 'work_dirs/geochat_7b/model'

train_dataloader['dataset'].update(tasks=('[refer]', '[grounding]'))

# The paper's number of steps. Others who filtered the published file counted 1,472 for what the paper gave 1,600.
train_cfg.update(max_epochs=None, max_iters=1600, accumulation=3)

# Nothing is said about the second stage's learning rate, batch and adapters: those of the first.
llm.update(lora=dict(r=64, alpha=16, dropout=0.05))
optim_wrapper['optimizer'].update(lr=2e-4)
train_dataloader.update(batch_size=16)
