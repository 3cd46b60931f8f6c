"""Values that flow between the rooms keep to themselves and survive the way between processes."""

import pickle

import numpy as np
import pytest

from geochat.box_codecs import EarthDialBoxCodec, GeoChatBoxCodec, Qwen3BoxCodec
from geochat.structures import Answer, Diagnostic, GroundedText, ParsedAnswer, Question

BOX = '{<10><20><30><40>|<45>}'


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


def test_the_words_of_a_text_are_what_is_left_without_boxes_and_marks():
    text = '<ref>two ships</ref> [1] [2] at <p>sea</p>\n(here: [x) < 5 .'
    unread = Diagnostic('unclosed', (text.index('[x'), text.index('[x') + 2), 'the end', left_out=True)
    spans = np.array([[text.index('[1]'), text.index('[1]') + 3], [text.index('[2]'), text.index('[2]') + 3]])
    grounded = GroundedText(text, np.ones((2, 5)), spans, diagnostics=(unread,))
    assert grounded.words == 'two ships at sea (here: ) < 5.'
    assert GroundedText('').words == ''


@pytest.mark.parametrize(
    'text',
    [
        'two courts [[10, 49, 22, 61, 1], [19, 49, 31, 61, 1]] , and [[1, 2, 3, 4, 5]]a dock [[[1, 2, 3, 4, 5]].',
        'two courts <box>[[[10, 49, 22, 61, 1]][[19, 49, 31, 61, 1]]]</box>, and a dock [[1, 2, 3, 4, 5]].',
        '<ref>two courts</ref>[[10, 49, 22, 61, 1]], and <ref> a dock.</ref> [[1, 2, 3',
    ],
)
def test_the_brackets_of_a_list_go_with_its_boxes(text):
    assert EarthDialBoxCodec().decode(text, (100, 100)).words == 'two courts, and a dock.'


def test_a_fenced_list_of_boxes_leaves_no_word():
    text = Qwen3BoxCodec().encode(np.ones((2, 5)), (100, 100))
    assert Qwen3BoxCodec().decode(f'Here: {text}', (100, 100)).words == 'Here:'


@pytest.mark.parametrize(
    'text',
    [
        f'There is <p>1 red  ship</p> {BOX} near <p> docks </p> {BOX}<delim>{BOX} .',
        f'<p>a</p>{BOX}<p>b</p>{BOX}, [<p>c</p> {BOX}] and <p></p> {BOX}; <p> </p>',
        '\ue000<p>ship\ue001</p>, no boxes',
        f'{BOX}',
        '',
    ],
)
def test_the_words_are_cut_at_phrases(text):
    grounded = GeoChatBoxCodec().decode(text, (100, 100))
    pieces = grounded.pieces
    assert ''.join(piece for piece, _ in pieces) == grounded.words
    told = [(piece, ' '.join(phrase.text.split())) for piece, phrase in pieces if phrase]
    assert told == [(text, text) for text in (' '.join(phrase.text.split()) for phrase in grounded.phrases) if text]
