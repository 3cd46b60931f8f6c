"""How fast boxes are compared and answers scored, on one processor.

    python benchmarks/evaluation.py --json evaluation.json
    python benchmarks/evaluation.py --answers 10000 --pairs 100000

Pairs of boxes are compared by our own overlap, by shapely, and by mmcv's operator where it is compiled. Answers are
texts of the GeoChat box language, made from true boxes with noise; they are read, scored, and given intervals, in this
process and by ``tools/analysis_tools/score.py`` as a user starts it, with all protocols of the benchmark. Detections
have the size of DOTA's validation set. Times are of the processor (those of the tool also by the clock), the best of
the repeats.
"""

import argparse
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import in_own_process, machine, run_python

from geochat.box_codecs import GeoChatBoxCodec
from geochat.evaluation.functional import rotated_iou
from geochat.evaluation.metrics import AnswerMetric, Detection, RotatedGrounding
from geochat.structures import Answer, ParsedAnswer, Question
from geochat.structures.polygons import box_corners

SCORE_TOOL = Path(__file__).resolve().parents[1] / 'tools' / 'analysis_tools' / 'score.py'

SIZE = (800, 800)
"""Width and height of the pictures in pixels."""

DOTA_PICTURES, DOTA_OBJECTS, DOTA_CLASSES = 458, 28_853, 15
"""Of DOTA v1.0's validation set (Xia et al. 2018)."""


def seconds_of(work: Callable[[], Any], repeats: int) -> float:
    """Return the least processor time of some runs, after one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return boxes (N, 5) of 20 to 200 pixels within a picture."""
    return np.column_stack(
        [rng.uniform(100, 700, (count, 2)), rng.uniform(20, 200, (count, 2)), rng.uniform(0, np.pi / 2, count)]
    )


def moved(rng: np.random.Generator, boxes: np.ndarray) -> np.ndarray:
    """Return boxes that overlap those given more or less."""
    sides = boxes[:, 2:4]
    noise = rng.normal(0, 0.15, (len(boxes), 2)) * sides, sides * rng.uniform(-0.3, 0.3, (len(boxes), 2))
    return boxes + np.column_stack([*noise, rng.normal(0, 0.1, len(boxes))])


def has_mmcv_operators() -> bool:
    """Look for mmcv's extension module without importing mmcv."""
    spec = importlib.util.find_spec('mmcv')
    return spec is not None and any(Path(spec.origin).parent.glob('_ext*'))


def compare_pairs(count: int, repeats: int) -> dict[str, float | None]:
    """Compare pairs of boxes that overlap: pairs a second."""
    import shapely

    rng = np.random.default_rng(0)
    one = random_boxes(rng, count)
    other = moved(rng, one)

    def by_shapely() -> None:
        polygons = [shapely.polygons(box_corners(boxes)) for boxes in (one, other)]
        shapely.area(shapely.intersection(*polygons, grid_size=1e-10))

    speeds = {
        'ours': count / seconds_of(lambda: rotated_iou(one, other), repeats),
        'shapely': count / seconds_of(by_shapely, 1),
        'mmcv': None,
    }
    if has_mmcv_operators():
        import torch
        from mmcv.ops import box_iou_rotated

        torch.set_num_threads(1)
        tensors = [torch.from_numpy(boxes).float() for boxes in (one, other)]
        speeds['mmcv'] = count / seconds_of(lambda: box_iou_rotated(*tensors, aligned=True), repeats)
    return speeds


def referring_texts(count: int) -> tuple[list[Question], list[str]]:
    """Return questions and answers: a quarter mean several objects, some answers miss one, some cannot be read."""
    rng, codec = np.random.default_rng(1), GeoChatBoxCodec()
    questions, texts = [], []
    for number in range(count):
        truth = random_boxes(rng, rng.integers(2, 6) if number % 4 == 0 else 1)
        groups = {'size': ('small', 'medium', 'large')[number % 3], 'type': ('ref', 'grounding')[number % 2]}
        questions.append(Question(str(number), (f'{number // 3}.png',), {}, {'boxes': truth}, groups))
        found = moved(rng, truth)[: len(truth) - (number % 11 == 0)]
        texts.append('I see nothing.' if number % 50 == 0 else codec.encode(found, SIZE))
    return questions, texts


def read_answers(questions: list[Question], texts: list[str]) -> list[Answer]:
    """Read texts as a benchmark does."""
    codec, answers = GeoChatBoxCodec(), []
    for question, text in zip(questions, texts, strict=True):
        grounded = codec.decode(text, SIZE)
        parsed = ParsedAnswer(text, grounded.boxes, grounded, malformed=not len(grounded.boxes))
        answers.append(Answer(question, '', text, parsed, SIZE))
    return answers


