"""Boxes of a text rewritten from one box language to another."""

import re

import numpy as np
import pytest

from geochat.box_codecs import BoxCodec, GeoChatBoxCodec, transcode
from geochat.structures import GroundedText


class PixelCodec(BoxCodec):
    """A box language of whole pixels with lists in one bracket, ``[[cx, cy, w, h, degrees], ...]``."""

    pattern = r'\[\[\d+, \d+, \d+, \d+, -?\d+\]\]'
    separator = r'(?!)'

    def encode(self, boxes, image_size, labels=None):
        rows = [[*map(round, box[:4].tolist()), round(np.rad2deg(box[4]))] for box in boxes]
        return str(rows)

    def decode(self, text, image_size):
        found = list(re.finditer(self.pattern, text))
        boxes = np.array([[int(n) for n in re.findall(r'-?\d+', match[0])] for match in found], dtype=float).reshape(
            -1, 5
        )
        boxes[:, 4] = np.deg2rad(boxes[:, 4])
        return GroundedText(text, boxes, np.array([match.span() for match in found]).reshape(-1, 2))

    def precision(self, image_size):
        return 0.75


def test_boxes_change_and_words_do_not():
    text = '<p>2 ships</p> {<10><20><30><40>|<50>}<delim>{<0><0><10><10>|<0>} at <p>a dock</p> {<50><50><90><60>} .'
    assert transcode(text, GeoChatBoxCodec(), PixelCodec(), (200, 100)) == (
        '<p>2 ships</p> [[40, 30, 40, 20, 50], [10, 5, 20, 10, 0]] at <p>a dock</p> [[140, 55, 80, 10, 0]] .'
    )


def test_boxes_that_stand_apart_are_written_apart():
    text = 'from [[40, 30, 40, 20, 50]] to [[10, 5, 20, 10, 0]]'
    assert transcode(text, PixelCodec(), GeoChatBoxCodec(), (200, 100)) == (
        'from {<10><20><30><40>|<50>} to {<0><0><10><10>|<0>}'
    )


def test_the_sense_of_turning_changes_with_the_codec():
    text = 'it is {<30><40><70><60>|<30>}'
    other = transcode(text, GeoChatBoxCodec(), GeoChatBoxCodec(sense='counter_clockwise'), (100, 100))
    assert other == 'it is {<40><30><60><70>|<60>}'


@pytest.mark.parametrize('text', ['', 'yes', 'How many ships are there?', '{<1><2><3><4>|<5>}{<5><6><7><8>|<90>} x '])
def test_a_text_in_its_own_language_stays_as_it_is(text):
    assert transcode(text, GeoChatBoxCodec(), GeoChatBoxCodec(), (640, 480)) == text


def test_an_unreadable_box_is_an_error():
    with pytest.raises(ValueError, match='cannot read the box'):
        transcode('at {<1><2><3>}', GeoChatBoxCodec(), PixelCodec(), (100, 100))
