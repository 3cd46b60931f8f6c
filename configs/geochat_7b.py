"""GeoChat-7B, trained as the original was: LoRA on all of GeoChat_Instruct, one epoch.

    tools/dist_train.sh configs/geochat_7b.py 3                                 # three GPUs, as in the paper
    python tools/test.py configs/geochat_7b.py work_dirs/geochat_7b/model       # the benchmarks

Before that, put the pretrained parts into ``checkpoints/`` (``_base_/models/clip_vicuna_7b.py`` has the commands, and
``load_from`` below), and the data where ``_base_/datasets/geochat_instruct.py`` and
``_base_/benchmarks/`` say. ``geochat_7b_grounding.py`` is the stage after this one.

Where the original's paper (arXiv 2311.15826) and its files disagree, a comment says which of them is followed.
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

# The projector that the original started from, made by LLaVA-1.5's first stage:
#   hf download liuhaotian/llava-v1.5-mlp2x-336px-pretrain-vicuna-7b-v1.5 mm_projector.bin --local-dir checkpoints/llava
# Or one of your own: 'work_dirs/geochat_7b_pretrain/model' after geochat_7b_pretrain.py.
load_from = 'checkpoints/llava/mm_projector.bin'

# All linear layers but the head, as in the original's files. The paper names W_q and W_v only: for these, set
# targets=r'model\.layers\.\d+\.self_attn\.[qv]_proj'. Rank and alpha are alike in both.
llm.update(lora=dict(r=64, alpha=16, dropout=0.05))

# Trained, as the original's files do when they start from Vicuna, as here. In the paper it is frozen, and so it is in
# the files when they start from LLaVA-1.5, which is what its script does: for that, set frozen_projector=True.
model.update(frozen_projector=False)

# 2e-4 is the original's script's; its README says 2e-5, which is customary for full fine-tuning.
optim_wrapper['optimizer'].update(lr=2e-4)

# A global batch of 144, as in the paper and the README; the script's settings make 96 (32 records on each of 3 GPUs).
# 16 records a micro-batch, 3 micro-batches a step, 3 GPUs: on N GPUs keep batch_size * accumulation * N at 144.
train_dataloader.update(batch_size=16)
train_cfg.update(accumulation=3)
