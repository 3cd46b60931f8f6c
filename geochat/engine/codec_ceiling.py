"""What a box language costs a benchmark: its true boxes written, read back, and scored as if they were answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from geochat.engine.benchmark import Benchmark
from geochat.engine.config import ConfigError
from geochat.engine.results import number_text
from geochat.evaluation.functional import enclosing_boxes, rotated_iou
from geochat.registry import BOX_CODECS
from geochat.structures import Answer, ParsedAnswer

if TYPE_CHECKING:
    from geochat.box_codecs import BoxCodec

Figures = dict[str, float]

THRESHOLDS = (0.5, 0.75)

OF_THE_BENCHMARK = ('acc@0.5', 'f1@0.5', 'mAP_nc@0.5', 'AP')
"""Scores of a benchmark's own metrics that stand in the table, where it has them."""


def codec_names() -> list[str]:
    """Return the short name of every registered box codec, sorted."""
    return sorted(name for name, codec in BOX_CODECS.names().items() if name != codec.__name__)


def image_sizes(benchmark: Benchmark) -> list[tuple[int, int]]:
    """Return width and height in pixels of the picture of each question of a benchmark.

    Raises:
        ConfigError: If the questions have no true boxes.
        OSError: If a picture is missing; the message names it.
    """
    sizes = []
    for question in benchmark.reader:
        if 'boxes' not in question.truth or not question.images:
            raise ConfigError(f'the questions of the benchmark {benchmark.name!r} have no true boxes')
        sizes.append(benchmark.image_size(question))
    return sizes


def codec_ceiling(benchmark: Benchmark, codec: 'BoxCodec', sizes: Sequence[tuple[int, int]]) -> Figures:
    """Write and read the true boxes of a benchmark in a box language, and score what comes back.

    That is what a model scores that knows every box and writes it as the language's data do. It is not the best that
    could be written for the overlap: a small box may have a better neighbour on the grid than the nearest, and of a
    turned one a smaller upright rectangle than the enclosing one overlaps more.

    Args:
        benchmark: A benchmark whose questions have true boxes.
        codec: The box language.
        sizes: Width and height in pixels of each question's picture; see :func:`image_sizes`.

    Returns:
        - ``boxes``: how many there are; ``lost``: those that come back with a side of length 0;
        - ``edge_error``: median over the boxes of the largest error of an edge in pixels (``BoxCodec.precision``);
        - ``mean_iou``, ``iou>=0.5``, ``iou>=0.75``: of each box with itself as it comes back, rotated overlap;
        - ``upright>=0.5``: likewise for the upright rectangles around both;
        - and those of :data:`OF_THE_BENCHMARK` that the benchmark's own metrics have, under the protocol ``'exact'``.
          Where a metric asks how sure the answer is of a box, it is as sure as the box overlaps.
    """
    answers, true, found, errors = [], [], [], []
    for question, size in zip(benchmark.reader, sizes, strict=True):
        boxes = question.truth['boxes']
        text = codec.encode(boxes, size)
        grounded = codec.decode(text, size)
        iou = rotated_iou(boxes, grounded.boxes)
        parsed = ParsedAnswer(text, grounded.boxes, grounded, labels=question.truth.get('labels'))
        answers.append(Answer(question, '', text, parsed, size, box_scores=tuple(iou.tolist())))
        true.append(boxes)
        found.append(grounded.boxes)
        errors += [codec.precision(size)] * len(boxes)
    if not errors:
        raise ConfigError(f'the benchmark {benchmark.name!r} has no true box')
    overlaps = np.concatenate([answer.box_scores for answer in answers])
    upright = rotated_iou(enclosing_boxes(np.concatenate(true)), enclosing_boxes(np.concatenate(found)))
    return {
        'boxes': len(overlaps),
        'lost': int((np.concatenate(found)[:, 2:4] <= 0).any(axis=1).sum()),
        'edge_error': float(np.median(errors)),
        'mean_iou': float(overlaps.mean()),
        **{f'iou>={threshold:g}': float((overlaps >= threshold).mean()) for threshold in THRESHOLDS},
        'upright>=0.5': float((upright >= 0.5).mean()),
        **_own_scores(benchmark, answers),
    }


def _own_scores(benchmark: Benchmark, answers: Sequence[Answer]) -> Figures:
    from geochat.evaluation.metrics import Detection, RotatedGrounding

    scores: Figures = {}
    for metric in benchmark.metrics:
        if isinstance(metric, RotatedGrounding | Detection) and metric.protocol == 'exact' and not metric.prefix:
            metric.results.clear()
            metric.process(None, answers)
            scores.update(metric.compute_metrics(metric.results))
    return {name: float(scores[name]) for name in OF_THE_BENCHMARK if name in scores}


def ceilings(
    benchmarks: Sequence[Benchmark],
    codecs: Sequence[str],
    progress: Callable[[str], Any] = lambda words: None,
) -> dict[str, dict[str, Figures]]:
    """Return the figures of :func:`codec_ceiling` by benchmark and codec.

    Args:
        benchmarks: Benchmarks whose questions have true boxes.
        codecs: Names of box codecs.
        progress: Is told what is being worked on.

    Raises:
        ConfigError: If a benchmark has no true boxes, or there is no such codec; the message names the nearest ones.
        OSError: If a picture is missing; the message names it.
    """
    built = {name: _build(name) for name in codecs}
    figures: dict[str, dict[str, Figures]] = {}
    for benchmark in benchmarks:
        progress(f'{benchmark.name}: sizes of the pictures of {len(benchmark.reader)} questions')
        sizes = image_sizes(benchmark)
        figures[benchmark.name] = {}
        for name, codec in built.items():
            progress(f'{benchmark.name}: {name}')
            figures[benchmark.name][name] = codec_ceiling(benchmark, codec, sizes)
    return figures


def _build(name: str) -> 'BoxCodec':
    try:
        return BOX_CODECS.build({'type': name})
    except KeyError as error:
        raise ConfigError(error.args[0]) from error


def ceiling_table(figures: Mapping[str, Mapping[str, Figures]]) -> str:
    """Lay out the figures of :func:`ceilings` as one table."""
    from terminaltables import AsciiTable

    names = [name for of_codec in figures.values() for values in of_codec.values() for name in values]
    columns = list(dict.fromkeys(names))
    titles = {'edge_error': 'edge error px', 'mean_iou': 'mean IoU', 'iou>=0.5': 'IoU>=0.5', 'iou>=0.75': 'IoU>=0.75'}
    rows = [['benchmark', 'codec', *(titles.get(name, name) for name in columns)]]
    for benchmark, of_codec in figures.items():
        head = benchmark
        for codec, values in of_codec.items():
            rows.append([head, codec, *(number_text(values.get(name)) for name in columns)])
            head = ''
    table = AsciiTable(rows)
    table.justify_columns = dict.fromkeys(range(2, len(rows[0])), 'right')
    return table.table
