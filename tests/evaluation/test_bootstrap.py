"""Intervals by image: as scipy's where scipy can, and as often right as they say where it cannot."""

from time import perf_counter

import numpy as np
import pytest
from scipy.stats import binom, bootstrap, norm, rankdata
from sklearn.metrics import roc_auc_score

from clipsieve.errors import UsageError
from clipsieve.evaluation import bootstrap as bootstrap_module
from clipsieve.evaluation.bca import Distribution, interval_of, p_value_of
from clipsieve.evaluation.bootstrap import bootstrap_intervals, paired_bootstrap, summarize_splits
from clipsieve.evaluation.metrics import METRICS, SplitPredictions, flag

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute


def split_of(labels, probability, image=None):
    return SplitPredictions(np.arange(len(labels)) if image is None else image, labels, probability, flag(probability))


def population(rng, n, distance=2.0, noise=0.0):
    """Return labels and calibrated probabilities; with noise, also probabilities that are as good, and err elsewhere."""
    labels = (rng.random(n) < 0.4).astype(np.int64)
    shared = rng.normal(size=n) + distance * (labels - 0.5)
    methods = [1 / (1 + np.exp(-distance * (shared + noise * rng.normal(size=n)))) for _ in range(2)]
    return labels, *methods


def random_splits(rng, labels, probability, n_splits=10, n_test=168):
    """Return splits that overlap, as repeated random ones do."""
    images = [rng.choice(len(labels), n_test, replace=False) for _ in range(n_splits)]
    return [split_of(labels[image], probability[image], image) for image in images]


def reversed_split(split):
    return SplitPredictions(split.image, split.labels, 1 - split.probability, ~split.flagged)


def auc_by_ranks(labels, probability):
    n_unwanted = labels.sum()
    ranks = rankdata(probability)[labels == 1].sum()
    return (ranks - n_unwanted * (n_unwanted + 1) / 2) / (n_unwanted * (len(labels) - n_unwanted))


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_is_scipys_bca_interval(seed):
    labels, probability, _ = population(np.random.default_rng(seed), 150)
    found = bootstrap_intervals([split_of(labels, probability)], n_bootstrap=4000, seed=seed)
    right = (labels == flag(probability)).astype(np.float64)
    for name, statistic, columns, n_resamples in (
        ("accuracy", np.mean, (right,), 4000),
        ("roc_auc", auc_by_ranks, (labels, probability), 2000),
    ):
        rng = np.random.default_rng(seed)
        expected = bootstrap(columns, statistic, paired=True, n_resamples=n_resamples, method="BCa", rng=rng)
        low, high = expected.confidence_interval
        assert found[name] == pytest.approx((low, high), abs=0.08 * (high - low))


def test_a_summary_is_mean_and_sample_deviation_over_the_splits():
    rng = np.random.default_rng(0)
    splits = random_splits(rng, *population(rng, 500)[:2], n_splits=4)
    found = summarize_splits(splits, n_bootstrap=50)
    assert list(found) == list(METRICS)
    expected = [roc_auc_score(split.labels, split.probability) for split in splits]
    assert found["roc_auc"].values == pytest.approx(tuple(expected))
    assert found["roc_auc"].mean == pytest.approx(np.mean(expected))
    assert found["roc_auc"].sd == pytest.approx(np.std(expected, ddof=1))
    assert all(summary.low <= summary.mean <= summary.high for summary in found.values())
    assert np.isnan(summarize_splits(splits[:1], n_bootstrap=50)["accuracy"].sd)


def test_testing_the_same_images_again_makes_nothing_more_certain():
    rng = np.random.default_rng(1)
    split = split_of(*population(rng, 168)[:2])
    once, tenfold = bootstrap_intervals([split], seed=3), bootstrap_intervals([split] * 10, seed=3)
    for name in METRICS:
        assert tenfold[name] == pytest.approx(once[name], abs=1e-9)


def test_other_images_in_each_split_make_the_mean_more_certain():
    rng = np.random.default_rng(1)
    labels, probability, _ = population(rng, 1680)
    disjoint = [split_of(labels[i::10], probability[i::10], np.arange(1680)[i::10]) for i in range(10)]
    low, high = bootstrap_intervals(disjoint)["accuracy"]
    low_of_one, high_of_one = bootstrap_intervals(disjoint[:1])["accuracy"]
    assert (high - low) == pytest.approx((high_of_one - low_of_one) / np.sqrt(10), rel=0.25)