def score(metric: AnswerMetric, answers: list[Answer]) -> None:
    """Score answers."""
    metric.results.clear()
    metric.process(None, answers)
    metric.compute_metrics(metric.results)


def score_grounding(count: int, repeats: int) -> dict[str, float]:
    """Read and score answers to referring questions: seconds."""
    questions, texts = referring_texts(count)
    answers = read_answers(questions, texts)
    metric = RotatedGrounding()
    return {
        'read_s': seconds_of(lambda: read_answers(questions, texts), repeats),
        'score_s': seconds_of(lambda: score(metric, answers), repeats),
        'intervals_s': seconds_of(lambda: metric.intervals(metric.results), repeats),
    }


def write_referring(folder: Path, count: int) -> None:
    """Write the questions in the form of GeoChat-Bench, where the configs look for them, and a file of answers."""
    place = folder / 'data' / 'GeoChat-Bench'
    place.mkdir(parents=True)
    questions, answers = [], []
    for question, text in zip(*referring_texts(count), strict=True):
        row = {'question_id': question.id, 'image_id': question.images[0], 'question': 'the ship'}
        groups = {'size_group': question.groups['size'], 'type': question.groups['type']}
        corners = box_corners(question.truth['boxes']).round(1).tolist()
        questions.append(json.dumps({**row, **groups, 'ground_truth': corners}))
        answers.append(json.dumps({'question_id': question.id, 'answer': text, 'image_size': SIZE}))
    (place / 'referring.jsonl').write_text('\n'.join(questions), encoding='utf-8')
    (folder / 'answers.jsonl').write_text('\n'.join(answers), encoding='utf-8')


def run_score_tool(count: int, repeats: int) -> dict[str, float]:
    """Let ``score.py`` join a file of answers with the questions and score them: time and memory of the best run."""
    runs = []
    with tempfile.TemporaryDirectory(prefix='geochat-evaluation-') as folder:
        write_referring(Path(folder), count)
        for _ in range(repeats + 1):
            runs.append(run_python([str(SCORE_TOOL), 'answers.jsonl', '--benchmark', 'referring'], Path(folder)))
    return min(runs[1:], key=lambda run: run['wall_s'])


def detection_answers(pictures: int) -> list[Answer]:
    """Return answers with as many boxes a picture as DOTA has, and a confidence of each."""
    rng = np.random.default_rng(2)
    names = [f'class {label}' for label in range(DOTA_CLASSES)]
    answers = []
    for number in range(pictures):
        truth = random_boxes(rng, rng.poisson(DOTA_OBJECTS / DOTA_PICTURES))
        labels = [names[label] for label in rng.integers(0, DOTA_CLASSES, len(truth))]
        question = Question(str(number), (f'{number}.png',), {}, {'boxes': truth, 'labels': labels})
        parsed = ParsedAnswer('', moved(rng, truth), labels=tuple(labels))
        answers.append(Answer(question, '', '', parsed, SIZE, box_scores=tuple(rng.random(len(truth)))))
    return answers


def score_detection(pictures: int, repeats: int) -> dict[str, float]:
    """Score detections: seconds."""
    answers, metric = detection_answers(pictures), Detection()
    return {
        'objects': sum(len(answer.question.truth['boxes']) for answer in answers),
        'score_s': seconds_of(lambda: score(metric, answers), repeats),
        'intervals_s': seconds_of(lambda: metric.intervals(metric.results), 1),
    }


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--pairs', type=int, default=100_000, help='pairs of boxes')
    parser.add_argument('--answers', type=int, nargs='+', default=[10_000, 100_000], help='answers to score')
    parser.add_argument('--pictures', type=int, default=DOTA_PICTURES, help='pictures of the detections')
    parser.add_argument('--repeats', type=int, default=3, help='runs, of which the best counts')
    parser.add_argument('--json', type=Path, help='file to write the figures to')
    args = parser.parse_args()
    report = {'machine': in_own_process(machine), 'numpy': np.__version__, 'pairs': args.pairs}
    report['pairs/s'] = compare_pairs(args.pairs, args.repeats)
    for name, speed in report['pairs/s'].items():
        print(f'{name:8} {"not compiled" if speed is None else f"{speed:12,.0f} pairs/s"}')
    report['referring'] = {}
    for count in args.answers:
        times = report['referring'][count] = score_grounding(count, args.repeats)
        print(f'{count:,} referring answers: ' + ', '.join(f'{name} {value:.2f}' for name, value in times.items()))
    report['score.py'] = {}
    for count in args.answers:
        figures = report['score.py'][count] = run_score_tool(count, args.repeats)
        print(f'score.py, {count:,}: ' + ', '.join(f'{name} {value:.2f}' for name, value in figures.items()))
    report['detection'] = score_detection(args.pictures, args.repeats)
    print('detection: ' + ', '.join(f'{name} {value:,.2f}' for name, value in report['detection'].items()))
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
