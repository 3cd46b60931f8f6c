"""GeoChat with Vicuna-13B: the recipe of ``geochat_7b.py`` and a larger LLM.

    tools/dist_train.sh configs/geochat_13b.py 8
    python tools/test.py configs/geochat_13b.py work_dirs/geochat_13b/model

    hf download lmsys/vicuna-13b-v1.5 --local-dir checkpoints/vicuna-13b-v1.5

The original published 7B only; LLaVA-1.5's 13B differs from its 7B in the LLM alone, and so does this.
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

# LLaVA-1.5's first stage for the 13B model:
#   hf download liuhaotian/llava-v1.5-mlp2x-336px-pretrain-vicuna-13b-v1.5 mm_projector.bin \
#       --local-dir checkpoints/llava-13b
load_from = 'checkpoints/llava-13b/mm_projector.bin'

llm.update(pretrained='checkpoints/vicuna-13b-v1.5', lora=dict(r=64, alpha=16, dropout=0.05))
llm['config'].update(hidden_size=5120, intermediate_size=13824, num_hidden_layers=40, num_attention_heads=40)
llm['config'].update(num_key_value_heads=40)

optim_wrapper['optimizer'].update(lr=2e-4)

# GeoChat's global batch of 144: 6 records a micro-batch, 3 micro-batches a step, 8 GPUs.
train_dataloader.update(batch_size=6)
train_cfg.update(accumulation=3)
