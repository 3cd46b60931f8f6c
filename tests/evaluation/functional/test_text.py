"""Comparison of short answers, ours and other papers'."""

import numpy as np
import pytest

from geochat.evaluation.functional import (
    closest_class,
    confusion,
    exact_match,
    geochat_match,
    is_part_of_truth,
    lhrs_match,
    macro_average,
    normalize_text,
    offers_truth,
    read_number,
    rsevalkit_presence,
    same_parts,
    share_of_parts,
    token_recall,
    words,
)


@pytest.mark.parametrize(
    ('answer', 'accepted', 'normalization', 'right'),
    [
        ('Medium Residential.', 'MediumResidential', 'compact', True),
        ('ground_track-field\n', 'Ground Track Field', 'compact', True),
        ('yes', 'no', 'compact', False),
        ('Yes', 'yes', 'verbatim', False),
        ('yes', 'yes', 'verbatim', True),
        ('two', ('2', 'two'), 'compact', True),
        ('-1', '1', 'compact', True),
        ('-1', '1', 'words', False),
        ('1.5 m.', '1.5 M', 'words', True),
        ('MediumResidential', 'medium residential', 'words', False),
        ('', '', 'compact', False),
        (' .', '-', 'compact', False),
        ('?!', '!', 'words', False),
        ('a', (), 'compact', False),
    ],
)
def test_exact_match(answer, accepted, normalization, right):
    assert exact_match(answer, accepted, normalization) is right


def test_an_unknown_normalization_is_an_error():
    with pytest.raises(ValueError, match=r"verbatim, compact, words, not 'lower'"):
        normalize_text('Yes', 'lower')


def test_words_are_without_punctuation_but_numbers_are_whole():
    assert words("A ship, isn't it? (2 boats.)") == ['a', 'ship', 'isn', 't', 'it', '2', 'boats']
    assert words('-1.5 m, 1,000 or 5-6; v2.0') == ['-1.5', 'm', '1,000', 'or', '5', '6', 'v2', '0']
    assert words('') == words(' ... ') == []


@pytest.mark.parametrize(
    ('offered', 'accepted', 'found'),
    [
        (['Medium Residential', 'Beach'], 'MediumResidential', True),
        (['Beach', 'Port'], 'MediumResidential', False),
        ('Classes: Medium Residential, Beach.', 'mediumresidential', True),
        ('Classes: Medium Residential, Beach.', 'MediumResidentialgt', False),
        (['Port'], ['Harbor', 'Port'], True),
    ],
)
def test_whether_the_truth_is_among_the_classes(offered, accepted, found):
    assert offers_truth(offered, accepted) is found


def test_geochat_s_script_changes_the_answer_more_than_the_truth():
    assert geochat_match('Medium Residential.', 'MediumResidential')
    assert not geochat_match('medium_residential', 'MediumResidential')
    assert not geochat_match('Medium Residential', 'Medium Residential')


def test_earthdial_s_recall_can_be_had_by_naming_all_classes():
    assert token_recall('Airport, Beach, Port', 'Port') == 1
    assert token_recall('Medium Residential', 'mediumresidential') == 1
    assert token_recall('Beach', 'Port') == token_recall('', 'Port') == token_recall('Port', '') == 0
    assert token_recall('red', 'red, white') == pytest.approx(1 / 3)  # of red, the comma, and white
    assert token_recall('red', ['white', 'red']) == 1


def test_rsevalkit_looks_for_the_answer_in_the_truth():
    assert is_part_of_truth('e', 'Yes')
    assert is_part_of_truth('', 'no')
    assert is_part_of_truth('medium residential', 'MediumResidential')
    assert not is_part_of_truth('yes, there is', 'yes')


def test_rsevalkit_s_scores_of_presence_and_colours():
    assert rsevalkit_presence('Yes, there is', 'yes')
    assert rsevalkit_presence('there is no ship', 'No')
    assert not rsevalkit_presence('No', 'No')  # in small letters only
    assert not rsevalkit_presence('yes, one; not two', 'yes')  # it says both
    assert share_of_parts('Red', 'red, white') == 0.5
    assert share_of_parts('bored', 'red') == 1


def test_parts_are_compared_in_any_order():
    assert same_parts('White and red.', 'red, white')
    assert same_parts('sandy', 'Sandy')
    assert not same_parts('red', 'red, white')
    assert not same_parts('', '')


def test_lhrs_takes_out_articles_and_writes_numbers_in_digits():
    assert lhrs_match('Three.', '3')
    assert lhrs_match('A rural area', 'rural area')
    assert lhrs_match('none', '10')  # the 0 stands in it
    assert lhrs_match('', 'yes')
    assert not lhrs_match('yes', 'Yes')
    assert not lhrs_match('eleven', '11')


def test_lhrs_takes_every_answer_for_a_class():
    classes = ['airport', 'port', 'dense residential']
    assert closest_class(' port', classes) == 'port'
    assert closest_class('it is an airport', classes) == 'airport'
    assert closest_class('residences', classes) == 'dense residential'
    assert closest_class('zzz', classes) == closest_class('', classes) == 'dense residential'


@pytest.mark.parametrize(
    ('text', 'number'),
    [
        ('3', 3),
        ('There are 12 ships and 3 cars.', 12),
        ('1,234.5 m', 1234.5),
        ('-0.5', -0.5),
        ('twenty-one planes', 21),
        ('forty', 40),
        ('Nineteen.', 19),
        ('one hundred', 1),  # beyond ninety-nine in digits only
        ('B2', None),
        ('many', None),
        ('', None),
    ],
)
def test_numbers_are_read_from_digits_or_words(text, number):
    assert read_number(text) == number


def test_confusion_counts_what_was_taken_for_what():
    classes, counts = confusion(
        ['port', 'Air Port.', 'beach', 'a beach', ''], ['Port', 'Airport', 'Port', 'Beach', 'airport']
    )
    assert classes == ['Airport', 'Beach', 'Port']
    np.testing.assert_array_equal(counts, [[1, 0, 0, 1], [0, 0, 0, 1], [0, 1, 1, 0]])


def test_macro_average_weighs_kinds_alike():
    above, below = macro_average(np.array([1.0, 1, 1, 0, 0]), ['a', 'a', 'a', 'a', 'b'])
    assert above.sum() / below.sum() == pytest.approx((3 / 4 + 0) / 2)
    above, below = macro_average(np.zeros(0), [])
    assert above.sum() == below.sum() == 0
