"""Metrics equal scikit-learn's, with ties, weights and one class only; what is undefined is NaN."""

import numpy as np
import pytest
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from clipsieve.errors import UsageError
from clipsieve.evaluation.metrics import (
    METRICS,
    Confusion,
    RatingBin,
    SplitPredictions,
    accuracy,
    accuracy_by_rating,
    average_precision,
    brier_score,
    calibration_error,
    check_splits,
    confusion,
    f1,
    flag,
    precision,
    recall,
    roc_auc,
)

SEEDS = range(20)
OF_DECISIONS = {
    accuracy: reference.accuracy_score,
    precision: reference.precision_score,
    recall: reference.recall_score,
    f1: reference.f1_score,
}
OF_PROBABILITIES = {
    roc_auc: reference.roc_auc_score,
    average_precision: reference.average_precision_score,
    brier_score: reference.brier_score_loss,
}


def ints(*values):
    return np.array(values, dtype=np.int64)


def floats(*values):
    return np.array(values, dtype=np.float64)


def sample(seed, n=60):
    """Return labels and probabilities; for even seeds with many ties."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    probability = np.clip(0.3 * labels + 0.7 * rng.random(n), 0, 1)
    return labels, np.round(probability, 1) if seed % 2 == 0 else probability


def split_of(labels, probability, **given):
    return SplitPredictions(np.arange(len(labels)), labels, probability, flag(probability), **given)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("metric", [*OF_DECISIONS, *OF_PROBABILITIES], ids=lambda metric: metric.__name__)
def test_a_metric_is_that_of_scikit_learn_for_every_row_of_weights(metric, seed):
    labels, probability = sample(seed)
    given = flag(probability) if metric in OF_DECISIONS else probability
    expected = (OF_DECISIONS | OF_PROBABILITIES)[metric]
    assert float(metric(labels, given)) == pytest.approx(expected(labels, given), abs=1e-12)
    weights = np.random.default_rng(seed).integers(0, 4, (5, len(labels))).astype(np.float64)
    alone = [expected(labels, given, sample_weight=row) for row in weights]
    np.testing.assert_allclose(metric(labels, given, weights), alone, atol=1e-12)
    np.testing.assert_allclose(metric(labels, given, weights / 7), alone, atol=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_a_weight_counts_a_row_as_often(name):
    labels, probability = sample(4)
    if name == "calibration_error":
        probability = np.repeat(np.linspace(0.05, 0.95, 10), 6)  # where repeated rows do not move the bins
    weights = np.tile(floats(1, 2, 0, 3, 1, 2), 10)
    repeated = np.repeat(np.arange(60), weights.astype(np.int64))
    alone = METRICS[name](split_of(labels[repeated], probability[repeated]))
    assert float(METRICS[name](split_of(labels, probability), weights)) == pytest.approx(float(alone), abs=1e-12)


def test_the_metrics_stand_in_the_order_of_tables():
    assert list(METRICS) == [
        "accuracy",
        "precision",
        "recall",
        "f1",
        "roc_auc",
        "average_precision",
        "brier_score",
        "calibration_error",
    ]


UNDEFINED = {
    "unwanted alone": (ints(1, 1, 1), {"roc_auc"}),
    "wanted alone": (ints(0, 0, 0), {"recall", "f1", "roc_auc", "average_precision"}),
}


@pytest.mark.parametrize("name", UNDEFINED)
def test_one_class_alone_leaves_undefined_what_needs_both(name):
    labels, undefined = UNDEFINED[name]
    split = split_of(labels, floats(0.1, 0.6, 0.9))
    assert {metric for metric in METRICS if np.isnan(METRICS[metric](split))} == undefined


@pytest.mark.parametrize("name", METRICS)
def test_without_any_row_all_is_undefined(name):
    labels, probability = sample(1)
    weights = np.stack([np.zeros(60), np.ones(60)])
    assert np.isnan(METRICS[name](split_of(labels, probability), weights)).tolist() == [True, False]
    assert np.isnan(METRICS[name](split_of(ints(), floats())))


def test_precision_is_0_where_nothing_is_flagged():
    labels, none = ints(0, 1, 1), np.zeros(3, dtype=bool)
    expected = reference.precision_score(labels, none, zero_division=0)
    assert float(precision(labels, none)) == expected == 0
    assert float(f1(labels, none)) == reference.f1_score(labels, none) == 0


def test_the_threshold_itself_is_flagged_or_not_as_was_said():
    probability = floats(0.49, 0.5, 0.51)
    assert flag(probability).tolist() == [False, True, True]
    assert flag(probability, at_threshold=False).tolist() == [False, False, True]
    assert flag(probability, 0.51).tolist() == [False, False, True]


def test_the_calibration_error_is_the_one_of_scikit_learns_quantile_bins():
    rng = np.random.default_rng(3)
    probability = rng.permutation(np.linspace(0.001, 0.999, 150))
    labels = (rng.random(150) < probability**2).astype(np.int64)
    observed, predicted = calibration_curve(labels, probability, n_bins=15, strategy="quantile")
    expected = np.abs(observed - predicted).mean()  # all bins hold ten
    assert float(calibration_error(labels, probability, n_bins=15)) == pytest.approx(expected, abs=1e-12)


def test_bins_never_part_equal_probabilities():
    labels = ints(*[1, 0] * 20, *[1] * 30, *[0] * 10)
    probability = np.repeat([0.5, 0.75], 40)
    for order in (np.arange(80), np.random.default_rng(0).permutation(80)):
        assert float(calibration_error(labels[order], probability[order])) == pytest.approx(0.0, abs=1e-12)


def test_probabilities_that_are_too_bold_by_a_tenth_err_by_a_tenth():
    rng = np.random.default_rng(5)
    probability = rng.uniform(0.2, 0.8, 200_000)
    labels = (rng.random(200_000) < probability - 0.1).astype(np.int64)
    assert float(calibration_error(labels, probability)) == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("seed", SEEDS[:5])
def test_the_four_outcomes_are_those_of_scikit_learn(seed):
    labels, probability = sample(seed)
    tn, fp, fn, tp = reference.confusion_matrix(labels, flag(probability)).ravel().tolist()
    assert confusion(labels, flag(probability)) == Confusion(tp=tp, fp=fp, fn=fn, tn=tn)


def test_accuracy_by_rating_counts_each_image_once():
    rating, labels = floats(1.0, 1.5, 2.0, 4.9, 5.0), ints(1, 1, 1, 0, 0)
    flagged = np.array([True, False, True, True, False])
    bins = accuracy_by_rating(rating, labels, flagged, [1, 2, 3, 5])
    assert bins[0] == RatingBin(1.0, 2.0, 2, 0.5)
    assert (bins[1].n, bins[1].accuracy) == (1, 1.0)
    assert (bins[2].n, bins[2].accuracy) == (2, 0.5)
    assert np.isnan(accuracy_by_rating(rating, labels, flagged, [0, 1, 9])[0].accuracy)


@pytest.mark.parametrize("edges", [[1], [1, 1], [5, 1], [1, float("nan")]])
def test_edges_that_do_not_ascend_are_refused(edges):
    with pytest.raises(UsageError, match="edges"):
        accuracy_by_rating(floats(1.0), ints(1), np.array([True]), edges)


@pytest.mark.parametrize("rating", [0.9, 5.1, np.nan])
def test_a_rating_in_no_bin_is_refused(rating):
    with pytest.raises(UsageError, match="in no bin"):
        accuracy_by_rating(floats(2.0, rating), ints(1, 0), np.array([True, False]), [1, 5])


FAULTS = {
    "no split": ([], "no predictions"),
    "no row": ([split_of(ints(), floats())], "split 1"),
    "a label of 2": (
        [split_of(ints(0, 1), floats(0.1, 0.2)), split_of(ints(0, 2), floats(0.1, 0.2))],
        "split 2 has labels",
    ),
    "NaN": ([split_of(ints(0, 1), floats(0.1, np.nan))], "probabilities"),
    "above 1": ([split_of(ints(0, 1), floats(0.1, 1.1))], "probabilities"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_predictions_that_make_no_sense_are_refused(name):
    splits, words = FAULTS[name]
    with pytest.raises(UsageError, match=words):
        check_splits(splits)
