"""Captions with five references a picture: RSICD and NWPU-Captions, test splits.

GeoChat was not trained on short captions of this kind, and no figures of it are published.
"""

from geochat.datasets import KarpathyCaptionBenchmark, NWPUCaptionBenchmark
from geochat.datasets.transforms import ImageFolder
from geochat.evaluation.metrics import Captions

benchmarks = dict(
    rsicd_caption=dict(
        version=1,
        source='RSICD: the links of github.com/201528014227051/RSICD_optimal',
        reader=dict(
            type=KarpathyCaptionBenchmark,
            data_file='data/RSICD/dataset_rsicd.json',
            image_source=dict(type=ImageFolder, root='data/RSICD/RSICD_images'),
        ),
        task='caption',
        metrics=[dict(type=Captions)],
    ),
    nwpu_caption=dict(
        version=1,
        source='NWPU-Captions: the links of github.com/HaiyanHuang98/NWPU-Captions',
        reader=dict(
            type=NWPUCaptionBenchmark,
            data_file='data/NWPU-Captions/dataset_nwpu.json',
            image_source=dict(type=ImageFolder, root='data/NWPU-Captions/NWPU_images'),
        ),
        task='caption',
        metrics=[dict(type=Captions)],
    ),
)