def test_the_numbers_of_the_images_mean_nothing_and_equal_seeds_give_equal_intervals():
    rng = np.random.default_rng(2)
    splits = random_splits(rng, *population(rng, 300)[:2], n_splits=3, n_test=50)
    renamed = [
        SplitPredictions(split.image * 7 + 10**12, split.labels, split.probability, split.flagged) for split in splits
    ]
    assert bootstrap_intervals(splits) == bootstrap_intervals(renamed)
    assert bootstrap_intervals(splits) != bootstrap_intervals(splits, seed=1)


def test_more_weights_than_are_held_at_a_time_change_nothing(monkeypatch):
    rng = np.random.default_rng(2)
    splits = random_splits(rng, *population(rng, 300)[:2], n_splits=3, n_test=50)
    whole = bootstrap_intervals(splits, n_bootstrap=101)
    monkeypatch.setattr(bootstrap_module, "MAX_WEIGHTS", 500)
    for name, interval in bootstrap_intervals(splits, n_bootstrap=101).items():
        assert interval == pytest.approx(whole[name], abs=1e-12)


def test_leaving_out_groups_instead_of_images_moves_the_interval_little(monkeypatch):
    rng = np.random.default_rng(2)
    splits = [split_of(*population(rng, 900)[:2])]
    exact = bootstrap_intervals(splits)["roc_auc"]
    monkeypatch.setattr(bootstrap_module, "MAX_JACKKNIFE_GROUPS", 900)
    assert bootstrap_intervals(splits)["roc_auc"] == pytest.approx(exact, abs=0.1 * (exact[1] - exact[0]))


def test_a_split_with_one_class_counts_where_it_can():
    rng = np.random.default_rng(4)
    good = split_of(*population(rng, 100)[:2])
    wanted = split_of(np.zeros(30, dtype=np.int64), rng.random(30), np.arange(100, 130))
    found = summarize_splits([good, wanted], n_bootstrap=200)
    assert found["roc_auc"].n_undefined == 1
    assert found["roc_auc"].mean == found["roc_auc"].values[0] == roc_auc_score(good.labels, good.probability)
    assert found["accuracy"].n_undefined == 0
    alone = summarize_splits([wanted], n_bootstrap=200)["roc_auc"]
    assert np.isnan([alone.mean, alone.sd, alone.low, alone.high]).all()


def test_a_perfect_ranking_has_an_interval_without_width():
    labels = np.array([0, 1] * 20)
    found = bootstrap_intervals([split_of(labels, 0.1 + 0.8 * labels)])
    assert found["roc_auc"] == (1.0, 1.0)
    assert found["accuracy"] == (1.0, 1.0)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_handful_of_images_gives_numbers_or_nan_and_no_warning(n):
    labels, probability = np.array([0, 1, 1])[:n], np.array([0.2, 0.7, 0.3])[:n]
    for low, high in bootstrap_intervals([split_of(labels, probability)], n_bootstrap=30).values():
        assert np.isnan(low) == np.isnan(high)
        assert np.isnan(low) or 0 <= low <= high <= 1


def test_identical_predictions_differ_by_nothing():
    rng = np.random.default_rng(6)
    splits = random_splits(rng, *population(rng, 300)[:2], n_splits=3, n_test=60)
    for found in paired_bootstrap(splits, splits, n_bootstrap=100).values():
        assert (found.mean, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_the_difference_turns_its_sign_with_the_methods():
    rng = np.random.default_rng(7)
    labels, first, second = population(rng, 168, noise=0.8)
    pair = [split_of(labels, first)], [split_of(labels, second)]
    forth, back = paired_bootstrap(*pair), paired_bootstrap(*reversed(pair))
    for name in METRICS:
        assert (back[name].low, back[name].high) == pytest.approx((-forth[name].high, -forth[name].low), abs=1e-9)
        assert back[name].p_value == pytest.approx(forth[name].p_value)


def test_a_method_and_its_opposite_differ_beyond_doubt():
    rng = np.random.default_rng(8)
    split = split_of(*population(rng, 168)[:2])
    found = paired_bootstrap([split], [reversed_split(split)])["roc_auc"]
    assert found.low > 0.5
    assert 2 / 1001 <= found.p_value < 0.01


@pytest.mark.parametrize("name", ["accuracy", "roc_auc", "brier_score", "calibration_error"])
@pytest.mark.parametrize("seed", range(4))
def test_the_p_value_is_below_5_percent_just_where_the_interval_leaves_out_0(name, seed):
    rng = np.random.default_rng(seed)
    labels, first, second = population(rng, 168, noise=0.5)
    worse = split_of(labels, np.clip(second + 0.02 * seed, 0, 1))
    found = paired_bootstrap([split_of(labels, first)], [worse], seed=seed)[name]
    if abs(found.p_value - 0.05) > 0.01:  # ends lie between resamples, p-values on them
        assert (found.p_value < 0.05) == (not found.low <= 0 <= found.high)


@pytest.mark.parametrize("bias", [-0.5, 0.0, 0.4])
@pytest.mark.parametrize("acceleration", [-0.1, 0.0, 0.08])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_the_interval_at_the_p_values_level_ends_at_0(bias, acceleration, side):
    resamples = norm.ppf((np.arange(20_000) + 0.5) / 20_000) + 1.5 * side
    found = Distribution(1.5 * side, resamples, bias, acceleration)
    p_value = p_value_of(found)
    low, high = interval_of(found, 1 - p_value)
    assert 0.001 < p_value < 0.9
    assert (low if side > 0 else high) == pytest.approx(0, abs=0.01)


def test_methods_on_other_images_are_not_compared():
    rng = np.random.default_rng(9)
    labels, first, second = population(rng, 50)
    one = [split_of(labels, first)]
    for other in (
        [split_of(labels, second, np.arange(1, 51))],
        [split_of(1 - labels, second)],
        [split_of(labels, second)] * 2,
        [split_of(labels[:49], second[:49])],
    ):
        with pytest.raises(UsageError, match="same images"):
            paired_bootstrap(one, other)


@pytest.mark.parametrize(
    "given", [{"n_bootstrap": 0}, {"confidence": 0.0}, {"confidence": 1.0}, {"confidence": np.nan}]
)
def test_arguments_out_of_range_are_refused(given):
    with pytest.raises(UsageError, match="no interval"):
        bootstrap_intervals([split_of(np.array([0, 1]), np.array([0.1, 0.9]))], **given)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "n_splits", "n_test"), [(168, 1, 168), (600, 10, 60)])
