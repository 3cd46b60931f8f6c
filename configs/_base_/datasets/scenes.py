"""The built-in scenes: 16,000 pictures to learn from, drawn when they are asked for."""

from geochat.box_codecs import GeoChatBoxCodec
from geochat.datasets import InstructionDataset, LengthGroupedSampler, SceneFiles, SceneImages, collate_samples

_pictures = dict(type=SceneImages, size=112)

data_preparation = [
    dict(type=SceneFiles, root='data/scenes', image_size=112, num_train=16000, num_val=200, num_test=500),
]

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    dataset=dict(
        type=InstructionDataset,
        data_file='data/scenes/train.jsonl',
        image_source=_pictures,
        source_codec=dict(type=GeoChatBoxCodec, padding='centre'),
        independent_turns=True,
    ),
    sampler=dict(type=LengthGroupedSampler),
    collate_fn=dict(type=collate_samples),
)

val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    dataset=dict(
        type=InstructionDataset,
        data_file='data/scenes/val.jsonl',
        image_source=_pictures,
        source_codec=dict(type=GeoChatBoxCodec, padding='centre'),
        independent_turns=True,
    ),
    sampler=dict(type=LengthGroupedSampler),
    collate_fn=dict(type=collate_samples),
)
