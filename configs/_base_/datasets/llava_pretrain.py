"""LLaVA's 558,000 captions for projector pretraining, as https://huggingface.co/datasets/liuhaotian/LLaVA-Pretrain has
them: ``blip_laion_cc_sbu_558k.json``, and ``images.zip`` unpacked into ``data/LLaVA-Pretrain/images``.
"""

from mmengine.dataset import DefaultSampler

from geochat.datasets import InstructionDataset, collate_samples
from geochat.datasets.transforms import ImageFolder

train_dataloader = dict(
    batch_size=32,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    dataset=dict(
        type=InstructionDataset,
        data_file='data/LLaVA-Pretrain/blip_laion_cc_sbu_558k.json',
        image_source=dict(type=ImageFolder, root='data/LLaVA-Pretrain/images'),
    ),
    sampler=dict(type=DefaultSampler, shuffle=True),
    collate_fn=dict(type=collate_samples),
)
