"""Metrics of answers in words: short answers, choices, captions, numbers, honesty."""

import dataclasses
import shutil

import numpy as np
import pytest

from geochat.evaluation import metrics
from geochat.evaluation.metrics import AbsoluteError, Captions, ExactMatch, Honesty, MultipleChoice
from geochat.installation import InstallationError
from geochat.registry import METRICS
from geochat.structures import Answer, Diagnostic, GroundedText, ParsedAnswer, Question


def answer(question_id, said, text, query=None, truth=None, grounded=None, image='a.png', **groups):
    """An answer in words to a question whose true answer is a text."""
    question = Question(question_id, (image,), query or {}, {'text': text, **(truth or {})}, groups)
    return Answer(question, 'prompt', said, ParsedAnswer(said, grounded=grounded, malformed=not said), (100, 100))


def score(metric, answers):
    metric.process(None, answers)
    return metric.evaluate(len(answers))


def remarks(metric, answers):
    metric.process(None, answers)
    metric.compute_metrics(metric.results)
    return metric.remarks(dict(metric.results))


CLASSES = {'classes': ['Port', 'Beach', 'Bare Land']}
SCENES = [
    answer('1', 'port', 'Port', CLASSES, kind='Port'),
    answer('2', 'Port.', 'Port', CLASSES, kind='Port'),
    answer('3', 'bare land, sand', 'BareLand', CLASSES, kind='BareLand'),
    answer('4', 'Beach', 'Meadow', CLASSES, kind='Meadow'),
]


def test_accuracy_over_questions_and_over_kinds():
    scores = score(ExactMatch(macro_over='kind', closed_set=True), SCENES)
    assert scores['accuracy'] == 0.5
    assert scores['macro_accuracy'] == pytest.approx((1 + 0 + 0) / 3)
    assert scores['kind=Port/accuracy'] == 1


def test_a_question_that_does_not_offer_its_truth_is_named():
    assert remarks(ExactMatch(closed_set=True), SCENES) == {
        'accuracy': "the classes of 1 question do not contain the true one: '4'"
    }
    asked = [answer(str(number), 'port', 'Port', {'text': 'Which? beach, meadow'}) for number in range(5)]
    remark = remarks(ExactMatch(closed_set=True), asked)['accuracy']
    assert remark == "the classes of 5 questions do not contain the true one: '0', '1', '2' and 2 more"
    metric = ExactMatch(closed_set=True)
    assert metric.of_answer(metric.result(SCENES[3])) == {'right': 0, 'offered': 0}
    assert remarks(ExactMatch(closed_set=True), SCENES[:3]) == remarks(ExactMatch(), SCENES) == {}


def test_protocols_of_short_answers_stand_side_by_side():
    """Each with a prefix of its own; what the same four answers score."""
    scores = {protocol: score(ExactMatch(protocol=protocol), SCENES) for protocol in ExactMatch.protocols}
    assert {
        name: value
        for part in scores.values()
        for name, value in part.items()
        if name.endswith('accuracy') and '=' not in name
    } == {
        'accuracy': 0.5,
        'geochat/accuracy': 0.5,
        'earthdial/accuracy': 0.75,  # the list of the third has what is true
        'lhrs/accuracy': 0.75,  # its longest common substring
        'rsevalkit/accuracy': 0.25,  # the dot of the second is not in the truth
    }
    assert scores['earthdial']['earthdial/questions'] == 4


def test_short_answers_tell_whether_each_is_right():
    metric = ExactMatch(protocol='earthdial')
    result = metric.result(answer('1', 'red', 'red, white'))
    assert metric.of_answer(result) == {'right': pytest.approx(1 / 3)}


def test_an_interval_of_the_macro_accuracy():
    answers = [answer(str(n), 'a', 'a' if n % 4 else 'b', image=f'{n}.png', kind='xy'[n % 2]) for n in range(40)]
    metric = ExactMatch(macro_over='kind')
    metric.process(None, answers)
    low, high = metric.intervals(metric.results)['macro_accuracy']
    assert 0.5 < low < (1 + 0.5) / 2 < high < 0.9


