"""Answers of benchmarks are drawn with what was asked and what is true, whether they have boxes or not."""

import numpy as np
import pytest
from PIL import Image

from geochat.box_codecs import GeoChatBoxCodec
from geochat.structures import Answer, ParsedAnswer, Question
from geochat.visualization import TRUE_COLOR, draw_answer

BOX = np.array([[50.0, 50, 40, 20, 0.4]])


def painted(picture):
    return (np.abs(np.asarray(picture).astype(int) - TRUE_COLOR).sum(-1) < 30).sum()


def test_a_box_is_labelled_with_its_phrase_or_class():
    text = '{<70><70><80><80>|<0>} and <p>two ships</p> {<1><2><30><40>|<5>}{<50><50><60><60>|<0>}'
    grounded = GeoChatBoxCodec().decode(text, (28, 28))
    assert ParsedAnswer('', grounded.boxes, grounded).box_labels == ('', 'two ships', 'two ships')
    assert ParsedAnswer('', BOX, labels=('plane',)).box_labels == ('plane',)
    assert ParsedAnswer('yes').box_labels == ()


@pytest.mark.parametrize(
    ('truth', 'parsed'),
    [
        ({'boxes': BOX}, ParsedAnswer('', BOX)),
        ({'boxes': BOX, 'text': 'a ship', 'labels': ['ship']}, ParsedAnswer('', np.zeros((0, 5)), labels=())),
        ({'text': 'yes'}, ParsedAnswer('no')),
        ({'text': ['a ship', 'one ship']}, ParsedAnswer('a ship')),
    ],
)
def test_answers_with_and_without_boxes(truth, parsed):
    answer = Answer(Question('1', ('a.png',), {}, truth), 'What is there?', 'a ship', parsed)
    image = Image.new('RGB', (600, 600), (128, 128, 128))
    whole, no_truth = draw_answer(image, answer), draw_answer(image, answer, with_truth=False)
    assert whole.width == 600
    assert (painted(whole.crop((0, 0, 600, 600))) > 50) == ('boxes' in truth)
    assert painted(no_truth.crop((0, 0, 600, 600))) == 0
    assert whole.height - no_truth.height == (18 if 'text' in truth else 0)
    assert draw_answer(image, answer, with_answer=False).height < whole.height
