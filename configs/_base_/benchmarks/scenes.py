"""Questions about 500 built-in scenes that no training sees, in the formats of GeoChat-Bench."""

from geochat.datasets import ReferringBenchmark, RegionCaptionBenchmark, SceneBenchmark, SceneImages, VQABenchmark
from geochat.evaluation.metrics import ExactMatch, RotatedGrounding

_pictures = dict(type=SceneImages, size=112)

benchmarks = dict(
    scene=dict(
        reader=dict(type=SceneBenchmark, data_file='data/scenes/scene.jsonl', image_source=_pictures),
        task='scene',
        metrics=[dict(type=ExactMatch)],
        max_new_tokens=16,
    ),
    presence=dict(
        reader=dict(type=VQABenchmark, data_file='data/scenes/presence.jsonl', image_source=_pictures),
        task='vqa',
        metrics=[dict(type=ExactMatch)],
        max_new_tokens=16,
    ),
    counting=dict(
        reader=dict(type=VQABenchmark, data_file='data/scenes/counting.jsonl', image_source=_pictures),
        task='vqa',
        metrics=[dict(type=ExactMatch)],
        max_new_tokens=16,
    ),
    refer=dict(
        reader=dict(type=ReferringBenchmark, data_file='data/scenes/referring.jsonl', image_source=_pictures),
        task='refer',
        metrics=[dict(type=RotatedGrounding)],
        shown=('acc@0.25', 'acc@0.5'),
        max_new_tokens=64,
    ),
    identify=dict(
        reader=dict(
            type=RegionCaptionBenchmark, data_file='data/scenes/region_captioning.jsonl', image_source=_pictures
        ),
        task='region_caption',
        metrics=[dict(type=ExactMatch)],
        max_new_tokens=32,
    ),
)
