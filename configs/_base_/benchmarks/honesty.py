"""VHM's honesty questions: presence, position and colour of objects, some of which are not there."""

from geochat.datasets import HonestyBenchmark
from geochat.datasets.transforms import ImageFolder
from geochat.evaluation.metrics import Honesty

benchmarks = dict(
    vhm_honesty=dict(
        version=1,
        source='datasets_eval.zip: huggingface.co/datasets/FitzPC/VHM_eval_dataset',
        reader=dict(
            type=HonestyBenchmark,
            data_file='data/VHM_Eval/datasets_eval',
            image_source=dict(type=ImageFolder, root='data/VHM_Eval/datasets_eval'),
        ),
        task='vqa',
        metrics=[dict(type=Honesty), dict(type=Honesty, protocol='rsevalkit')],
    ),
)
