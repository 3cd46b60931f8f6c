"""Values that flow between the rooms keep to themselves and survive the way between processes."""

import pickle

import numpy as np

from geochat.structures import Answer, Diagnostic, GroundedText, ParsedAnswer, Question


def test_empty_readings_do_not_share_their_arrays():
    first, second = GroundedText('a'), GroundedText('b')
    assert first.boxes.shape == (0, 5) and first.spans.shape == (0, 2)
    assert first.boxes is not second.boxes


def test_an_answer_survives_the_way_between_processes():
    grounded = GroundedText('{<1>}', diagnostics=(Diagnostic('wrong_count', (0, 5), '1 number', left_out=True),))
    question = Question('7', ('a.png',), {'phrase': 'ship'}, {'boxes': np.ones((1, 5))}, {'size': 'small'})
    answer = Answer(question, 'where?', '{<1>}', ParsedAnswer('{<1>}', grounded.boxes, grounded, True), (64, 48))
    back = pickle.loads(pickle.dumps(answer))
    assert back.parsed.grounded.diagnostics == grounded.diagnostics
    np.testing.assert_array_equal(back.question.truth['boxes'], np.ones((1, 5)))
