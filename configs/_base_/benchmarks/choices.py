"""Multiple-choice questions: FIT-RSRC (relations of objects, under CircularEval) and GEOBench-VLM (single pictures)."""

from geochat.datasets import CircularChoiceBenchmark, GEOBenchBenchmark
from geochat.datasets.transforms import ImageFolder
from geochat.evaluation.metrics import MultipleChoice

benchmarks = dict(
    fit_rsrc=dict(
        version=1,
        source='FIT-RSRC: the links of github.com/Luo-Z13/SkySenseGPT',
        reader=dict(
            type=CircularChoiceBenchmark,
            data_file='data/FIT-RSRC/FIT-RSRC_Questions_2k.jsonl',
            image_source=dict(type=ImageFolder, root='data/FIT-RSRC/Images'),
        ),
        task='multiple_choice',
        metrics=[
            dict(type=MultipleChoice, circular=True, macro_over='category'),
            dict(type=MultipleChoice, circular=True, protocol='fit_rs'),
        ],
    ),
    geobench_vlm=dict(
        version=1,
        source='GEOBench-VLM, folder Single: the links of github.com/The-AI-Alliance/GEO-Bench-VLM',
        reader=dict(
            type=GEOBenchBenchmark,
            data_file='data/GEOBench-VLM/Single/qa.json',
            image_source=dict(type=ImageFolder, root='data/GEOBench-VLM/Single'),
        ),
        task='multiple_choice',
        metrics=[
            dict(type=MultipleChoice, macro_over='task'),
            dict(type=MultipleChoice, protocol='geobench_vlm'),
        ],
    ),
)
