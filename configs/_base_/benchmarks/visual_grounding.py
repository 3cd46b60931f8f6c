"""Referring expressions with upright boxes: DIOR-RSVG, OPT-RSVG, RSVG and RRSIS-D.

The literature scores upright boxes: ``hbox/`` takes those that enclose the model's rotated ones. The figures of
GeoChat-7B without fine-tuning are GeoGround's (arXiv 2411.11904, table 1); others have published 0.197 and 0.314 for
DIOR-RSVG.
"""

from geochat.datasets import RefCOCOBenchmark, RSVGBenchmark, VOCReferringBenchmark
from geochat.datasets.transforms import ImageFolder
from geochat.evaluation.metrics import RotatedGrounding

_thresholds = (0.5, 0.6, 0.7, 0.8, 0.9)
_metrics = [
    dict(type=RotatedGrounding, thresholds=_thresholds, iou='hbox'),
    dict(type=RotatedGrounding, thresholds=_thresholds),
]
_shown = (
    *('hbox/acc@0.5', 'hbox/acc@0.6', 'hbox/acc@0.7', 'hbox/acc@0.8', 'hbox/acc@0.9'),
    *('hbox/mean_iou', 'hbox/cum_iou', 'acc@0.5'),
)

benchmarks = dict(
    dior_rsvg=dict(
        version=1,
        source='DIOR-RSVG: the links of github.com/ZhanYang-nwpu/RSVG-pytorch',
        reader=dict(
            type=VOCReferringBenchmark,
            data_file='data/DIOR-RSVG/test.txt',
            image_source=dict(type=ImageFolder, root='data/DIOR-RSVG/JPEGImages'),
            annotations='data/DIOR-RSVG/Annotations',
        ),
        task='refer',
        metrics=_metrics,
        shown=_shown,
        published={'hbox/acc@0.5': 0.2405},
    ),
    opt_rsvg=dict(
        version=1,
        source='OPT-RSVG: the links of github.com/like413/OPT-RSVG',
        reader=dict(
            type=VOCReferringBenchmark,
            data_file='data/OPT-RSVG/split/test.txt',
            image_source=dict(type=ImageFolder, root='data/OPT-RSVG/Image'),
            annotations='data/OPT-RSVG/Annotations',
        ),
        task='refer',
        metrics=_metrics,
        shown=_shown,
    ),
    rsvg=dict(
        version=1,
        source='RSVG: the links of sunyuxi.github.io/publication/GeoVG',
        reader=dict(
            type=RSVGBenchmark,
            data_file='data/RSVG/rsvg_test.pth',
            image_source=dict(type=ImageFolder, root='data/RSVG/images'),
        ),
        task='refer',
        metrics=_metrics,
        shown=_shown,
        published={'hbox/acc@0.5': 0.0204},
    ),
    rrsis_d=dict(
        version=1,
        source='RRSIS-D: the links of github.com/Lsan2401/RMSIN',
        reader=dict(
            type=RefCOCOBenchmark,
            data_file='data/RRSIS-D/rrsisd/refs(unc).p',
            image_source=dict(type=ImageFolder, root='data/RRSIS-D/images/rrsisd/JPEGImages'),
            instances_file='data/RRSIS-D/rrsisd/instances.json',
        ),
        task='refer',
        metrics=_metrics,
        shown=_shown,
    ),
)
