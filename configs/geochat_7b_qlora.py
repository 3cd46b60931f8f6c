"""GeoChat-7B on little memory: LoRA over an LLM whose weights are kept in 4 bits (QLoRA, arXiv 2305.14314).

    python tools/train.py configs/geochat_7b_qlora.py                           # one GPU
    python tools/test.py configs/geochat_7b_qlora.py work_dirs/geochat_7b_qlora/model

It needs bitsandbytes (``pip install bitsandbytes``). Weights and data as for ``geochat_7b.py``, and so are all settings
but those below. The original's repository has a QLoRA script, but it is LLaVA-1's, unchanged, and cannot run.
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

load_from = 'checkpoints/llava/mm_projector.bin'  # see geochat_7b.py

# nf4 and double quantisation, as in QLoRA; adapters as in geochat_7b.py.
llm.update(quantization=dict(kind='nf4', double_quantization=True), lora=dict(r=64, alpha=16, dropout=0.05))

# As with LoRA over whole weights, and as QLoRA has it for 7B (table 9); the original's script has 2e-5.
optim_wrapper['optimizer'].update(lr=2e-4)

# GeoChat's global batch of 144: 8 records a micro-batch and 18 micro-batches a step on one GPU.
train_dataloader.update(batch_size=8)
train_cfg.update(accumulation=18)
