"""Which tokens a box was read from, and what they make of its confidence."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_parts import tokenizer_folder

from geochat.generation import box_scores, token_ends
from geochat.generation.confidence import piece_ends
from geochat.prompts import load_tokenizer


class Pieces:
    """A tokenizer whose ids are numbers of texts."""

    def __init__(self, *texts):
        self.texts = texts

    def decode(self, ids, skip_special_tokens):
        return ''.join(self.texts[index] for index in ids)


def test_a_box_has_the_probability_of_its_tokens():
    # By hand: "at {12} {3}" without the space before it; the boxes are "{12}" and "{3}".
    tokenizer = Pieces(' at', ' {', '1', '', '2}', ' {3', '}\n')
    ends = token_ends([0, 1, 2, 3, 4, 5, 6], tokenizer)
    assert ends.tolist() == [2, 4, 5, 5, 7, 10, 11]
    log_probs = [math.log(p) for p in (0.9, 0.5, 0.8, 0.1, 0.25, 0.3, 0.7)]  # the empty token, 0.1, is of no box
    scores = box_scores(np.array([[3, 7], [8, 11]]), ends, log_probs)
    assert scores.products == pytest.approx((0.5 * 0.8 * 0.25, 0.3 * 0.7))
    assert scores.means == pytest.approx(((0.5 * 0.8 * 0.25) ** (1 / 3), math.sqrt(0.3 * 0.7)))


def test_an_answer_without_tokens_or_boxes():
    assert token_ends([], Pieces()).tolist() == []
    assert box_scores(np.zeros((0, 2), dtype=np.int64), np.array([3]), [-1.0]) == ((), ())
    assert box_scores(np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.int64), []) == ((), ())


@given(st.text(alphabet='{<>}|0123456789 the ship\u00fc\u4e2d\U0001f6a2', max_size=30))
def test_the_ends_of_a_real_tokenizer_go_through_the_text_in_order(text):
    tokenizer = load_tokenizer(tokenizer_folder())
    ids = tokenizer(text, add_special_tokens=False)['input_ids']
    ends = token_ends(ids, tokenizer)
    decoded = tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert len(ends) == len(ids)
    assert (np.diff(ends) >= 0).all()
    assert not ids or ends[-1] == len(decoded)
    if decoded.isascii():
        starts = [0, *ends[:-1]][: len(ends)]
        assert ''.join(decoded[start:end] for start, end in zip(starts, ends, strict=True)) == decoded


def ends(text, *pieces):
    found = piece_ends([piece if isinstance(piece, bytes) else piece.encode() for piece in pieces], text)
    return None if found is None else found.tolist()


def test_the_tokens_of_a_server_are_found_in_its_text():
    assert ends('two {12}', ' two', ' {', '1', '2', '}') == [3, 5, 6, 7, 8]
    assert ends('two {12}', 'two', '{', '12', '}') == [3, 5, 7, 8]  # decoded one by one: without the space
    assert ends('two', ' ', 'two', ' ', '</s>') == [0, 3, 3, 3]  # what ended the answer is no part of it
    assert ends('at é {', 'at', ' ', b'\xc3', b'\xa9', ' {') == [2, 3, 3, 4, 6]
    assert ends('two', 'tw', 'o stop') == [2, 3]  # cut short by a text that stops it
    assert ends('') == []


def test_tokens_that_are_not_those_of_the_text_are_not_guessed():
    assert ends('two {12}', 'two', '{', '13', '}') is None
    assert ends('two {12}', 'two', ' {') is None
    assert ends('two') is None
