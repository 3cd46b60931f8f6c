"""GeoChat-Bench, as https://huggingface.co/datasets/MBZUAI/GeoChat-Bench has its files.

Pictures and answers that it leaves out: AID, UC Merced, and the pictures and answers of RSVQA-LR and RSVQA-HR.
"""

from geochat.datasets import ReferringBenchmark, SceneBenchmark, VQABenchmark
from geochat.datasets.transforms import ImageFolder
from geochat.evaluation.metrics import ExactMatch, RotatedGrounding

benchmarks = dict(
    aid=dict(
        reader=dict(
            type=SceneBenchmark,
            data_file='data/GeoChat-Bench/aid.jsonl',
            image_source=dict(type=ImageFolder, root='data/AID'),
            truth_from='question_id',
        ),
        task='scene',
        metrics=[dict(type=ExactMatch)],
    ),
    ucmerced=dict(
        reader=dict(
            type=SceneBenchmark,
            data_file='data/GeoChat-Bench/UCmerced.jsonl',
            image_source=dict(type=ImageFolder, root='data/UCMerced'),
            truth_from='question_id',
        ),
        task='scene',
        metrics=[dict(type=ExactMatch)],
    ),
    rsvqa_lrben=dict(
        reader=dict(
            type=VQABenchmark,
            data_file='data/GeoChat-Bench/lrben.jsonl',
            image_source=dict(type=ImageFolder, root='data/RSVQA-LR/Images_LR'),
            answers_file='data/RSVQA-LR/all_answers.json',
            categories=('presence', 'comp', 'rural_urban'),
        ),
        task='vqa',
        metrics=[dict(type=ExactMatch)],
    ),
    rsvqa_hrben=dict(
        reader=dict(
            type=VQABenchmark,
            data_file='data/GeoChat-Bench/hrben.jsonl',
            image_source=dict(type=ImageFolder, root='data/RSVQA-HR/Data'),
            answers_file='data/RSVQA-HR/USGSanswers.json',
            categories=('presence', 'comp'),
        ),
        task='vqa',
        metrics=[dict(type=ExactMatch)],
    ),
    referring=dict(
        reader=dict(
            type=ReferringBenchmark,
            data_file='data/GeoChat-Bench/referring.jsonl',
            image_source=dict(type=ImageFolder, root='data/GeoChat_Instruct/images'),
        ),
        task=dict(ref='refer', grounding='grounding'),
        metrics=[dict(type=RotatedGrounding)],
    ),
)
