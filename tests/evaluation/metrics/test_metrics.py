"""Metrics of answers: what they take, how ranks are joined, and what they return."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from mmengine.evaluator import Evaluator

from geochat.evaluation.metrics import ExactMatch, RotatedGrounding
from geochat.registry import METRICS
from geochat.structures import Answer, ParsedAnswer, Question


def answer(question_id, said, truth, malformed=False, **groups):
    """An answer in words or in boxes, to a question with the given truth."""
    truth = {'text': truth} if isinstance(said, str) else {'boxes': truth}
    parsed = ParsedAnswer(said, malformed=malformed)
    if not isinstance(said, str):
        parsed = ParsedAnswer('', boxes=said, malformed=malformed)
    return Answer(Question(question_id, ('a.png',), {}, truth, groups), 'prompt', 'text', parsed, (100, 100))


def box(x, y, w=20, h=10, degrees=30):
    return np.array([[x, y, w, h, np.deg2rad(degrees)]])


NONE = np.zeros((0, 5))
WORDS = [
    answer('1', 'Airport', 'airport', kind='scene'),
    answer('2', 'no', ['yes', 'present'], kind='presence'),
    answer('3', 'Present.', ['yes', 'present'], kind='presence'),
    answer('4', '', 'harbor', malformed=True, kind='scene'),
]
BOXES = [
    answer('1', box(50, 50), box(50, 50), size='small', type='ref'),
    answer('2', NONE, box(50, 50), malformed=True, size='small', type='ref'),
    # Half of the width: 0.5 of the union.
    answer('3', box(50, 50, w=10), box(50, 50), size='large', type='ref'),
    answer('4', np.vstack([box(20, 20), box(70, 70)]), np.vstack([box(70, 70), box(40, 40)]), size='large', type='ref'),
]


def score(metric, answers):
    metric.process(None, answers)
    return metric.evaluate(len(answers))


def test_exact_match_counts_every_answer():
    assert score(ExactMatch(), WORDS) == {
        'accuracy': 0.5,
        'questions': 4,
        'malformed': 1,
        'kind=presence/accuracy': 0.5,
        'kind=presence/questions': 2,
        'kind=scene/accuracy': 0.5,
        'kind=scene/questions': 2,
    }
    assert score(ExactMatch(normalization='verbatim', prefix='strict'), WORDS)['strict/accuracy'] == 0.0


def test_grounding_counts_every_answer():
    scores = score(RotatedGrounding(), BOXES)
    assert scores['acc@0.5'] == pytest.approx(2 / 3)
    assert scores['precision@0.5'] == pytest.approx(3 / 4)
    assert scores['recall@0.5'] == pytest.approx(3 / 5)
    assert scores['f1@0.5'] == pytest.approx(6 / 9)
    assert scores['exact_set@0.5'] == pytest.approx(2 / 4)
    assert (scores['predicted_boxes'], scores['true_boxes']) == (4, 5)
    assert (scores['questions'], scores['malformed']) == (4, 1)


def test_grounding_is_broken_down_by_size_and_by_single_and_multiple():
    scores = score(RotatedGrounding(thresholds=[0.6]), BOXES)
    assert scores['size=small/recall@0.6'] == scores['size=small/acc@0.6'] == 0.5
    assert scores['size=large/recall@0.6'] == pytest.approx(1 / 3)
    assert scores['objects=single/recall@0.6'] == pytest.approx(1 / 3)
    assert scores['objects=multiple/recall@0.6'] == scores['objects=multiple/precision@0.6'] == 0.5
    assert scores['objects=multiple/questions'] == 1
    assert 'objects=multiple/acc@0.6' not in scores  # of expressions of one object only
    assert not any(name.startswith('type=') for name in scores)  # there is but one type


def test_answers_may_be_mappings_and_arrays_lists():
    mappings = [dataclasses.asdict(sample) for sample in BOXES]
    for mapping in mappings:
        mapping['parsed']['boxes'] = mapping['parsed']['boxes'].tolist()
    assert score(RotatedGrounding(), mappings) == score(RotatedGrounding(), BOXES)
    assert score(ExactMatch(), [dataclasses.asdict(sample) for sample in WORDS]) == score(ExactMatch(), WORDS)


def test_boxes_may_be_mmrotate_s():
    torch = pytest.importorskip('torch')
    structures = pytest.importorskip('mmrotate.structures', reason='mmrotate is missing', exc_type=ImportError)

    def rotated(boxes):
        return structures.RotatedBoxes(torch.from_numpy(boxes))

    as_theirs = [
        dataclasses.replace(
            sample,
            parsed=dataclasses.replace(sample.parsed, boxes=rotated(sample.parsed.boxes)),
            question=dataclasses.replace(sample.question, truth={'boxes': rotated(sample.question.truth['boxes'])}),
        )
        for sample in BOXES
    ]
    theirs = score(RotatedGrounding(), as_theirs)
    assert theirs == pytest.approx(score(RotatedGrounding(), BOXES))


@pytest.mark.mmcv_ops
def test_mmrotate_s_own_overlap():
    scores = score(RotatedGrounding(iou='mmrotate', thresholds=[0.4, 0.6]), BOXES)
    exact = score(RotatedGrounding(thresholds=[0.4, 0.6]), BOXES)
    assert scores == pytest.approx({f'mmrotate/{name}': value for name, value in exact.items()})
    bad = [answer('1', np.full((1, 5), np.nan), box(50, 50)), answer('2', NONE, box(50, 50))]
    assert score(RotatedGrounding(iou='mmrotate'), bad)['mmrotate/recall@0.25'] == 0.0


def test_mmrotate_s_overlap_without_its_operator_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv.ops', None)
    with pytest.raises(ImportError, match=r"iou='mmrotate' needs .* compiled operators"):
        RotatedGrounding(iou='mmrotate')


def test_ranks_are_joined_by_the_question_s_id(monkeypatch):
    """Three ranks with unequal shares, one of them filled up with the first question once more."""
    metric = RotatedGrounding()
    parts = []
    for share in (BOXES[:1], BOXES[1:], BOXES[:1]):
        metric.process(None, share)
        parts.append(list(metric.results))
        metric.results.clear()
    monkeypatch.setattr('mmengine.dist.all_gather_object', lambda mine: parts)
    assert metric.evaluate(4) == score_alone()


def test_intervals_are_those_of_the_scores_that_are_shares():
    metric = RotatedGrounding(thresholds=[0.6])
    apart = [
        dataclasses.replace(sample, question=dataclasses.replace(sample.question, images=(f'{number}.png',)))
        for number, sample in enumerate(BOXES)
    ]
    metric.process(None, apart)
    scores, intervals = metric.compute_metrics(metric.results), metric.intervals(metric.results)
    assert {'f1@0.6', 'acc@0.6'} <= set(intervals) <= set(scores)
    assert not {'questions', 'true_boxes', 'size=small/f1@0.6'} & set(intervals)
    for name, (low, high) in intervals.items():
        assert 0 <= low <= scores[name] <= high <= 1
    assert metric.intervals(metric.results[::-1]) == intervals  # however the questions were dealt out
    assert set(metric.intervals(metric.results, ['f1@0.6', 'size=small/f1@0.6', 'rouge1'])) == {
        'f1@0.6',
        'size=small/f1@0.6',
    }


def test_questions_about_one_picture_alone_have_no_interval():
    metric = ExactMatch()
    metric.process(None, WORDS)
    assert metric.intervals(metric.results) == {}
    without = [
        dataclasses.replace(sample, question=dataclasses.replace(sample.question, images=())) for sample in WORDS
    ]
    metric.results.clear()
    metric.process(None, without)
    low, high = metric.intervals(metric.results)['accuracy']
    assert low < 0.5 < high


def score_alone():
    metric = RotatedGrounding()
    metric.process(None, BOXES)
    return metric.compute_metrics(metric.results)


def test_a_question_without_an_answer_is_an_error():
    metric = ExactMatch()
    metric.process(None, WORDS[:3])
    with pytest.raises(ValueError, match='answers to 3 questions of 4'):
        metric.evaluate(4)
    with pytest.raises(ValueError, match='no answers'):
        ExactMatch().evaluate(0)


def test_a_metric_can_be_used_again():
    metric = ExactMatch()
    assert score(metric, WORDS) == score(metric, WORDS)


def test_they_work_in_mmengine_s_evaluator():
    evaluator = Evaluator([ExactMatch(prefix='words')])
    evaluator.process(WORDS[:2])
    evaluator.process(WORDS[2:])
    assert evaluator.evaluate(4)['words/accuracy'] == 0.5


@pytest.mark.parametrize(
    ('metric', 'sample', 'message'),
    [
        (ExactMatch, BOXES[0], r"question '1' cannot be scored: an answer has no question\.truth\.text"),
        (RotatedGrounding, WORDS[0], r'no question\.truth\.boxes'),
        (RotatedGrounding, answer('7', np.zeros((2, 4)), box(1, 1)), r"question '7' .*\(2, 4\)"),
        (
            RotatedGrounding,
            dataclasses.replace(BOXES[0], parsed=ParsedAnswer('at the left')),
            'reads no boxes from its answers',
        ),
    ],
)
def test_an_answer_that_cannot_be_scored_is_an_error_that_names_the_question(metric, sample, message):
    with pytest.raises(ValueError, match=message):
        metric().process(None, [sample])


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'type': 'RotatedGrounding', 'thresholds': [50]}, r'\(0, 1\], not 50'),
        ({'type': 'RotatedGrounding', 'iou': 'hbb'}, "'exact', 'hbox', 'mmrotate', not 'hbb'"),
        ({'type': 'RotatedGrounding', 'protocol': 'geoground'}, "'vrsbench', not 'geoground'"),
        ({'type': 'RotatedGrounding', 'protocol': 'vrsbench', 'iou': 'hbox'}, "there is no iou='hbox'"),
        ({'type': 'ExactMatch', 'normalization': 'loose'}, 'verbatim, compact'),
    ],
)
def test_settings_that_mean_nothing_are_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        METRICS.build(settings)


def test_scoring_imports_neither_mmrotate_nor_transformers():
    code = """
import sys
import numpy as np
from geochat.registry import METRICS
from geochat.structures import Answer, ParsedAnswer, Question
boxes = np.array([[50.0, 50, 20, 10, 0.5]])
metric = METRICS.build({'type': 'RotatedGrounding'})
question = Question('1', (), {}, {'boxes': boxes})
metric.process(None, [Answer(question, '', '', ParsedAnswer('', boxes))])
assert metric.evaluate(1)['acc@0.5'] == 1
print([name for name in ('mmrotate', 'mmdet', 'mmcv', 'transformers') if name in sys.modules])
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == '[]'
