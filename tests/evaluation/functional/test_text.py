"""Comparison of short answers."""

import pytest

from geochat.evaluation.functional import exact_match, normalize_text


@pytest.mark.parametrize(
    ('answer', 'accepted', 'normalization', 'right'),
    [
        ('Medium Residential.', 'MediumResidential', 'compact', True),
        ('ground_track-field\n', 'Ground Track Field', 'compact', True),
        ('yes', 'no', 'compact', False),
        ('Yes', 'yes', 'verbatim', False),
        ('yes', 'yes', 'verbatim', True),
        ('two', ('2', 'two'), 'compact', True),
        ('', '', 'compact', False),
        (' .', '-', 'compact', False),
        ('a', (), 'compact', False),
    ],
)
def test_exact_match(answer, accepted, normalization, right):
    assert exact_match(answer, accepted, normalization) is right


def test_an_unknown_normalization_is_an_error():
    with pytest.raises(ValueError, match=r"verbatim, compact, words, not 'lower'"):
        normalize_text('Yes', 'lower')
