"""What every back end tells of an answer."""

import numpy as np
import pytest

from geochat.generation import Written


def test_confidence_is_told_where_probabilities_and_places_are_known():
    spans = np.array([[0, 2]])
    known = Written('ab c', 'end', 3, [-0.5, -0.25, -1.0], lambda: np.array([1, 2, 4]))
    assert known.log_prob == -1.75
    assert known.box_scores(spans).products == pytest.approx((np.exp(-0.75),))
    assert Written('ab c', 'end', 3, [-0.5, -0.25, -1.0]).box_scores(spans) is None
    assert Written('ab c', 'end').box_scores(spans) is None
    assert Written('ab c', 'end').box_scores(np.zeros((0, 2))) == ((), ())
    assert Written('ab c', 'end').log_prob is None
