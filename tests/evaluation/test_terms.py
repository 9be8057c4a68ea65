"""Log-odds with an informative prior: against the formula written out, by hand, and by simulation."""

import math

import numpy as np
import pytest

from clipsieve.errors import UsageError
from clipsieve.evaluation.terms import frequent_terms, informative_prior, log_odds, rate_terms


def by_the_formula(flagged, rest, prior):
    """Return delta and z of each term by plain sums, with the odds as they stand in the paper."""
    n_f, n_r, a0 = sum(flagged), sum(rest), sum(prior)
    found = []
    for y_f, y_r, a in zip(flagged, rest, prior, strict=True):
        omega_f, omega_r = (y_f + a) / (n_f + a0 - (y_f + a)), (y_r + a) / (n_r + a0 - (y_r + a))
        delta = math.log(omega_f) - math.log(omega_r)
        found.append((delta, delta / math.sqrt(1 / (y_f + a) + 1 / (y_r + a))))
    return [list(column) for column in zip(*found, strict=True)]


def test_the_formula():
    rng = np.random.default_rng(0)
    flagged, rest = rng.integers(0, 50, 30), rng.integers(1, 500, 30)
    prior = informative_prior(flagged + rest, 700.0)
    delta, z = log_odds(flagged, rest, prior)
    expected = by_the_formula(flagged.tolist(), rest.tolist(), prior.tolist())
    np.testing.assert_allclose([delta, z], expected, rtol=1e-12)
    assert prior.sum() == pytest.approx(700)


def test_an_example_by_hand():
    # Three of four terms among the flagged, one of four among the rest, a pseudo-count of one each: odds of 4/2 and 2/4.
    delta, z = log_odds(np.array([3, 1]), np.array([1, 3]), np.array([1.0, 1.0]))
    assert delta.tolist() == pytest.approx([math.log(4), -math.log(4)])
    assert z[0] == pytest.approx(math.log(4) / math.sqrt(1 / 4 + 1 / 2))


def test_one_term_alone_is_no_more_frequent_anywhere():
    assert [values.tolist() for values in log_odds(np.array([5]), np.array([2]), np.array([1.0]))] == [[0.0], [0.0]]
    assert rate_terms({}, {}) == []
    assert [values.shape for values in log_odds(np.zeros(0, int), np.zeros(0, int), np.zeros(0))] == [(0,), (0,)]


def simulate(seed):
    """Return two corpora that use 3,000 words alike, but for one that is twice as frequent among the flagged."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, 3001)
    raised = share.copy()
    raised[9] *= 2  # some 150 instead of 75
    draws = [rng.multinomial(n, p / p.sum()) for n, p in ((6_000, raised), (60_000, share))]
    return [{f"w{i}": int(n) for i, n in enumerate(draw) if n} for draw in draws]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_over_represented_tops_the_list_and_rare_words_do_not(seed):
    flagged, rest = simulate(seed)
    rated = rate_terms(flagged, rest)
    assert rated[0].term == "w9"
    lonely = [term for term in rated if term.n_flagged <= 2 and term.n_rest == 0]
    assert lonely, "the simulation has words that stand among the flagged alone"
    assert max(term.z_score for term in lonely) < 2
    assert rated[0].z_score > 3
    # The plain ratio of frequencies would put such words first.
    ratio = {term.term: term.n_flagged / (term.n_rest + 1e-9) for term in rated}
    assert max(ratio, key=ratio.get) != "w9"


def test_the_words_of_both_are_rated_and_the_counts_kept():
    rated = rate_terms({"b": 4, "c": 0}, {"a": 8, "c": 0})
    assert [(term.term, term.n_flagged, term.n_rest) for term in rated] == [("b", 4, 0), ("a", 0, 8)]
    assert rated[0].log_odds > 0 > rated[1].log_odds


def test_the_numbers_that_the_description_gives():
    rest = {f"w{i}": 90 for i in range(1000)}
    flagged = {f"w{i}": 10 for i in range(1000)}
    rated = {term.term: term.z_score for term in rate_terms(flagged | {"three": 3, "hundred": 100}, rest)}
    assert rated["three"] == pytest.approx(2.1, abs=0.1)
    assert rated["hundred"] == pytest.approx(12, abs=0.5)


def test_frequent_terms_are_ordered_by_count_then_by_z():
    rated = rate_terms({"a": 5, "b": 5, "c": 9}, {"a": 90, "b": 1, "d": 4})
    assert [term.term for term in frequent_terms(rated, 9)] == ["c", "b", "a"]
    assert [term.term for term in frequent_terms(rated, 1)] == ["c"]


@pytest.mark.parametrize(("n", "prior"), [(-1, 1.0), (1, 0.0), (1, -1.0), (1, math.nan)])
def test_counts_that_make_no_sense_are_refused(n, prior):
    with pytest.raises(UsageError, match="make no sense"):
        log_odds(np.array([n, 1]), np.array([1, 1]), np.array([prior, 1.0]))
    with pytest.raises(UsageError, match="prior makes no sense"):
        informative_prior(np.array([1, 0]), 3.0)
