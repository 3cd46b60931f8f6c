"""GeoChat-7B with every weight of the LLM trained, not adapters; DeepSpeed ZeRO-3 spreads the model over the GPUs.

    tools/dist_train.sh configs/geochat_7b_full.py 8
    python tools/test.py configs/geochat_7b_full.py work_dirs/geochat_7b_full/model

Weights and data as for ``geochat_7b.py``. The original has no such run: what it does not say is LLaVA-1.5's.
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
    from ._base_.strategies.zero3 import *

load_from = 'checkpoints/llava/mm_projector.bin'  # see geochat_7b.py

# LLaVA-1.5's for full fine-tuning, and what GeoChat's README says beside a script that has 2e-4 with LoRA.
optim_wrapper['optimizer'].update(lr=2e-5)

# GeoChat's global batch of 144: 18 records on each of 8 GPUs.
train_dataloader.update(batch_size=18)