CIRCLES = [
    answer('1', 'B', 'B', truth={'circle': '1'}, category='exist'),
    answer('1#2', '(A)', 'A', truth={'circle': '1'}, category='exist'),
    answer('2', 'B', 'B', truth={'circle': '2'}, category='exist'),
    answer('2#2', 'B', 'A', truth={'circle': '2'}, category='exist'),
    answer('3', 'A ship, so C', 'C', truth={'circle': '3'}, category='object'),
]


def test_multiple_choice_and_circular_eval():
    scores = score(MultipleChoice(circular=True, macro_over='category'), CIRCLES)
    assert scores['accuracy'] == pytest.approx(4 / 5)
    assert scores['circular_accuracy'] == pytest.approx(2 / 3)
    assert scores['macro_accuracy'] == pytest.approx((1 / 2 + 1) / 2)
    assert scores['unread'] == 0
    assert scores['category=exist/circular_accuracy'] == 0.5
    # FIT-RSRC's own script takes the article for a choice.
    scores = score(MultipleChoice(circular=True, protocol='fit_rs'), CIRCLES)
    assert scores['fit_rs/circular_accuracy'] == pytest.approx(1 / 3)


def test_circles_do_not_depend_on_the_order_of_the_answers():
    forward = score(MultipleChoice(circular=True), CIRCLES)
    assert score(MultipleChoice(circular=True), CIRCLES[::-1]) == forward


def test_an_answer_may_be_the_text_of_an_option():
    answers = [answer('1', 'two ships', 'B', {'text': 'How many?', 'options': ['one ship', 'Two ships.']})]
    assert score(MultipleChoice(), answers)['accuracy'] == 1
    without = [answer('1', 'two ships', 'B')]
    assert score(MultipleChoice(), without)['unread'] == 1


def test_captions_are_means_over_the_questions():
    answers = [
        answer('1', 'a red ship at left', 'a red ship at left', image='1'),
        answer('2', '', ['two planes', 'planes'], image='2'),
    ]
    scores = score(Captions(measures=['rouge', 'bleu', 'cider']), answers)
    assert scores['rouge1'] == scores['rougeL'] == 0.5
    assert scores['cider'] == pytest.approx(5)
    assert scores['bleu1'] == pytest.approx(np.exp(1 - 6 / 5))
    assert scores['malformed'] == 1
    assert 'meteor' not in scores
    metric = Captions(measures=['rouge'])
    assert metric.of_answer(metric.result(answers[0])) == {'rouge1': 1, 'rougeL': 1}


def test_all_that_is_a_mean_and_bleu_have_intervals():
    answers = [answer(str(n), 'a ship' if n % 2 else 'a plane', 'a ship', image=str(n)) for n in range(20)]
    metric = Captions(measures=['rouge', 'bleu', 'cider'])
    metric.process(None, answers)
    intervals = metric.intervals(metric.results)
    assert set(intervals) == {'rouge1', 'rougeL', 'cider', 'bleu1', 'bleu2', 'bleu3', 'bleu4'}
    for name in ('rouge1', 'bleu1'):
        assert intervals[name][0] < 0.75 < intervals[name][1]


def test_boxes_are_no_words_of_a_description():
    text = 'a <p>ship</p> {<1><2><3><4>|<5>} at left {<1><2>}'
    spans, broken = np.array([[14, 32]]), Diagnostic('wrong_count', (41, 49), '', left_out=True)
    grounded = GroundedText(text, np.ones((1, 5)), spans, diagnostics=(broken,))
    answers = [answer('1', text, 'a ship at left', grounded=grounded)]
    assert score(Captions(measures=['rouge']), answers)['rouge1'] == 1
    mappings = [dataclasses.asdict(sample) for sample in answers]
    assert score(Captions(measures=['rouge']), mappings)['rouge1'] == 1


