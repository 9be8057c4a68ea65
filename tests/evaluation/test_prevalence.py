"""Estimates from stratified samples: the interval holds the truth, and is no wider than it must be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, hypergeom

from clipsieve.errors import UsageError
from clipsieve.evaluation.prevalence import estimate, estimate_recall
from clipsieve.evaluation.sampling import choose_strata, plan_sample
from clipsieve.evaluation.stratified import _two_limits, count_interval

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

N_SAMPLES = 2000


def ints(*values):
    return np.array(values, dtype=np.int64)


# Sizes, unwanted images and judged images of each stratum.
SCENARIOS = {
    "0.1 % unwanted": ([900_000, 60_000, 25_000, 10_000, 5_000], [30, 40, 80, 150, 700], [600, 200, 150, 120, 100]),
    "1 % unwanted": (
        [900_000, 60_000, 25_000, 10_000, 5_000],
        [2_000, 1_500, 1_500, 2_000, 3_000],
        [400, 60, 60, 60, 60],
    ),
    "20 % unwanted": (
        [50_000, 20_000, 15_000, 10_000, 5_000],
        [1_000, 3_000, 5_000, 7_000, 4_000],
        [80, 60, 50, 40, 30],
    ),
    "misses in the big stratum": ([950_000, 30_000, 20_000], [28_500, 3_000, 10_000], [100, 30, 100]),
    "rare misses in the big stratum": ([950_000, 30_000, 20_000], [950, 0, 10_000], [300, 30, 300]),
    "useless scores, 1 %": ([20_000] * 5, [200] * 5, [30] * 5),
    "useless scores, 20 %": ([20_000] * 5, [4_000] * 5, [30] * 5),
    "one unwanted in each of three": ([340] * 3, [1] * 3, [78] * 3),
    "nearly all unwanted": ([20_000] * 5, [19_800] * 5, [30] * 5),
    "opposite strata": ([10_000, 10_000, 300], [50, 9_950, 100], [40, 40, 300]),
    "most of a small data set judged": ([400, 80, 30], [6, 8, 20], [150, 60, 30]),
    "nothing unwanted": ([20_000] * 3, [0] * 3, [30] * 3),
}


def simulate(name):
    """Return the truth and the hits in many samples without replacement."""
    sizes, unwanted, judged = (ints(*values) for values in SCENARIOS[name])
    hits = np.random.default_rng(7).hypergeometric(unwanted, sizes - unwanted, judged, size=(N_SAMPLES, len(sizes)))
    return unwanted, hits.astype(np.float64), judged, sizes


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_the_interval_misses_the_truth_no_more_often_than_it_says(name, confidence):
    unwanted, hits, judged, sizes = simulate(name)
    low, high = count_interval(hits, judged, sizes, confidence)
    missed = (low > unwanted.sum()) | (high < unwanted.sum())
    assert missed.mean() <= 1 - confidence


@pytest.mark.slow
def test_the_interval_holds_in_designs_that_nobody_thought_of():
    rng = np.random.default_rng(3)
    share_missed = []
    for _ in range(150):
        h = int(rng.integers(2, 7))
        sizes = np.round(10 ** rng.uniform(1, 6, h)).astype(np.int64)
        judged = np.minimum(sizes, np.round(10 ** rng.uniform(0.3, 3, h)).astype(np.int64))
        unwanted = np.round(sizes * 10 ** rng.uniform(-4, 0, h)).astype(np.int64)
        unwanted = np.where(rng.random(h) < 0.2, sizes - unwanted, unwanted)
        hits = rng.hypergeometric(unwanted, sizes - unwanted, judged, size=(N_SAMPLES, h)).astype(np.float64)
        low, high = count_interval(hits, judged, sizes)
        share_missed.append(((low > unwanted.sum()) | (high < unwanted.sum())).mean())
    # The noise of 2,000 samples at 5 % has a standard deviation of 0.5 %; this is the largest of 150.
    assert max(share_missed) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / N_SAMPLES)
    assert np.mean(share_missed) <= 0.04


def test_variance_recovered_from_the_limits_alone_would_be_too_small():
    unwanted, hits, judged, sizes = simulate("one unwanted in each of three")
    mover, matched = _two_limits(hits, judged, sizes, 0.025, upper=0)
    assert (np.floor(mover) > unwanted.sum()).mean() > 0.1
    assert (np.floor(matched) > unwanted.sum()).mean() <= 0.025


def test_one_stratum_of_a_large_data_set_has_the_interval_of_clopper_and_pearson():
    for n_hits, n_judged in [(0, 40), (1, 40), (7, 300), (150, 300), (300, 300)]:
        found = estimate(ints(n_hits), ints(n_judged), ints(10**10))
        expected = binomtest(n_hits, n_judged).proportion_ci(0.95, method="exact")
        np.testing.assert_allclose((found.low, found.high), (expected.low, expected.high), rtol=1e-6, atol=1e-9)


@settings(max_examples=150)
@given(st.data())
def test_one_stratum_of_any_data_set_holds_the_exact_interval_and_at_most_an_image_more(data):
    size = data.draw(st.integers(1, 300))
    n_judged = data.draw(st.integers(1, size))
    n_hits = data.draw(st.integers(0, n_judged))
    possible = np.arange(n_hits, size - n_judged + n_hits + 1)
    above = hypergeom.cdf(n_hits, size, possible, n_judged) > 0.025 + 1e-12
    below = hypergeom.sf(n_hits - 1, size, possible, n_judged) > 0.025 + 1e-12
    found = estimate(ints(n_hits), ints(n_judged), ints(size))
    assert 0 <= possible[below].min() - found.n_unwanted_low <= 1
    assert 0 <= found.n_unwanted_high - possible[above].max() <= 1


def test_what_was_judged_completely_is_known_exactly():
    found = estimate(ints(3, 10), ints(50, 20), ints(50, 20))
    assert (found.share, found.low, found.high) == (13 / 70,) * 3
    beside = estimate(ints(3, 2), ints(50, 40), ints(50, 4_000))
    alone = estimate(ints(2), ints(40), ints(4_000))
    assert beside.n_unwanted_low - 3 == pytest.approx(alone.n_unwanted_low, abs=1)
    assert beside.n_unwanted_high - 3 == pytest.approx(alone.n_unwanted_high, abs=1)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(1, 10**6), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6))
def test_the_interval_is_in_order_and_turns_over_with_the_question(strata):
    sizes = ints(*(size for size, _, _ in strata))
    judged = ints(*(max(1, round(size * part)) for size, part, _ in strata))
    hits = ints(*(round(n * rate) for n, (_, _, rate) in zip(judged.tolist(), strata, strict=True)))
    found, other = estimate(hits, judged, sizes), estimate(judged - hits, judged, sizes)
    assert hits.sum() <= found.n_unwanted_low <= found.n_unwanted <= found.n_unwanted_high
    assert found.n_unwanted_high <= sizes.sum() - (judged - hits).sum()
    assert found.n_unwanted_low == pytest.approx(sizes.sum() - other.n_unwanted_high, abs=1)


def test_zero_is_zero_and_not_minus_zero():
    assert str(estimate(ints(0), ints(5), ints(5)).high) == "0.0"


@pytest.mark.parametrize(
    ("n_hits", "n_judged", "sizes", "confidence"),
    [
        ([2], [1], [9], 0.95),
        ([-1], [1], [9], 0.95),
        ([0], [0], [9], 0.95),
        ([0], [10], [9], 0.95),
        ([], [], [], 0.95),
        ([0], [1], [9], 1.0),
        ([0], [1], [9], float("nan")),
    ],
)
def test_counts_that_cannot_be_are_refused(n_hits, n_judged, sizes, confidence):
    with pytest.raises(UsageError):
        estimate(ints(*n_hits), ints(*n_judged), ints(*sizes), confidence)


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "nothing unwanted"])
def test_the_interval_of_recall_holds_the_truth(name):
    unwanted, hits, judged, sizes = simulate(name)
    flagged = np.arange(len(sizes)) == len(sizes) - 1
    truth = unwanted[-1] / unwanted.sum()
    found = [estimate_recall(row.astype(np.int64), judged, sizes, flagged) for row in hits[:150]]
    missed = sum(not recall.low - 1e-9 <= truth <= recall.high + 1e-9 for recall in found)
    assert missed <= 0.05 * len(found)


def test_recall_of_no_unwanted_image_is_unknown():
    recall = estimate_recall(ints(0, 0), ints(9, 9), ints(90, 90), np.array([False, True]))
    assert (recall.share, recall.low, recall.high) == (None, 0.0, 1.0)


def test_where_all_is_flagged_nothing_is_missed_and_where_nothing_is_all():
    everything = estimate_recall(ints(3), ints(9), ints(90), np.array([True]))
    nothing = estimate_recall(ints(3), ints(9), ints(90), np.array([False]))
    assert (everything.share, everything.low) == (1.0, 1.0)
    assert (nothing.share, nothing.high) == (0.0, 0.0)


@settings(max_examples=100)
@given(st.lists(st.floats(0, 1), max_size=200), st.integers(1, 7))
def test_strata_follow_the_order_and_none_is_empty(probability, max_strata):
    strata = choose_strata(np.array(probability, dtype=np.float64), max_strata)
    assert sorted(set(strata.tolist())) == list(range(len(set(strata.tolist()))))
    assert strata.max(initial=0) < max_strata
    in_order = strata[np.argsort(probability, kind="stable")]
    assert (np.diff(in_order) >= 0).all()


def test_equal_probabilities_are_one_stratum():
    assert not choose_strata(np.full(9, 0.3)).any()


def test_even_probabilities_are_cut_evenly():
    counts = np.bincount(choose_strata(np.linspace(0, 1, 100_000), 5))
    np.testing.assert_allclose(counts, 20_000, rtol=0.01)


def test_strata_make_the_estimate_surer_than_chance_would():
    probability = np.random.default_rng(0).beta(0.1, 2, 50_000)
    strata = choose_strata(probability)
    within = sum((strata == h).mean() * probability[strata == h].std() for h in range(strata.max() + 1))
    assert within < 0.35 * probability.std()


@pytest.mark.parametrize("probability", [[0.1, float("nan")], [0.1, float("inf")]])
def test_probabilities_that_are_no_numbers_are_refused(probability):
    with pytest.raises(UsageError, match="finite"):
        choose_strata(np.array(probability))


@pytest.mark.parametrize("width", [0.1, 0.02, 0.005])
def test_a_plan_gives_the_width_that_was_asked_for_if_its_expectations_hold(width):
    sizes, rates = ints(900_000, 60_000, 25_000, 15_000), np.array([0.02, 0.1, 0.5, 0.9])
    judged = plan_sample(sizes, rates, width)
    unwanted = (sizes * rates).astype(np.int64)
    hits = np.random.default_rng(1).hypergeometric(unwanted, sizes - unwanted, judged, size=(N_SAMPLES, 4))
    low, high = count_interval(hits.astype(np.float64), judged, sizes)
    assert (high - low).mean() / sizes.sum() == pytest.approx(width, rel=0.07)


def test_a_plan_is_the_smallest():
    sizes, rates = ints(900_000, 60_000), np.array([0.02, 0.3])
    judged = plan_sample(sizes, rates, 0.02)
    for h in range(2):
        fewer = judged - (np.arange(2) == h)
        low, high = count_interval(rates * fewer, fewer, sizes)
        assert high - low > 0.02 * sizes.sum() * 0.9999
    assert judged.sum() < 0.95 * plan_sample(ints(960_000), np.array([(rates * sizes).sum() / 960_000]), 0.02).sum()


def test_a_stratum_that_looks_certain_is_looked_at():
    sizes = ints(1_000_000, 100)
    sure, unsure = plan_sample(sizes, np.array([0.0, 1.0]), 0.02), plan_sample(sizes, np.array([0.01, 0.5]), 0.02)
    np.testing.assert_array_equal(sure, unsure)
    assert sure[0] > 300


@pytest.mark.slow
@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(1, 10**7), st.floats(0, 1)), min_size=1, max_size=6),
    st.floats(0.001, 0.9),
    st.floats(0.5, 0.999),
)
def test_a_plan_asks_for_no_more_than_there_is_and_keeps_its_width(strata, width, confidence):
    sizes, rates = ints(*(size for size, _ in strata)), np.array([rate for _, rate in strata])
    judged = plan_sample(sizes, rates, width, confidence)
    assert ((judged >= np.minimum(30, sizes)) & (judged <= sizes)).all()
    likely = np.clip(rates, 0.01, 0.99)
    low, high = count_interval(likely * judged, judged, sizes, confidence)
    assert high - low <= width * sizes.sum() * 1.01 + 2 or width < 0.02


@pytest.mark.parametrize(("width", "rate"), [(0.0, 0.5), (1.0, 0.5), (float("nan"), 0.5), (0.1, -0.1), (0.1, 1.1)])
def test_plans_that_make_no_sense_are_refused(width, rate):
    with pytest.raises(UsageError, match="makes no sense"):
        plan_sample(ints(9), np.array([rate]), width)
