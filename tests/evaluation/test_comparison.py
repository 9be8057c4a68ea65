"""Paired tests: as scipy's where it has them, right on overlapping splits, and never a verdict where nothing is known."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest, ttest_1samp

from clipsieve.errors import UsageError
from clipsieve.evaluation.bootstrap import paired_bootstrap
from clipsieve.evaluation.comparison import McNemar, compare_methods, corrected_t_test, mcnemar_test
from clipsieve.evaluation.metrics import METRICS, SplitPredictions

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute


def split_of(labels, flagged, image=None, n_train=0):
    """Return predictions that are sure of every decision."""
    labels, flagged = np.asarray(labels, dtype=np.int64), np.asarray(flagged, dtype=bool)
    image = np.arange(len(labels)) if image is None else np.asarray(image, dtype=np.int64)
    return SplitPredictions(image, labels, np.where(flagged, 0.9, 0.1), flagged, n_train)


def two_methods(seed, n_splits=5, n=80, n_train=720, errors=(0.1, 0.2)):
    rng = np.random.default_rng(seed)
    images = [rng.choice(400, n, replace=False) for _ in range(n_splits)]
    truth = rng.integers(0, 2, 400)
    return tuple(
        [split_of(truth[image], truth[image] ^ (rng.random(n) < error), image, n_train) for image in images]
        for error in errors
    )


def test_a_comparison_holds_the_figures_of_both_methods():
    first, second = two_methods(0)
    found = compare_methods(first, second, n_bootstrap=200)
    assert (found.n_splits, found.n_images) == (5, len(np.unique(np.concatenate([split.image for split in first]))))
    assert list(found.metrics) == list(METRICS)
    of_accuracy, difference = found.metrics["accuracy"], paired_bootstrap(first, second, n_bootstrap=200)["accuracy"]
    expected = [np.mean([(split.labels == split.flagged).mean() for split in splits]) for splits in (first, second)]
    assert (of_accuracy.first, of_accuracy.second) == pytest.approx(tuple(expected))
    assert of_accuracy.difference == pytest.approx(expected[0] - expected[1])
    assert (of_accuracy.low, of_accuracy.high) == (difference.low, difference.high)
    assert of_accuracy.bootstrap_p_value == difference.p_value < 0.05
    assert found.mcnemar == mcnemar_test(first, second)
    assert found.mcnemar.p_value < 0.05


def test_identical_predictions_give_1_everywhere():
    first, _ = two_methods(1)
    found = compare_methods(first, first, n_bootstrap=50)
    assert found.mcnemar == McNemar(0, 0, 1.0)
    for metric in found.metrics.values():
        assert (metric.difference, metric.bootstrap_p_value, metric.t_p_value) == (0, 1, 1)


@pytest.mark.parametrize("seed", range(5))
def test_the_t_test_without_overlap_is_scipys_and_with_it_more_cautious(seed):
    differences = np.random.default_rng(seed).normal(0.02, 0.02, 10)
    expected = ttest_1samp(differences, 0).pvalue
    assert corrected_t_test(differences, 0.0) == pytest.approx(expected)
    assert corrected_t_test(differences, 1 / 9) > expected
    # With ratio r the statistic shrinks by sqrt((1/10) / (1/10 + r)): at r = 0.3 by half.
    halved = ttest_1samp(differences, differences.mean() / 2).pvalue
    assert corrected_t_test(differences, 0.3) == pytest.approx(halved)


def test_the_t_test_of_a_worked_example():
    # Mean 0.02, sample variance 0.0004, 4 splits, n_test/n_train = 1/9: t = 0.02 / sqrt((1/4 + 1/9) 0.0004) = 1.6641.
    differences = np.array([0.02 - 0.0245, 0.02 + 0.0245, 0.02, 0.02])
    differences = 0.02 + (differences - 0.02) * 0.02 / differences.std(ddof=1)
    assert corrected_t_test(differences, 1 / 9) == pytest.approx(0.19466, abs=1e-4)


@pytest.mark.parametrize(
    ("differences", "ratio"),
    [([0.1], 0.1), ([], 0.1), ([0.1, np.nan], 0.1), ([0.1, 0.1, 0.1], 0.1), ([0.1, 0.2], np.nan)],
)
def test_the_t_test_says_nothing_where_nothing_is_known(differences, ratio):
    assert np.isnan(corrected_t_test(np.array(differences, dtype=np.float64), ratio))


def test_undefined_splits_are_left_out_of_the_t_test():
    differences = np.array([0.01, np.nan, 0.03, 0.02])
    assert corrected_t_test(differences, 0.1) == corrected_t_test(differences[[0, 2, 3]], 0.1)
    assert corrected_t_test(np.array([0.0, 0.0, np.nan]), np.nan) == 1


def test_the_ratio_comes_from_the_splits_and_from_the_fewer_training_images():
    first, second = two_methods(2)
    values = np.array(
        [METRICS["accuracy"](one) - METRICS["accuracy"](two) for one, two in zip(first, second, strict=True)]
    )
    p_value = lambda *pair, **given: compare_methods(*pair, n_bootstrap=10, **given).metrics["accuracy"].t_p_value  # noqa: E731
    assert p_value(first, second) == pytest.approx(corrected_t_test(values, 80 / 720))
    few = [split_of(split.labels, split.flagged, split.image, 40) for split in second]
    untrained = [split_of(split.labels, split.flagged, split.image) for split in second]
    assert p_value(first, few) == pytest.approx(corrected_t_test(values, 80 / 40))
    assert p_value(first, untrained) == p_value(first, second)
    assert np.isnan(p_value(untrained, [split_of(s.labels, ~s.flagged, s.image) for s in untrained]))
    assert p_value(untrained, first, test_train_ratio=1 / 9) == p_value(second, first)


@pytest.mark.parametrize(("n_first", "n_second"), [(0, 6), (1, 5), (8, 3), (4, 4), (30, 10)])
def test_mcnemars_test_is_the_binomial_test_of_images_that_one_method_gets_right(n_first, n_second):
    n_either = n_first + n_second
    labels = np.ones(n_either + 20)
    first = np.arange(n_either + 20) >= n_second
    second = np.concatenate([np.ones(n_second), np.zeros(n_first), np.ones(20)])
    found = mcnemar_test([split_of(labels, first)], [split_of(labels, second)])
    assert (found.n_only_first, found.n_only_second) == (n_first, n_second)
    assert found.p_value == pytest.approx(binomtest(n_first, n_either).pvalue)
    assert found.p_value == pytest.approx(min(1, 2 * binom.cdf(min(n_first, n_second), n_either, 0.5)))


def test_an_image_of_several_splits_counts_once():
    # Image 7: first right in both splits, second in one. Image 8: one each. Image 9: only second, twice.
    image, labels = [7, 8, 9], [1, 1, 0]
    first = [split_of(labels, [1, 1, 1], image), split_of(labels, [1, 0, 1], image)]
    second = [split_of(labels, [1, 0, 0], image), split_of(labels, [0, 1, 0], image)]
    assert mcnemar_test(first, second) == McNemar(1, 1, 1.0)


def test_repeating_the_splits_does_not_make_mcnemars_test_more_certain():
    first, second = two_methods(3, n_splits=1)
    assert mcnemar_test(first * 10, second * 10) == mcnemar_test(first, second)


def test_one_class_alone_leaves_the_comparison_undefined_and_not_wrong():
    labels = np.zeros(12)
    first, second = [split_of(labels, np.arange(12) < 2, n_train=50)], [split_of(labels, np.arange(12) < 5, n_train=50)]
    found = compare_methods(first, second, n_bootstrap=20)
    auc = found.metrics["roc_auc"]
    assert np.isnan(
        [auc.first, auc.second, auc.difference, auc.low, auc.high, auc.bootstrap_p_value, auc.t_p_value]
    ).all()
    assert found.metrics["accuracy"].difference == pytest.approx(3 / 12)


def test_a_split_where_a_metric_is_undefined_counts_for_neither_method():
    first, second = two_methods(4, n_splits=3)
    lonely = split_of(np.zeros(5), np.zeros(5), [400, 401, 402, 403, 404], 720)
    alone, together = (
        compare_methods(first + extra, second + extra, n_bootstrap=20).metrics["roc_auc"] for extra in ([], [lonely])
    )
    assert (together.first, together.difference) == pytest.approx((alone.first, alone.difference))
    assert together.t_p_value == pytest.approx(alone.t_p_value, rel=0.2)  # the ratio is a little smaller


def test_methods_on_other_images_are_not_compared():
    first, second = two_methods(5)
    for other in (second[:-1], [*second[:-1], split_of([0, 1], [0, 1])]):
        with pytest.raises(UsageError, match="same images"):
            compare_methods(first, other)
        with pytest.raises(UsageError, match="same images"):
            mcnemar_test(first, other)


@pytest.mark.parametrize("ratio", [0.0, -1.0, np.nan, np.inf])
def test_a_ratio_that_makes_no_sense_is_refused(ratio):
    first, second = two_methods(6, n_splits=2)
    with pytest.raises(UsageError, match="ratio"):
        compare_methods(first, second, test_train_ratio=ratio)
