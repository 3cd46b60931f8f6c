"""Detection of rotated objects: DOTA-v1.0's validation split in tiles, and DIOR-R's test split.

The tiles are those of mmrotate's ``tools/data/dota/split`` (single scale, 1,024 pixels, 200 overlapping). GeoChat was
not trained to find all objects of a picture, and no figures of it are published.
"""

from geochat.datasets import DIORBenchmark, DOTABenchmark
from geochat.datasets.transforms import ImageFolder
from geochat.evaluation.metrics import Detection

_metrics = [dict(type=Detection), dict(type=Detection, protocol='lmmrotate')]

benchmarks = dict(
    dota=dict(
        version=1,
        source='DOTA-v1.0: captain-whu.github.io/DOTA/dataset.html, cut into tiles by mmrotate',
        reader=dict(
            type=DOTABenchmark,
            data_file='data/DOTA/split_ss_dota/val/annfiles',
            image_source=dict(type=ImageFolder, root='data/DOTA/split_ss_dota/val/images'),
            classes=(
                *('plane', 'baseball-diamond', 'bridge', 'ground-track-field', 'small-vehicle', 'large-vehicle'),
                *('ship', 'tennis-court', 'basketball-court', 'storage-tank', 'soccer-ball-field', 'roundabout'),
                *('harbor', 'swimming-pool', 'helicopter'),
            ),
        ),
        task='detection',
        metrics=_metrics,
        max_new_tokens=1024,
    ),
    dior_r=dict(
        version=1,
        source='DIOR-R: gcheng-nwpu.github.io/#Datasets',
        reader=dict(
            type=DIORBenchmark,
            data_file='data/DIOR-R/ImageSets/Main/test.txt',
            image_source=dict(type=ImageFolder, root='data/DIOR-R/JPEGImages-test'),
            annotations='data/DIOR-R/Annotations/Oriented Bounding Boxes',
            classes=(
                *('airplane', 'airport', 'baseballfield', 'basketballcourt', 'bridge', 'chimney', 'dam'),
                *('expressway-service-area', 'expressway-toll-station', 'golffield', 'groundtrackfield', 'harbor'),
                *('overpass', 'ship', 'stadium', 'storagetank', 'tenniscourt', 'trainstation', 'vehicle', 'windmill'),
            ),
        ),
        task='detection',
        metrics=_metrics,
        max_new_tokens=1024,
    ),
)