def test_the_interval_holds_the_truth_as_often_as_it_says(n, n_splits, n_test):
    many = split_of(*population(np.random.default_rng(99), 400_000)[:2])
    names = [name for name in METRICS if name != "calibration_error"]
    truth = {name: float(METRICS[name](many)) for name in names}
    n_missed, n_samples = dict.fromkeys(names, 0), 150
    for seed in range(n_samples):
        rng = np.random.default_rng(seed)
        splits = random_splits(rng, *population(rng, n)[:2], n_splits, n_test)
        for name, (low, high) in bootstrap_intervals(splits, n_bootstrap=200, seed=seed).items():
            if name in truth:
                n_missed[name] += not low <= truth[name] <= high
    # 5 % are promised by theory for many images only; 7.5 % are granted, and the noise of the simulation.
    assert max(n_missed.values()) <= binom.ppf(0.999, n_samples, 0.075)
    assert min(n_missed.values()) >= binom.ppf(0.001, n_samples, 0.03)


@pytest.mark.slow
def test_the_interval_of_the_calibration_error_corrects_for_too_few_rows():
    def bold(rng, n):
        labels, probability, _ = population(rng, n)
        odds = probability / (1 - probability)
        return labels, odds**1.6 / (1 + odds**1.6)

    truth = float(METRICS["calibration_error"](split_of(*bold(np.random.default_rng(99), 400_000))))
    n_missed, n_below, n_samples = 0, 0, 60
    for seed in range(n_samples):
        rng = np.random.default_rng(seed)
        found = summarize_splits(random_splits(rng, *bold(rng, 1000), 5, 200), n_bootstrap=200, seed=seed)
        n_missed += not found["calibration_error"].low <= truth <= found["calibration_error"].high
        n_below += truth < found["calibration_error"].mean
    assert n_below > 0.7 * n_samples  # what there is to correct
    assert n_missed <= binom.ppf(0.999, n_samples, 0.1)


@pytest.mark.slow
def test_equally_good_methods_seldom_differ_beyond_doubt():
    n_samples, n_found = 150, {"accuracy": 0, "roc_auc": 0, "brier_score": 0}
    for seed in range(n_samples):
        rng = np.random.default_rng(seed)
        labels, first, second = population(rng, 400, noise=0.7)
        state = rng.bit_generator.state
        one = random_splits(rng, labels, first, 5, 80)
        rng.bit_generator.state = state
        found = paired_bootstrap(one, random_splits(rng, labels, second, 5, 80), n_bootstrap=200, seed=seed)
        for name in n_found:
            n_found[name] += found[name].p_value <= 0.05
    assert max(n_found.values()) <= binom.ppf(0.999, n_samples, 0.06)


@pytest.mark.slow
def test_a_thousand_resamples_of_ten_splits_take_less_than_a_second():
    rng = np.random.default_rng(0)
    splits = random_splits(rng, *population(rng, 1674)[:2])
    summarize_splits(splits, n_bootstrap=10)
    times = []
    for _ in range(3):
        start = perf_counter()
        summarize_splits(splits)
        times.append(perf_counter() - start)
    assert min(times) < 1
