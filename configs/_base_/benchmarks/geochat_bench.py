"""GeoChat's own seven benchmarks, with the figures of its paper (arXiv 2311.15826, tables 5 to 10).

Questions: GeoChat-Bench, https://huggingface.co/datasets/MBZUAI/GeoChat-Bench. It leaves out the pictures of AID and UC
Merced, pictures and answers of RSVQA-LR and RSVQA-HR, and the true boxes of the grounded descriptions.
"""

from geochat.datasets import (
    GroundingDescriptionBenchmark,
    ReferringBenchmark,
    RegionCaptionBenchmark,
    SceneBenchmark,
    VQABenchmark,
)
from geochat.datasets.transforms import ImageFolder
from geochat.evaluation.metrics import Captions, ExactMatch, RotatedGrounding

_questions = 'huggingface.co/datasets/MBZUAI/GeoChat-Bench'
_pictures = dict(type=ImageFolder, root='data/GeoChat_Instruct/images')
_scene_metrics = [
    dict(type=ExactMatch, closed_set=True),
    dict(type=ExactMatch, protocol='geochat'),
    dict(type=ExactMatch, protocol='earthdial'),
]
_vqa_metrics = [dict(type=ExactMatch, macro_over='category'), dict(type=ExactMatch, protocol='earthdial')]

benchmarks = dict(
    aid=dict(
        version=1,
        source=f'aid.jsonl: {_questions}; pictures of AID: captain-whu.github.io/AID',
        reader=dict(
            type=SceneBenchmark,
            data_file='data/GeoChat-Bench/aid.jsonl',
            image_source=dict(type=ImageFolder, root='data/AID'),
            truth_from='question_id',
        ),
        task='scene',
        metrics=_scene_metrics,
        published={'geochat/accuracy': 0.7203},
    ),
    ucmerced=dict(
        version=1,
        source=f'UCmerced.jsonl: {_questions}; pictures: weegee.vision.ucmerced.edu/datasets/landuse.html',
        reader=dict(
            type=SceneBenchmark,
            data_file='data/GeoChat-Bench/UCmerced.jsonl',
            image_source=dict(type=ImageFolder, root='data/UCMerced'),
            truth_from='question_id',
        ),
        task='scene',
        metrics=_scene_metrics,
        published={'geochat/accuracy': 0.8443},
    ),
    rsvqa_lrben=dict(
        version=1,
        source=f'lrben.jsonl: {_questions}; answers and pictures of RSVQA-LR: zenodo.org/records/6344334',
        reader=dict(
            type=VQABenchmark,
            data_file='data/GeoChat-Bench/lrben.jsonl',
            image_source=dict(type=ImageFolder, root='data/RSVQA-LR/Images_LR'),
            answers_file='data/RSVQA-LR/all_answers.json',
            categories=('presence', 'comp', 'rural_urban'),
        ),
        task='vqa',
        metrics=_vqa_metrics,
        published={
            'accuracy': 0.9070,
            'category=presence/accuracy': 0.9109,
            'category=comp/accuracy': 0.9033,
            'category=rural_urban/accuracy': 0.94,
        },
    ),
    rsvqa_hrben=dict(
        version=1,
        source=f'hrben.jsonl: {_questions}; answers and pictures of RSVQA-HR: zenodo.org/records/6344367',
        reader=dict(
            type=VQABenchmark,
            data_file='data/GeoChat-Bench/hrben.jsonl',
            image_source=dict(type=ImageFolder, root='data/RSVQA-HR/Data'),
            answers_file='data/RSVQA-HR/USGSanswers.json',
            categories=('presence', 'comp'),
        ),
        task='vqa',
        metrics=_vqa_metrics,
        published={'accuracy': 0.7230, 'category=presence/accuracy': 0.5845, 'category=comp/accuracy': 0.8319},
    ),
    referring=dict(
        version=1,
        source=f'referring.jsonl: {_questions}; pictures: huggingface.co/datasets/MBZUAI/GeoChat_Instruct',
        reader=dict(type=ReferringBenchmark, data_file='data/GeoChat-Bench/referring.jsonl', image_source=_pictures),
        task=dict(ref='refer', grounding='grounding'),
        metrics=[
            dict(type=RotatedGrounding),
            dict(type=RotatedGrounding, protocol='geochat'),
            dict(type=RotatedGrounding, protocol='earthdial'),
        ],
        shown=('precision@0.5', 'recall@0.5', 'f1@0.5', 'exact_set@0.5', 'f1@0.25', 'exact_set@0.25'),
        # The paper does not say how it counts expressions that mean several objects; see docs/evaluation.md.
        published={
            'geochat/acc@0.5': 0.106,
            'geochat/size=small/acc@0.5': 0.029,
            'geochat/size=medium/acc@0.5': 0.136,
            'geochat/size=large/acc@0.5': 0.217,
            'geochat/objects=single/acc@0.5': 0.160,
            'geochat/objects=multiple/acc@0.5': 0.043,
            'geochat/type=ref/acc@0.5': 0.105,
            'geochat/type=grounding/acc@0.5': 0.118,
        },
    ),
    region_caption=dict(
        version=1,
        source=f'region_captioning.jsonl: {_questions}; pictures: huggingface.co/datasets/MBZUAI/GeoChat_Instruct',
        reader=dict(
            type=RegionCaptionBenchmark, data_file='data/GeoChat-Bench/region_captioning.jsonl', image_source=_pictures
        ),
        task='region_caption',
        metrics=[dict(type=Captions, measures=('rouge', 'meteor')), dict(type=Captions, protocol='earthdial')],
        # EarthDial's authors scored GeoChat's answers again, and got much less: 0.7277, 0.7274 and 0.619.
        published={'rouge1': 0.873, 'rougeL': 0.872, 'meteor': 0.839},
    ),
    grounding_description=dict(
        version=1,
        source=f'grounding_description.jsonl: {_questions}; pictures: huggingface.co/datasets/MBZUAI/GeoChat_Instruct',
        reader=dict(
            type=GroundingDescriptionBenchmark,
            data_file='data/GeoChat-Bench/grounding_description.jsonl',
            image_source=_pictures,
        ),
        task='grounding',
        # With a file whose descriptions have boxes, add dict(type=RotatedGrounding).
        metrics=[dict(type=Captions, measures=('rouge', 'meteor'))],
        published={'meteor': 0.489, 'acc@0.5': 0.117, 'acc@0.25': 0.339},
    ),
)
