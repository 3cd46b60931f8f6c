"""What an answer to a multiple choice question chooses, and whether an answer refuses."""

import pytest

from geochat.evaluation.functional import first_letter, first_standing_letter, leading_letter, read_choice, refuses

OPTIONS = ['a ship', 'a plane', 'two harbors', 'none of these']


@pytest.mark.parametrize(
    ('answer', 'letter'),
    [
        ('B', 'B'),
        ('b', 'B'),
        (' (B) ', 'B'),
        ('B.', 'B'),
        ('**B**', 'B'),
        ('<B>', 'B'),
        ('B. a plane', 'B'),
        ('B: a plane', 'B'),
        ('(B) a plane', 'B'),
        ('B\nbecause it has wings', 'B'),
        ('A. Because of B', 'A'),
        ('The answer is B.', 'B'),
        ('Answer: (B)', 'B'),
        ('answer B', 'B'),
        ('A ship lies there, so the correct option is C', 'C'),
        ('A plane. Answer: A', 'A'),
        ('I choose B', 'B'),
        ('A ship is to be seen, thus D', 'D'),
        ('Two harbors.', 'C'),
        ('a plane', 'B'),
        ('A', 'A'),
        ('I think A is right', 'A'),
        ('It is A', 'A'),
        ('A or B', None),
        ('A ship is to be seen', None),
        ('The answer is a plane', None),
        ("It's D's", None),
        ('E', None),
        ('Bridge', None),
        ('', None),
        ('nothing', None),
    ],
)
def test_a_letter_is_read(answer, letter):
    assert read_choice(answer, 'ABCD', OPTIONS) == letter


def test_an_option_that_stands_twice_chooses_nothing():
    assert read_choice('yes', 'ABC', ['yes', 'no', 'Yes']) is None
    assert read_choice('no', 'ABC', ['yes', 'no', 'Yes']) == 'B'
    assert read_choice('no', 'ABC') is None


@pytest.mark.parametrize(
    ('answer', 'standing', 'first', 'leading'),
    [
        ('B', 'B', 'B', 'B'),
        ('A ship is there: B', 'A', 'A', 'A'),
        ('Answer: B', 'B', 'A', 'A'),
        ('The answer is B', 'B', 'B', None),
        ('Bridge', None, 'B', 'B'),
        ('b', None, None, None),
        ('', None, None, None),
    ],
)
def test_other_papers_read_other_letters(answer, standing, first, leading):
    assert first_standing_letter(answer, 'ABCDE') == standing
    assert first_letter(answer, 'ABCDE') == first
    assert leading_letter(answer, 'ABCDE') == leading


@pytest.mark.parametrize(
    ('answer', 'refused'),
    [
        ('There is no ship in the image.', True),
        ("I can't see a harbor.", True),
        ('The plane does not exist', True),
        ('None', True),
        ('unknown', True),
        ('Unable to tell.', True),
        ('white', False),
        ('The northern one', False),
        ('a knot of roads', False),
        ('', False),
    ],
)
def test_refusals(answer, refused):
    assert refuses(answer) is refused
