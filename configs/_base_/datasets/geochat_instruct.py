"""GeoChat_Instruct: 318,000 records, as https://huggingface.co/datasets/MBZUAI/GeoChat_Instruct has them.

The parts of its archive are put together with ``cat images_parta* > images.zip``; what lies in the archive's innermost
folder (``final_images_llava``) goes into ``data/GeoChat_Instruct/images``.
"""

from mmengine.dataset import DefaultSampler

from geochat.box_codecs import GeoChatBoxCodec
from geochat.datasets import InstructionDataset, collate_samples
from geochat.datasets.transforms import ImageFolder

train_dataloader = dict(
    batch_size=16,
    num_workers=16,
    persistent_workers=True,
    pin_memory=True,
    dataset=dict(
        type=InstructionDataset,
        data_file='data/GeoChat_Instruct/GeoChat_Instruct.json',
        image_source=dict(type=ImageFolder, root='data/GeoChat_Instruct/images'),
        source_codec=dict(type=GeoChatBoxCodec, padding='centre'),
        max_replaced=0.01,
    ),
    sampler=dict(type=DefaultSampler, shuffle=True),
    collate_fn=dict(type=collate_samples),
)
