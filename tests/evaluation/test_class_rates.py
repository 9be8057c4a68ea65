"""Classes against the rest, against scipy's own test and correction."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control, fisher_exact

from clipsieve.errors import UsageError
from clipsieve.evaluation.class_rates import adjust_for_number, more_often_than_rest, rate_classes

RNG = np.random.default_rng(0)


def counts(k, n_most=60, share=0.1, seed=0):
    rng = np.random.default_rng(seed)
    n = rng.integers(1, n_most, k)
    return n, rng.binomial(n, share)


def test_p_values_are_those_of_fishers_exact_test():
    n, flagged = counts(40)
    n_all, n_all_flagged = int(n.sum()) + 100, int(flagged.sum()) + 7  # some images have no class
    found = more_often_than_rest(n, flagged, n_all=n_all, n_all_flagged=n_all_flagged)
    tables = [
        [[x, m - x], [n_all_flagged - x, n_all - n_all_flagged - (m - x)]] for x, m in zip(flagged, n, strict=True)
    ]
    expected = [fisher_exact(table, alternative="greater").pvalue for table in tables]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_q_values_are_those_of_benjamini_and_hochberg():
    p = RNG.uniform(size=300) ** 3
    np.testing.assert_allclose(adjust_for_number(p), false_discovery_control(p, method="bh"), rtol=1e-12)
    assert adjust_for_number(np.zeros(0)).shape == (0,)


def test_a_class_of_three_images_does_not_top_the_list():
    n, flagged = np.array([3, 200, 500, 1]), np.array([3, 120, 40, 1])
    rates = rate_classes(n, flagged, n_all=10_000, n_all_flagged=900)
    assert rates.order[0] == 1
    assert rates.share[0] == 1.0
    assert rates.q_value[0] > rates.q_value[1]


def test_equal_q_values_are_ordered_by_the_lower_end_of_the_interval():
    rates = rate_classes(np.array([5, 50, 500]), np.array([0, 0, 0]), n_all=1000, n_all_flagged=0)
    assert set(rates.q_value) == {1.0}
    rates = rate_classes(np.array([9, 90]), np.array([9, 90]), n_all=99, n_all_flagged=99)
    assert rates.order.tolist() == [1, 0]


def test_where_no_class_differs_few_are_found():
    found = 0
    for seed in range(50):
        n, flagged = counts(100, n_most=300, seed=seed)
        rates = rate_classes(n, flagged, n_all=int(n.sum()), n_all_flagged=int(flagged.sum()))
        found += bool((rates.q_value < 0.05).any())
    assert found <= 8  # at most 5 % of 50 on average; more than 8 by luck in 1 of 500 cases


def test_a_class_that_is_flagged_twice_as_often_is_found():
    n, flagged = counts(100, n_most=1000)
    n[7], flagged[7] = 600, 120
    rates = rate_classes(n, flagged, n_all=int(n.sum()), n_all_flagged=int(flagged.sum()))
    assert rates.order[0] == 7
    assert rates.q_value[7] < 1e-6


def test_no_classes_and_20_000_of_them():
    assert rate_classes(np.zeros(0, int), np.zeros(0, int), n_all=5, n_all_flagged=1).order.shape == (0,)
    n, flagged = counts(20_000, n_most=5000)
    rates = rate_classes(n, flagged, n_all=int(n.sum()), n_all_flagged=int(flagged.sum()))
    assert sorted(rates.order.tolist()) == list(range(20_000))
    assert (np.diff(rates.q_value[rates.order]) >= 0).all()


@pytest.mark.parametrize(
    ("n", "flagged", "n_all", "n_all_flagged"),
    [([0], [0], 5, 1), ([2], [3], 5, 4), ([9], [1], 5, 1), ([2], [2], 5, 1), ([4], [0], 5, 3), ([1], [1], 5, 6)],
)
def test_counts_that_contradict_each_other_are_refused(n, flagged, n_all, n_all_flagged):
    with pytest.raises(UsageError, match="contradict"):
        rate_classes(np.array(n), np.array(flagged), n_all=n_all, n_all_flagged=n_all_flagged)