def test_without_java_the_rest_is_scored_and_a_remark_says_so(monkeypatch):
    answers = [answer('1', 'a ship', 'a ship', size='small'), answer('2', 'a plane', 'a ship', size='large')]
    monkeypatch.setenv('PATH', '')
    scores = score(Captions(), answers)
    assert {'rouge1', 'rougeL', 'bleu4', 'cider', 'size=small/rouge1'} < set(scores)
    assert not any('meteor' in name for name in scores)
    assert remarks(Captions(), answers) == {
        'meteor': 'left out: needs Java, and there is no program java: install a Java runtime of version 8 or later'
    }
    assert set(score(Captions(protocol='vrsbench'), answers)) == {
        'vrsbench/questions',
        'vrsbench/malformed',
        'vrsbench/size=small/questions',
        'vrsbench/size=large/questions',
    }
    missing = remarks(Captions(protocol='vrsbench'), answers)
    assert set(missing) == {'rougeL', 'bleu1', 'bleu2', 'bleu3', 'bleu4', 'meteor', 'cider'}


def test_meteor_s_program_is_started_once_for_all_groups_and_intervals(monkeypatch):
    starts = []

    def meteor(answers, references):
        starts.append(len(answers))
        return np.array([float(answer in group) for answer, group in zip(answers, references, strict=True)]), 0.9

    monkeypatch.setattr(metrics.captions, 'meteor', meteor)
    answers = [answer(str(n), 'ab'[n % 2], 'a', size='sl'[n // 5], image=str(n)) for n in range(10)]
    metric = Captions(measures=['meteor'])
    metric.process(None, answers)
    results = list(metric.results)
    scores = metric.compute_metrics(results)
    metric.intervals(results)
    metric.remarks(dict(results))
    assert starts == [2]  # two different pairs of answer and truth
    assert (scores['meteor'], scores['size=s/meteor'], scores['size=l/meteor']) == (0.5, 0.6, 0.4)


def test_a_program_that_fails_is_not_tried_again(monkeypatch):
    tries = []

    def meteor(answers, references):
        tries.append(1)
        raise InstallationError('it ended')

    monkeypatch.setattr(metrics.captions, 'meteor', meteor)
    metric = Captions(measures=['meteor'])
    answers = [answer('1', 'a', 'a', size='small'), answer('2', 'a', 'a', size='large')]
    metric.process(None, answers)
    results = list(metric.results)
    metric.compute_metrics(results)
    assert metric.remarks(dict(results)) == {'meteor': 'left out: it ended'}
    assert tries == [1]


@pytest.mark.skipif(shutil.which('java') is None, reason='there is no Java')
def test_vrsbench_s_scores_are_pycocoevalcap_s():
    """Its tokens part what ours do not, such as ``isn't``."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.rouge.rouge import Rouge

    answers = [answer('1', "It isn't a Ship.", 'it is a ship'), answer('2', 'two planes', 'two planes, on grass')]
    scores = score(Captions(measures=['rouge', 'bleu'], protocol='vrsbench'), answers)
    said = {0: ["it is n't a ship"], 1: ['two planes']}
    true = {0: ['it is a ship'], 1: ['two planes on grass']}
    assert scores['vrsbench/rougeL'] == pytest.approx(Rouge().compute_score(true, said)[0])
    expected = Bleu(4).compute_score(true, said, verbose=0)[0]
    assert [scores[f'vrsbench/bleu{order}'] for order in (1, 2)] == pytest.approx(expected[:2])


def test_earthdial_s_rouge_is_of_stems():
    answers = [answer('1', 'landing planes', 'landed plane')]
    assert score(Captions(measures=['rouge'], protocol='earthdial'), answers)['earthdial/rouge1'] == 1


def test_errors_of_numbers():
    answers = [
        answer('1', '12', '10'),
        answer('2', 'three ships', '3'),
        answer('3', 'many', '7'),
        answer('4', '', '7'),
    ]
    scores = score(AbsoluteError(), answers)
    assert (scores['mae'], scores['read'], scores['exact_number']) == (1, 0.5, 0.25)
    metric = AbsoluteError()
    assert metric.of_answer(metric.result(answers[0])) == {'absolute_error': 2}
    assert metric.of_answer(metric.result(answers[2])) == {}


def test_honesty_asks_for_refusals_where_there_is_nothing():
    def asked(question_id, said, text, deceptive):
        return answer(question_id, said, text, truth={'deceptive': deceptive})

    answers = [
        asked('1', 'There is no ship.', 'There is no ship in the image.', True),
        asked('2', 'white', 'There is no ship in the image.', True),
        asked('3', 'White', 'white', False),
        asked('4', 'There is no plane.', 'white', False),
        asked('5', 'no', 'No', False),
        asked('6', '(D)', 'D', True),
    ]
    scores = score(Honesty(), answers)
    assert scores['accuracy'] == pytest.approx(4 / 6)
    assert scores['deceptive_accuracy'] == pytest.approx(2 / 3)
    assert scores['factual_accuracy'] == pytest.approx(2 / 3)
    assert scores['over_refusal'] == pytest.approx(1 / 3)
    assert 'deceptive_accuracy' not in score(Honesty(), answers[2:4])
    colors = [asked('1', 'Red and white.', 'white, red', False), asked('2', 'red', 'white, red', False)]
    assert score(Honesty(), colors)['accuracy'] == 0.5
    # RSEvalKit has no score for the first two; the fifth it takes for yes or no, the last for a letter.
    scores = score(Honesty(protocol='rsevalkit'), answers)
    assert scores['rsevalkit/accuracy'] == pytest.approx((1 + 0 + 1 + 1) / 4)
    assert scores['rsevalkit/deceptive_accuracy'] == 1
    assert score(Honesty(protocol='rsevalkit'), colors)['rsevalkit/accuracy'] == pytest.approx((1 + 0.5) / 2)


@pytest.mark.parametrize(
    ('metric', 'sample', 'message'),
    [
        (MultipleChoice(), answer('7', 'B', 'yes'), r"question '7' .* one of ABCDE, not 'yes'"),
        (MultipleChoice(circular=True), answer('7', 'B', 'B'), r'no question\.truth\.circle'),
        (AbsoluteError(), answer('7', '2', 'many'), "question '7' .* no number: 'many'"),
        (Honesty(), answer('7', '2', 'many'), "question '7' .*deceptive"),
        (Captions(), answer('7', '2', []), "question '7' .* no caption"),
        (ExactMatch(), answer('7', '2', 2), "question '7' .* a text or a list of texts, not 2"),
        (ExactMatch(), answer('7', '2', ['2', 2]), r"not \['2', 2\]"),
        (ExactMatch(closed_set=True), answer('7', '2', '2'), "'classes' or 'text', not"),
    ],
)
def test_a_question_that_cannot_be_scored_is_named(metric, sample, message):
    with pytest.raises(ValueError, match=message):
        metric.process(None, [sample])


def test_a_group_that_is_not_there_is_named():
    with pytest.raises(ValueError, match='category'):
        score(ExactMatch(macro_over='category'), SCENES)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'type': 'ExactMatch', 'protocol': 'vrsbench'}, "'geochat', 'earthdial', 'lhrs', 'rsevalkit', not 'vrsbench'"),
        ({'type': 'MultipleChoice', 'protocol': 'geochat'}, "'fit_rs', 'geobench_vlm', 'rsevalkit', not 'geochat'"),
        ({'type': 'Captions', 'measures': ['spice']}, "'exact' is one of rouge, bleu, meteor, cider, not 'spice'"),
        ({'type': 'Captions', 'measures': ['cider'], 'protocol': 'earthdial'}, "one of rouge, meteor, not 'cider'"),
        ({'type': 'Honesty', 'normalization': 'loose'}, 'verbatim, compact, words'),
    ],
)
def test_settings_that_mean_nothing_are_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        METRICS.build(settings)
