"""The stage before GeoChat-7B: the projector alone learns to caption LLaVA's 558,000 pictures.

    tools/dist_train.sh configs/geochat_7b_pretrain.py 8

Then train ``geochat_7b.py`` with ``--cfg-options load_from=work_dirs/geochat_7b_pretrain/model``. The pretrained parts
go into ``checkpoints/`` (``_base_/models/clip_vicuna_7b.py`` has the commands), the data where
``_base_/datasets/llava_pretrain.py`` says.

The original did not make this stage itself: it took the projector of LLaVA-1.5 (arXiv 2310.03744). So these are
LLaVA-1.5's settings: learning rate 2e-3, a global batch of 256, one epoch.
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.llava_pretrain import *
    from ._base_.models.clip_vicuna_7b import *
    from ._base_.models.geochat_tasks import *
    from ._base_.runtime.default import *
    from ._base_.runtime.tensorboard import *
    from ._base_.schedules.one_epoch import *
    from ._base_.strategies.zero2 import *

from geochat.prompts import Plain

# At 336 px, as LLaVA-1.5 did: GeoChat's projector never saw 504 px before instruction tuning. The paper says 504 px
# "throughout", which cannot hold for a projector that came ready-made; 504 here costs 2.25 times the image tokens.
vision_encoder.update(image_size=336)

# Pictures and captions alone; LLaVA's name for it is the version "plain".
llm.update(frozen=True, chat_template=dict(type=Plain))

optim_wrapper['optimizer'].update(lr=2e-3)

# 32 records on each of 8 GPUs: on N GPUs keep batch_size * accumulation * N at 256.
train_dataloader.update(batch_size=32)
