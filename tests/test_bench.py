"""Our arithmetic on a published model's answers gives the scores that shapely, scipy and rouge-score alone give.

The folder is ``$GEOCHAT_BENCH``, by default ``../shared/bench`` beside the repository.
"""

import json
import os
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from geochat.evaluation.functional import count_boxes, exact_match, grounding_scores, pairwise_rotated_iou, rouge
from geochat.evaluation.metrics import RotatedGrounding
from geochat.structures import Answer, ParsedAnswer, Question

FOLDER = Path(os.environ.get('GEOCHAT_BENCH', Path(__file__).parents[2] / 'shared' / 'bench'))
BOX = re.compile(r'\[\[(\d+), (\d+), (\d+), (\d+), (\d+)\]\]')
"""A box as the published scorer reads it: without a sign, which leaves out 171 of the 3,441 boxes of the ground truth.
The expected scores are of the other 3,270; an expression counts as single if one of its boxes is left."""

pytestmark = pytest.mark.skipif(
    not (FOLDER / 'expected_scores.json').is_file(), reason=f'no predictions with known scores in {FOLDER}'
)


def expected_scores():
    return json.loads((FOLDER / 'expected_scores.json').read_text(encoding='utf-8'))


def predictions(name):
    text = (FOLDER / f'{name}_predictions.jsonl').read_text(encoding='utf-8')
    return [json.loads(line) for line in text.splitlines()]


def boxes(text, sign, pattern=BOX):
    """The boxes ``[[x1, y1, x2, y2, degrees]]`` of a text, on the grid of per cent; edges are those before turning."""
    x1, y1, x2, y2, degrees = np.array(pattern.findall(text), dtype=float).reshape(-1, 5).T
    return np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, sign * np.deg2rad(degrees)], axis=1)


def groups(row, truth):
    return ['all', row['size_group'], 'single' if len(truth) == 1 else 'multiple']


@pytest.mark.parametrize('sense', ['clockwise', 'counter_clockwise'])
def test_referring(sense):
    sign = 1 if sense == 'clockwise' else -1
    overlaps = defaultdict(list)
    for row in predictions('referring'):
        truth = boxes(row['gt_bbox'], sign)
        iou = pairwise_rotated_iou(boxes(row['answer'], sign), truth)
        for group in groups(row, truth):
            overlaps[group].append(iou)
    for threshold, by_group in expected_scores()['referring'][sense].items():
        assert set(by_group) == set(overlaps)
        for group, expected in by_group.items():
            counts = count_boxes(overlaps[group], float(threshold))
            scores = {name: 100 * value for name, value in grounding_scores(counts).items()}
            scores['expressions'] = len(counts.truth)
            scores['predicted'] = counts.predicted.sum()
            scores['ground_truth'] = counts.truth.sum()
            for name, value in expected.items():
                assert scores[name] == pytest.approx(value, abs=0.01), (threshold, group, name)


def test_referring_by_the_protocol_of_its_authors():
    """Boxes read with their signs and clockwise: the protocol itself turns them and leaves out those with a sign."""
    signed = re.compile(r'\[\[(-?\d+), (-?\d+), (-?\d+), (-?\d+), (-?\d+)\]\]')
    metric = RotatedGrounding(protocol='earthdial')
    for number, row in enumerate(predictions('referring')):
        question = Question(
            str(number), (), {}, {'boxes': boxes(row['gt_bbox'], 1, signed)}, {'size': row['size_group']}
        )
        answer = ParsedAnswer('', boxes(row['answer'], 1, signed))
        metric.process(None, [Answer(question, '', '', answer, (100, 100))])
    scores = metric.compute_metrics(metric.results)
    expected = expected_scores()['referring']['counter_clockwise']
    for threshold, by_group in expected.items():
        for group, values in by_group.items():
            kind = {'all': '', 'single': 'objects=', 'multiple': 'objects='}.get(group, 'size=')
            name = f'{kind}{group}/' if kind else ''
            assert 100 * scores[f'{name}acc@{threshold}'] == pytest.approx(values['any_match_precision'], abs=0.01)
            assert scores[f'{name}predicted_boxes'] == values['predicted']


def test_visual_question_answering():
    right = defaultdict(list)
    for row in predictions('rsvqa_lr'):
        right[row['vqa_type']].append(exact_match(row['answer'], row['annotation']))
    for category, expected in expected_scores()['rsvqa_lr'].items():
        assert len(right[category]) == expected['n']
        assert 100 * np.mean(right[category]) == pytest.approx(expected['accuracy'], abs=0.01)


def test_scene_classification():
    right = [exact_match(row['answer'], row['annotation']) for row in predictions('aid')]
    expected = expected_scores()['aid']
    assert len(right) == expected['n']
    assert 100 * np.mean(right) == pytest.approx(expected['accuracy'], abs=0.01)


def test_region_captions():
    rows, expected = predictions('region_caption'), expected_scores()['region_caption']
    scores = rouge([row['answer'] for row in rows], [[row['annotation']] for row in rows])
    assert len(rows) == expected['n']
    for name in ('rouge1', 'rougeL'):
        assert 100 * scores[name].mean() == pytest.approx(expected[name], abs=0.01)
