"""Intervals of proportions, against scipy's."""

import numpy as np
import pytest
from scipy.stats import binomtest

from clipsieve.errors import UsageError
from clipsieve.evaluation.intervals import clopper_pearson, wilson

CASES = [(0, 1), (1, 1), (0, 50), (50, 50), (3, 7), (29, 40), (99, 990), (1, 1_000_000)]


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_the_score_interval_is_scipys(confidence):
    hits, n = (np.array(column) for column in zip(*CASES, strict=True))
    low, high = wilson(hits, n, confidence)
    expected = [binomtest(x, m).proportion_ci(confidence, "wilson") for x, m in CASES]
    np.testing.assert_allclose(low, [ci.low for ci in expected], atol=1e-12)
    np.testing.assert_allclose(high, [ci.high for ci in expected], atol=1e-12)


@pytest.mark.parametrize(("hits", "n"), CASES)
def test_the_exact_interval_is_scipys(hits, n):
    expected = binomtest(hits, n).proportion_ci(0.95, "exact")
    assert clopper_pearson(hits, n, 0.95) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_ends_are_exact_at_the_edges_and_say_nothing_of_nothing():
    low, high = wilson(np.array([0, 3, 0]), np.array([3, 3, 0]))
    assert (low[0], high[1], low[2], high[2]) == (0.0, 1.0, 0.0, 1.0)
    assert clopper_pearson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("hits", "n", "confidence"), [(2, 1, 0.95), (-1, 1, 0.95), (1, 2, 1.0), (1, 2, 0.0)])
def test_what_makes_no_sense_is_refused(hits, n, confidence):
    with pytest.raises(UsageError):
        wilson(np.array(hits), np.array(n), confidence)
