"""Promises of recall and precision are kept as often as they say, whatever the scores; and are not made too rarely."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaincinv
from scipy.stats import beta, binom, binomtest, hypergeom, kstest, norm
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import precision_score, recall_score

from clipsieve.errors import UsageError
from clipsieve.evaluation.precision_search import Ladder, ladder_of_ranks, ladder_of_scores, passing
from clipsieve.evaluation.thresholds import (
    Decision,
    decide,
    observe,
    promise_precision,
    promise_recall,
)

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

N_SAMPLES = 2000
CELLS = np.linspace(0, 1, 5001)[1:]  # enough values that ties are rare


@dataclass(frozen=True)
class Population:
    """Images whose scores take finitely many values, so that recall and precision are sums, exactly."""

    prevalence: float
    values: np.ndarray
    unwanted: np.ndarray
    wanted: np.ndarray

    def sample(self, n, rng, n_samples=N_SAMPLES):
        labels = (rng.random((n_samples, n)) < self.prevalence).astype(np.int64)
        where = rng.random((n_samples, n))
        hit, other = (np.searchsorted(np.cumsum(p)[:-1], where, side="right") for p in (self.unwanted, self.wanted))
        return self.values[np.where(labels == 1, hit, other)], labels

    def scores(self, n, rng):
        return self.sample(n, rng, 1)[0][0]

    def recall(self, threshold):
        return self.unwanted[self.values >= threshold].sum()

    def precision(self, threshold):
        hits = self.prevalence * self.recall(threshold)
        flagged = hits + (1 - self.prevalence) * self.wanted[self.values >= threshold].sum()
        return hits / flagged if flagged else 1.0


def cells(distribution):
    mass = np.diff(distribution.cdf(np.linspace(0, 1, len(CELLS) + 1)))
    return mass / mass.sum()


def continuous(prevalence, unwanted, wanted):
    return Population(prevalence, CELLS, cells(beta(*unwanted)), cells(beta(*wanted)))


def normal(prevalence, distance):
    """Normal scores, brought to 0-1; the AUC is Phi(distance / sqrt(2))."""
    grid = np.linspace(-6, 9, len(CELLS) + 1)
    unwanted, wanted = np.diff(norm.cdf(grid - distance)), np.diff(norm.cdf(grid))
    return Population(prevalence, CELLS, unwanted / unwanted.sum(), wanted / wanted.sum())


def ten_values(prevalence):
    unwanted, wanted = np.arange(1.0, 11) ** 3, np.arange(10.0, 0, -1) ** 3
    return Population(prevalence, np.arange(1, 11) / 10, unwanted / unwanted.sum(), wanted / wanted.sum())


def isotonic(prevalence):
    """A continuous score that was calibrated on 80 images: steps of very unequal size."""
    rng = np.random.default_rng(12)
    raw = continuous(prevalence, (5, 2), (2, 5))
    probability, labels = raw.sample(80, rng, 1)
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(probability[0], labels[0])
    values, where = np.unique(fitted.predict(raw.values), return_inverse=True)
    return Population(prevalence, values, np.bincount(where, raw.unwanted), np.bincount(where, raw.wanted))


def bump(prevalence, share):
    """Wanted images that a classifier is sure about: precision is lowest at the highest thresholds."""
    peak = share * cells(beta(200, 3)) + (1 - share) * cells(beta(1.5, 9))
    return Population(prevalence, CELLS, cells(beta(7, 2)), peak)


def bumps(prevalence):
    """Precision passes the target up and down many times."""
    wave = 1 + 0.9 * np.sin(CELLS * 60)
    unwanted, wanted = cells(beta(5, 2)) * wave, cells(beta(2, 4)) * (2 - wave)
    return Population(prevalence, CELLS, unwanted / unwanted.sum(), wanted / wanted.sum())


POPULATIONS = {
    "good": continuous(0.3, (6, 2), (2, 8)),
    "normal": normal(0.3, 2.66),
    "rare": continuous(0.03, (6, 2), (1, 12)),
    "frequent": continuous(0.7, (5, 2), (2, 5)),
    "ten values": ten_values(0.3),
    "ten values, rare": ten_values(0.05),
    "isotonic": isotonic(0.3),
    "bump": bump(0.3, 0.05),
    "narrow bump": bump(0.3, 0.02),
    "bumps": bumps(0.4),
    "useless": continuous(0.3, (2, 2), (2, 2)),
    "useless, at the target": continuous(0.9, (2, 2), (2, 2)),
    "useless, just below": continuous(0.895, (2, 2), (2, 2)),
    "one value": Population(0.89, np.array([0.5]), np.ones(1), np.ones(1)),
}
FAST = ["ten values", "bump"]


def attempt(promise, probability, labels, **options):
    """Return the threshold, or None where nothing can be promised."""
    try:
        return promise(probability, labels, **options).threshold
    except UsageError:
        return None


@pytest.fixture
def no_hints(monkeypatch):
    """Do not work out how many labels would do: the simulations do not read it, and it costs more than the rest."""
    monkeypatch.setattr("clipsieve.evaluation.thresholds.labels_needed", lambda *_: None)


def assert_kept(broken, confidence):
    """Hold the share of broken promises against the level, with the noise of a simulation that is right at the level."""
    level = 1 - confidence
    assert binomtest(int(broken.sum()), len(broken), level, alternative="greater").pvalue > 1e-3, broken.mean()


def simulate_recall(name, n, recall, confidence, n_samples=N_SAMPLES):
    population = POPULATIONS[name]
    sets = population.sample(n, np.random.default_rng(5), n_samples)
    found = [attempt(promise_recall, *one, recall=recall, confidence=confidence) for one in zip(*sets, strict=True)]
    broken = np.array([t is not None and population.recall(t) < recall - 1e-12 for t in found])
    return broken, np.mean([t is None for t in found])


def simulate_precision(name, n, precision, confidence, *, chain, n_samples=N_SAMPLES):
    population, rng = POPULATIONS[name], np.random.default_rng(6)
    sets = population.sample(n, rng, n_samples)
    options = {"precision": precision, "confidence": confidence}
    if chain:
        options["candidates"] = population.scores(3_000, rng)
    found = [attempt(promise_precision, *one, **options) for one in zip(*sets, strict=True)]
    broken = np.array([t is not None and population.precision(t) < precision - 1e-12 for t in found])
    recall = np.array([0.0 if t is None else population.recall(t) for t in found])
    return broken, np.mean([t is None for t in found]), recall.mean()


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize(("recall", "confidence"), [(0.9, 0.95), (0.5, 0.8)])
def test_recall_is_as_promised(name, recall, confidence):
    broken, refused = simulate_recall(name, 400, recall, confidence, n_samples=500)
    assert_kept(broken, confidence)
    assert refused == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize(("n", "recall", "confidence"), [(100, 0.9, 0.95), (1500, 0.95, 0.95)])
def test_recall_is_as_promised_for_any_scores(name, n, recall, confidence):
    assert_kept(simulate_recall(name, n, recall, confidence)[0], confidence)


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("chain", [True, False])
@pytest.mark.usefixtures("no_hints")
def test_precision_is_as_promised(name, chain):
    broken, _, _ = simulate_precision(name, 500, 0.85, 0.9, chain=chain, n_samples=300)
    assert_kept(broken, 0.9)


@pytest.mark.slow
@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize("chain", [True, False])
@pytest.mark.parametrize(("n", "precision"), [(120, 0.8), (700, 0.9)])
@pytest.mark.usefixtures("no_hints")
def test_precision_is_as_promised_for_any_scores(name, chain, n, precision):
    assert_kept(simulate_precision(name, n, precision, 0.95, chain=chain)[0], 0.95)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["good", "normal", "bumps"])
@pytest.mark.usefixtures("no_hints")
def test_a_promise_of_little_confidence_is_kept_as_often_as_that(name):
    broken, _, _ = simulate_precision(name, 500, 0.6, 0.5, chain=True)
    assert_kept(broken, 0.5)
    assert broken.mean() > 0.15  # so that nothing is given away where promises are easy


def naive_precision(probability, labels, precision, level):
    """Return the lowest threshold whose own Clopper-Pearson bound reaches the target, as if it were the only one."""
    order = np.argsort(-probability)
    hits = np.cumsum(labels[order])
    good = betaincinv(np.maximum(hits, 1), np.arange(len(hits)) - hits + 2, level) >= precision
    return probability[order][np.flatnonzero(good)[-1]] if good.any() else None


@pytest.mark.parametrize(("name", "level", "often"), [("useless, just below", 0.05, 0.1), ("good", 0.5, 0.15)])
def test_a_naive_rule_would_break_the_promise_of_precision(name, level, often):
    population = POPULATIONS[name]
    sets = population.sample(300, np.random.default_rng(8), 300)
    found = [naive_precision(*one, 0.9, level) for one in zip(*sets, strict=True)]
    assert np.mean([t is not None and population.precision(t) < 0.9 for t in found]) > often


def test_a_naive_rule_would_break_the_promise_of_recall():
    population = POPULATIONS["good"]
    probability, labels = population.sample(400, np.random.default_rng(8), 300)
    found = [np.quantile(p[y == 1], 0.1) for p, y in zip(probability, labels, strict=True)]
    assert np.mean([population.recall(t) < 0.9 for t in found]) > 0.3


@pytest.mark.parametrize(("chain", "useful"), [(True, 0.55), (False, 0.42)])
@pytest.mark.usefixtures("no_hints")
def test_a_good_classifier_is_promised_a_useful_recall(chain, useful):
    population = POPULATIONS["normal"]  # AUC 0.97
    best = max(population.recall(t) for t in population.values[::10] if population.precision(t) >= 0.9)
    _, refused, recall = simulate_precision("normal", 700, 0.9, 0.95, chain=chain, n_samples=150)
    assert refused < 0.1
    assert useful < recall < best < 0.83


def test_a_threshold_that_passes_hands_its_level_on_and_one_that_fails_does_not():
    n_flagged, levels = np.full(3, 10), np.array([0.03, 0.0, 0.03])
    chain, ranks = (Ladder(np.array([0.9, 0.8, 0.7]), levels, is_chain) for is_chain in (True, False))
    # P(Binomial(10, 0.5) >= 8) = 56 / 1024 is more than 0.03 and less than 0.06.
    assert passing(chain, n_flagged, np.array([10, 10, 8]), 0.5).tolist() == [True, True, True]
    assert passing(chain, n_flagged, np.array([10, 5, 8]), 0.5).tolist() == [True, False, False]
    assert passing(ranks, n_flagged, np.array([10, 10, 8]), 0.5).tolist() == [True, False, False]


@settings(max_examples=50)
@given(st.integers(1, 3000), st.floats(0.02, 0.99), st.floats(0.001, 0.6), st.sampled_from([2, 10, 10**6]))
def test_no_ladder_spends_more_than_there_is(n, precision, tail, n_values):
    scores = np.random.default_rng(n).integers(0, n_values, n) / n_values
    for ladder in (ladder_of_ranks(scores, precision, tail), ladder_of_scores(scores, n, precision, tail)):
        assert 0 < ladder.levels.sum() <= tail * (1 + 1e-9)
        assert (ladder.levels >= 0).all()
        assert (np.diff(ladder.thresholds) <= 0).all()


def test_recall_of_continuous_scores_has_the_distribution_of_an_order_statistic():
    rng = np.random.default_rng(2)
    found = [promise_recall(rng.random(200), np.ones(200, dtype=np.int64), recall=0.9) for _ in range(1000)]
    k = int(200 - found[0].n_hits + 1)
    assert kstest([1 - point.threshold for point in found], beta(200 - k + 1, k).cdf).pvalue > 0.01


@settings(max_examples=50)
@given(st.integers(1, 400), st.floats(0.05, 0.99), st.floats(0.5, 0.99))
def test_the_rank_is_the_largest_that_the_binomial_allows(n, recall, confidence):
    probability = np.arange(1, n + 1) / n
    tails = binom.cdf(np.arange(n), n, 1 - recall)
    at_least, at_most = ((tails <= (1 - confidence) * slack).sum() for slack in (1 - 1e-9, 1 + 1e-9))
    found = attempt(promise_recall, probability, np.ones(n, dtype=np.int64), recall=recall, confidence=confidence)
    assert at_least <= round((found or 0) * n) <= at_most


@settings(max_examples=50)
@given(st.data())
def test_drawing_without_replacement_breaks_no_promise_of_recall(data):
    size = data.draw(st.integers(1, 300))
    n = data.draw(st.integers(1, size))
    recall, confidence = data.draw(st.floats(0.05, 0.95)), data.draw(st.floats(0.8, 0.99))
    found = attempt(
        promise_recall, np.arange(1, n + 1) / n, np.ones(n, dtype=np.int64), recall=recall, confidence=confidence
    )
    if found is not None:
        k = round(found * n)
        too_high = size - int(np.ceil(recall * size - 1e-9)) + 1  # the lowest scores of which one must be in the sample
        assert hypergeom.cdf(k - 1, size, too_high, n) <= 1 - confidence + 1e-9


def test_the_counts_are_those_of_scikit_learn():
    probability, labels = (part[0] for part in POPULATIONS["good"].sample(600, np.random.default_rng(1), 1))
    for point in (
        promise_recall(probability, labels, recall=0.9),
        promise_precision(probability, labels, precision=0.8),
        observe(probability, labels, 0.6),
    ):
        flagged = (probability >= point.threshold).astype(int)
        assert point.recall == pytest.approx(recall_score(labels, flagged))
        assert point.precision == pytest.approx(precision_score(labels, flagged))
        assert (point.n_labels, point.n_flagged, point.n_unwanted) == (600, flagged.sum(), labels.sum())


def test_the_bound_lies_between_the_target_and_what_was_observed():
    probability, labels = (part[0] for part in POPULATIONS["good"].sample(600, np.random.default_rng(1), 1))
    recall = promise_recall(probability, labels, recall=0.9)
    assert 0.9 <= recall.bound < recall.recall
    assert recall.bound == pytest.approx(binomtest(recall.n_hits, recall.n_unwanted).proportion_ci(0.9).low, abs=0.005)
    for candidates in (None, probability):
        found = promise_precision(probability, labels, precision=0.8, candidates=candidates)
        assert 0.8 <= found.bound < found.precision


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=60), st.floats(0, 1))
def test_the_intervals_are_those_of_scipy(images, threshold):
    probability = np.array([p for p, _ in images], dtype=np.float64)
    labels = np.array([y for _, y in images], dtype=np.int64)
    seen = observe(probability, labels, threshold, confidence=0.9)
    for n, low, high, share in (
        (seen.n_unwanted, seen.recall_low, seen.recall_high, seen.recall),
        (seen.n_flagged, seen.precision_low, seen.precision_high, seen.precision),
    ):
        expected = binomtest(seen.n_hits, n).proportion_ci(0.9, method="exact") if n else (0, 1)
        np.testing.assert_allclose((low, high), tuple(expected), atol=1e-9)
        assert (share is None) == (n == 0)


def test_ties_are_flagged_together():
    probability = np.repeat([0.2, 0.6, 0.9], 40)
    labels = np.repeat([0, 1, 1], 40)
    assert promise_recall(probability, labels, recall=0.9).threshold == 0.6
    chain = promise_precision(probability, labels, precision=0.9, candidates=probability)
    assert (chain.threshold, chain.n_flagged) == (0.6, 80)
    ranks = promise_precision(probability, labels, precision=0.9)
    assert ranks.n_flagged in (40, 80)
    assert ranks.threshold not in probability  # strictly above a value that occurs


def test_only_the_order_of_the_scores_counts():
    probability, labels = (part[0] for part in POPULATIONS["bump"].sample(700, np.random.default_rng(3), 1))
    squeezed = 0.5 + probability**3 / 100
    for promise, target in ((promise_recall, {"recall": 0.9}), (promise_precision, {"precision": 0.6})):
        one, other = promise(probability, labels, **target), promise(squeezed, labels, **target)
        assert (one.n_flagged, one.n_hits) == (other.n_flagged, other.n_hits)


@pytest.mark.parametrize(
    ("recall", "confidence", "fewest"), [(0.95, 0.95, 59), (0.9, 0.95, 29), (0.99, 0.9, 230), (0.5, 0.75, 2)]
)
def test_too_few_unwanted_labels_say_how_many_would_do(recall, confidence, fewest):
    probability, labels = np.linspace(0, 1, fewest), np.ones(fewest, dtype=np.int64)
    assert promise_recall(probability, labels, recall=recall, confidence=confidence).threshold == 0
    labels[0] = 0
    with pytest.raises(UsageError, match=f"at least {fewest} labels") as caught:
        promise_recall(probability, labels, recall=recall, confidence=confidence)
    assert caught.value.found == f"{fewest - 1}"


def needed_for_precision(probability, labels, precision):
    with pytest.raises(UsageError, match=r"no threshold has a precision") as caught:
        promise_precision(probability, labels, precision=precision)
    return caught.value


def test_too_few_labels_for_precision_say_about_how_many_would_do():
    rng, population = np.random.default_rng(4), POPULATIONS["normal"]
    hints = [needed_for_precision(*one, 0.9).hint for one in zip(*population.sample(90, rng, 41), strict=True)]
    numbers = [hint.split("about ")[1].split(" labels")[0].replace(",", "") for hint in hints if "about " in hint]
    needed = int(np.median([int(number) for number in numbers]))
    assert len(numbers) > 35
    for n, least, most in ((needed // 3, 0.0, 0.3), (needed, 0.3, 0.9), (2 * needed, 0.8, 1.0)):
        sets = zip(*population.sample(n, rng, 100), strict=True)
        made = np.mean([attempt(promise_precision, *one, precision=0.9) is not None for one in sets])
        assert least <= made <= most


def test_useless_scores_say_that_labels_do_not_help():
    probability, labels = (part[0] for part in POPULATIONS["useless"].sample(2000, np.random.default_rng(4), 1))
    error = needed_for_precision(probability, labels, 0.9)
    assert "more labels may not help" in error.hint
    assert float(error.found.split(" ")[0]) < 0.5


def test_one_label_is_not_enough_and_says_so():
    one = np.array([0.9]), np.array([1])
    with pytest.raises(UsageError, match="59 labels"):
        promise_recall(*one, recall=0.95)
    for candidates in (None, np.array([0.4])):
        with pytest.raises(UsageError, match="no threshold has a precision"):
            promise_precision(*one, precision=0.9, candidates=candidates)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.3, 0.9, 1.0]), st.booleans()), min_size=1, max_size=80),
    st.floats(0.01, 0.99),
    st.booleans(),
)
def test_any_labels_end_in_a_point_or_an_error_and_a_point_shows_what_was_promised(images, target, chain):
    probability = np.array([p for p, _ in images])
    labels = np.array([int(y) for _, y in images], dtype=np.int64)
    candidates = np.array([0.0, 0.3, 1.0]) if chain else None
    for promise, options in (
        (promise_recall, {"recall": target}),
        (promise_precision, {"precision": target, "candidates": candidates}),
    ):
        try:
            point = promise(probability, labels, **options)
        except UsageError:
            continue
        assert (point.recall if point.kind == "recall" else point.precision) >= point.bound >= target
        assert point.n_hits == labels[probability >= point.threshold].sum()


def test_two_thresholds_make_three_decisions():
    codes = decide(np.array([0.0, 0.39, 0.4, 0.79, 0.8, 1.0]), 0.4, 0.8)
    assert [Decision(code).name for code in codes] == ["KEEP", "KEEP", "REVIEW", "REVIEW", "REMOVE", "REMOVE"]
    assert decide(np.array([0.3, 0.9]), 0.4).tolist() == [Decision.KEEP, Decision.REVIEW]
    assert decide(np.array([]), 0.4, 0.8).shape == (0,)


def test_where_precision_is_promised_for_more_than_recall_needs_nothing_is_left_to_review():
    codes = decide(np.array([0.1, 0.35, 0.4, 0.9]), 0.4, 0.3)
    assert codes.tolist() == [Decision.KEEP, Decision.REMOVE, Decision.REMOVE, Decision.REMOVE]


BAD = {
    "nan": ([0.1, float("nan")], [0, 1], 0.9, 0.95, "place 1"),
    "too high": ([0.1, 1.5], [0, 1], 0.9, 0.95, "numbers from 0 to 1"),
    "negative": ([-0.1, 0.5], [0, 1], 0.9, 0.95, "numbers from 0 to 1"),
    "another label": ([0.1, 0.5], [1, 2], 0.9, 0.95, "1 for unwanted"),
    "no unwanted": ([0.1, 0.5], [0, 0], 0.9, 0.95, "no labelled image is unwanted"),
    "no image": ([], [], 0.9, 0.95, "no labelled image"),
    "target 0": ([0.1, 0.5], [0, 1], 0.0, 0.95, "makes no sense"),
    "target 1": ([0.1, 0.5], [0, 1], 1.0, 0.95, "makes no sense"),
    "target nan": ([0.1, 0.5], [0, 1], float("nan"), 0.95, "makes no sense"),
    "confidence 1": ([0.1, 0.5], [0, 1], 0.9, 1.0, "the confidence makes no sense"),
    "confidence 95": ([0.1, 0.5], [0, 1], 0.9, 95.0, "the confidence makes no sense"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    probability, labels, target, confidence, words = BAD[name]
    images = np.array(probability, dtype=np.float64), np.array(labels, dtype=np.int64)
    with pytest.raises(UsageError, match=words):
        promise_recall(*images, recall=target, confidence=confidence)
    with pytest.raises(UsageError, match=words):
        promise_precision(*images, precision=target, confidence=confidence)
    if name not in {"no unwanted", "target 0", "target 1", "target nan"}:
        with pytest.raises(UsageError, match=words):
            observe(*images, 0.5, confidence=confidence)


@pytest.mark.parametrize("candidates", [[], [0.1, float("nan")], [2.0]])
def test_bad_candidates_are_refused(candidates):
    with pytest.raises(UsageError):
        promise_precision(np.array([0.1, 0.9]), np.array([0, 1]), precision=0.5, candidates=np.array(candidates))


def test_thresholds_that_are_no_number_are_refused():
    with pytest.raises(UsageError, match="threshold"):
        observe(np.array([0.1]), np.array([1]), float("nan"))
    with pytest.raises(UsageError, match="threshold"):
        decide(np.array([0.1]), float("nan"))
    with pytest.raises(UsageError, match="threshold"):
        decide(np.array([0.1]), 0.5, float("nan"))
    with pytest.raises(UsageError, match="place 0"):
        decide(np.array([float("nan")]), 0.5)
