"""VRSBench, with its authors' figures of GeoChat-7B as released, without fine-tuning.

Questions and pictures: https://huggingface.co/datasets/xiang709/VRSBench. Its scores of answers to questions are given
by GPT, and have no counterpart here.
"""

from geochat.datasets import CaptionBenchmark, ReferringBenchmark, VQABenchmark
from geochat.datasets.transforms import ImageFolder
from geochat.evaluation.metrics import Captions, ExactMatch, RotatedGrounding

_source = 'huggingface.co/datasets/xiang709/VRSBench'
_pictures = dict(type=ImageFolder, root='data/VRSBench/Images_val')

benchmarks = dict(
    vrsbench_caption=dict(
        version=1,
        source=f'VRSBench_EVAL_Cap.json, Images_val.zip: {_source}',
        reader=dict(type=CaptionBenchmark, data_file='data/VRSBench/VRSBench_EVAL_Cap.json', image_source=_pictures),
        task='caption',
        metrics=[dict(type=Captions), dict(type=Captions, protocol='vrsbench')],
        published={
            'vrsbench/bleu1': 0.139,
            'vrsbench/bleu2': 0.066,
            'vrsbench/bleu3': 0.030,
            'vrsbench/bleu4': 0.014,
            'vrsbench/meteor': 0.078,
            'vrsbench/rougeL': 0.132,
            'vrsbench/cider': 0.004,
        },
    ),
    vrsbench_referring=dict(
        version=1,
        source=f'VRSBench_EVAL_referring.json, Images_val.zip: {_source}',
        reader=dict(
            type=ReferringBenchmark,
            data_file='data/VRSBench/VRSBench_EVAL_referring.json',
            image_source=_pictures,
        ),
        task='refer',
        metrics=[
            dict(type=RotatedGrounding, thresholds=(0.5, 0.7)),
            dict(type=RotatedGrounding, thresholds=(0.5, 0.7), iou='hbox'),
            dict(type=RotatedGrounding, thresholds=(0.5, 0.7), protocol='vrsbench'),
        ],
        shown=('acc@0.5', 'acc@0.7', 'mean_iou', 'cum_iou', 'hbox/acc@0.5', 'hbox/acc@0.7'),
        published={
            'vrsbench/acc@0.5': 0.129,
            'vrsbench/acc@0.7': 0.032,
            'vrsbench/unique=true/acc@0.5': 0.207,
            'vrsbench/unique=true/acc@0.7': 0.054,
            'vrsbench/unique=false/acc@0.5': 0.073,
            'vrsbench/unique=false/acc@0.7': 0.017,
        },
    ),
    vrsbench_vqa=dict(
        version=1,
        source=f'VRSBench_EVAL_vqa.json, Images_val.zip: {_source}',
        reader=dict(type=VQABenchmark, data_file='data/VRSBench/VRSBench_EVAL_vqa.json', image_source=_pictures),
        task='vqa',
        metrics=[dict(type=ExactMatch, macro_over='category')],
    ),
)
