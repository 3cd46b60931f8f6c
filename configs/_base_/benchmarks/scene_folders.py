"""Scene classification of pictures in a folder for each class: WHU-RS19.

The figure of GeoChat-7B is the one that GeoVLM-R1's page gives.
"""

from geochat.datasets import SceneFolderBenchmark
from geochat.datasets.transforms import ImageFolder
from geochat.evaluation.metrics import ExactMatch

benchmarks = dict(
    whu_rs19=dict(
        version=1,
        source='WHU-RS19: captain-whu.github.io/BED4RS',
        reader=dict(
            type=SceneFolderBenchmark,
            data_file='data/WHU-RS19',
            image_source=dict(type=ImageFolder, root='data/WHU-RS19'),
        ),
        task='scene',
        metrics=[dict(type=ExactMatch, closed_set=True), dict(type=ExactMatch, protocol='earthdial')],
        published={'accuracy': 0.8009},
    ),
)
