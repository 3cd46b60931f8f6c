"""Fonts that are there without a network have the characters that answers are made of; no text makes them fail."""

import hypothesis.strategies as st
from hypothesis import given, settings
from PIL import ImageFont

from geochat.visualization.fonts import find_font, printable, wrap


def lacks(font, character):
    return bytes(font.getmask(character)) == bytes(font.getmask('\U000f0000'))


def test_english_is_in_the_font_that_comes_with_pillow():
    text = ''.join(map(chr, range(33, 127))) + '\u2018\u2019\u201c\u201d\u2026'
    font = find_font(text, 20)
    assert font.getname() == ImageFont.load_default(20).getname()
    assert not [character for character in text if lacks(font, character)]


def test_other_languages_have_a_font_too():
    for text in ('Gebäude größer', "près de l'église", 'корабль', 'το πλοίο', '45° ± 2 m²', 'łódź'):
        font = find_font(text, 20)
        assert not [character for character in text.replace(' ', '') if lacks(font, character)]


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec=None), max_size=30))
def test_any_text_can_be_measured_and_drawn(text):
    shown = printable(text)
    font = find_font(shown, 13)
    line = wrap(shown, font, 80, max_lines=1)
    assert font.getlength(line) >= 0
    font.getmask(line)


def test_what_has_no_place_in_a_line():
    assert printable(' red\n\tship \ud83d \u202eabc\x00') == 'red ship \ufffd \ufffdabc\ufffd'


def test_text_is_broken_between_words_and_cut_with_an_ellipsis():
    font = ImageFont.load_default(20)
    text = wrap('the large red ship beside the long grey pier of the old harbour', font, 150, max_lines=2)
    assert text.startswith('the large red\n')
    assert text.endswith('…')
    assert all(font.getlength(line) <= 150 for line in text.split('\n'))
    assert wrap('x' * 100, font, 150, max_lines=2).endswith('x…')
