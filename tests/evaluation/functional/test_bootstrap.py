"""Bootstrap intervals against what statistics books say of simple cases."""

import numpy as np
import pytest

from geochat.evaluation.functional import Resamples, percentile_interval, resampled_ratios


def interval(above, below, clusters=None, **settings):
    clusters = np.arange(len(above)) if clusters is None else clusters
    scores = resampled_ratios({'score': (np.array(above), np.array(below))}, Resamples(clusters, **settings))
    return percentile_interval(scores['score'])


def test_a_share_has_the_interval_of_the_binomial_distribution():
    """Of 400 questions 100 are right: the standard error is sqrt(0.25 * 0.75 / 400)."""
    low, high = interval([1.0] * 100 + [0.0] * 300, np.ones(400), count=4000)
    error = np.sqrt(0.25 * 0.75 / 400)
    assert low == pytest.approx(0.25 - 1.96 * error, abs=0.004)
    assert high == pytest.approx(0.25 + 1.96 * error, abs=0.004)


def test_questions_of_one_picture_are_drawn_together():
    """Ten questions of a picture that are right or wrong together tell no more than one: the error is sqrt(10) fold."""
    right = np.repeat([1.0, 0.0], 500)
    alone, together = interval(right, np.ones(1000)), interval(right, np.ones(1000), clusters=np.arange(1000) // 10)
    assert (together[1] - together[0]) / (alone[1] - alone[0]) == pytest.approx(np.sqrt(10), rel=0.1)


def test_the_sums_are_those_of_the_drawn_questions():
    """Two clusters: a resample has the first 0, 1 or 2 times, and the second the rest."""
    resamples = Resamples(np.array([0, 0, 1]), count=2000)
    sums = resamples.sums(np.array([[1, 10], [2, 20], [5, 50]]))
    seen, counts = np.unique(sums[:, 0], return_counts=True)
    assert seen.tolist() == [6, 8, 10]
    np.testing.assert_allclose(counts / 2000, [0.25, 0.5, 0.25], atol=0.04)
    np.testing.assert_array_equal(sums[:, 1], 10 * sums[:, 0])


def test_every_resample_has_as_many_clusters_as_there_are(monkeypatch):
    monkeypatch.setattr('geochat.evaluation.functional.bootstrap._ENTRIES', 100)  # ten resamples at a time
    weights = list(Resamples(np.arange(10), count=35).weights())
    assert [len(part) for part in weights] == [10, 10, 10, 5]
    assert (np.concatenate(weights).sum(axis=1) == 10).all()


def test_a_seed_says_which_resamples_are_drawn():
    right = np.arange(50) % 3 == 0
    assert interval(right, np.ones(50)) == interval(right, np.ones(50))
    assert interval(right, np.ones(50)) != interval(right, np.ones(50), seed=1)


def test_nothing_to_divide_by_is_a_score_of_0():
    assert interval(np.zeros(5), np.zeros(5)) == (0, 0)
    assert resampled_ratios({}, Resamples(np.arange(3))) == {}
