"""Calibrated probabilities are those of scikit-learn, never turn the order of images around, and survive any margin."""

import json

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logsumexp
from sklearn.calibration import CalibratedClassifierCV
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import cross_val_predict
from sklearn.svm import LinearSVC

from clipsieve.classifiers.calibration import (
    MAX_KNOTS,
    Isotonic,
    Platt,
    calibration_from_json,
    fit_isotonic,
    fit_platt,
    margins,
    sigmoid,
)
from clipsieve.errors import UsageError

FITS = pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])


def draw(n=400, seed=0, *, share=0.3, shift=1.0):
    """Return margins that overlap, and labels: 1 where an image is unwanted."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < share).astype(np.int64)
    labels[:2] = (0, 1)
    return rng.normal(size=n) + shift * (2 * labels - 1), labels


def smoothed(labels):
    n_unwanted, n_wanted = labels.sum(), (1 - labels).sum()
    return np.where(labels == 1, (n_unwanted + 1) / (n_unwanted + 2), 1 / (n_wanted + 2))


def minimized(margin, labels):
    """Slope and intercept by scipy's own search."""
    target = smoothed(labels)

    def loss(at):
        z = at[0] * margin + at[1]
        return (np.logaddexp(0, z) - target * z).sum()

    return minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 5000}).x


# Platt


@pytest.mark.parametrize(("seed", "share", "n"), [(0, 0.3, 400), (1, 0.02, 400), (2, 0.97, 400), (3, 0.5, 6)])
def test_platts_slope_and_intercept_are_those_that_scipy_finds(seed, share, n):
    margin, labels = draw(n, seed, share=share)
    found = fit_platt(margin, labels)
    assert (found.slope, found.intercept) == pytest.approx(minimized(margin, labels), rel=1e-4, abs=1e-4)


def test_platts_probabilities_are_those_of_scikit_learn():
    """Its calibrated support vector machine fits the sigmoid on held-out margins, which are given to both."""
    margin, labels = draw()
    rows = margin[:, None]
    theirs = CalibratedClassifierCV(LinearSVC(), method="sigmoid", cv=2, ensemble=False).fit(rows, labels)
    found = fit_platt(cross_val_predict(LinearSVC(), rows, labels, cv=2, method="decision_function"), labels)
    scores = LinearSVC().fit(rows, labels).decision_function(rows)
    np.testing.assert_allclose(found.probability(scores), theirs.predict_proba(rows)[:, 1], atol=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 10.0, 1e3])
def test_the_unit_of_the_margins_does_not_matter(scale):
    margin, labels = draw()
    plain, scaled = fit_platt(margin, labels), fit_platt(margin * scale, labels)
    assert scaled.slope * scale == pytest.approx(plain.slope, rel=1e-6)
    assert scaled.intercept == pytest.approx(plain.intercept, rel=1e-6)


def test_margins_of_a_million_are_calibrated_as_well():
    margin, labels = draw()
    found = fit_platt(margin * 1e6, labels).probability(margin * 1e6)
    np.testing.assert_allclose(found, fit_platt(margin, labels).probability(margin), atol=1e-6)


def test_the_mean_probability_is_the_share_of_the_unwanted_but_for_the_smoothing():
    margin, labels = draw(2000)
    assert fit_platt(margin, labels).probability(margin).mean() == pytest.approx(smoothed(labels).mean(), abs=1e-6)


def test_classes_that_do_not_overlap_keep_finite_numbers_and_doubt():
    labels = np.array([0] * 10 + [1] * 10)
    found = fit_platt(np.where(labels == 1, 3.0, -3.0) + np.arange(20) / 100, labels)
    probability = found.probability(np.array([-3.0, 3.1]))
    assert probability == pytest.approx([1 / 12, 11 / 12], abs=0.02)  # Platt's targets, and nothing beyond


def test_an_order_that_is_reversed_is_not_turned_around():
    margin, labels = draw(shift=-2.0)
    found = fit_platt(margin, labels)
    assert found.slope > 0
    assert found.probability(margin) == pytest.approx(np.full(len(margin), labels.mean()), abs=0.01)  # it knows no more


def test_margins_that_are_all_equal_give_the_share():
    labels = np.array([0, 0, 0, 1])
    for value in (0.0, 7.0, -1e6):
        found = fit_platt(np.full(4, value), labels).probability(np.full(1, value))
        assert found == pytest.approx([(2 / 3 + 3 / 5) / 4], abs=0.005)  # the mean of Platt's targets


# Isotonic


@pytest.mark.parametrize("shift", [1.0, 0.0, -1.0])
@pytest.mark.parametrize("digits", [12, 0])
def test_isotonic_probabilities_are_those_of_scikit_learn(shift, digits):
    margin, labels = draw(500, shift=shift)
    margin = margin.round(digits)  # with 0, many ties
    theirs = IsotonicRegression(y_min=1 / 502, y_max=501 / 502, out_of_bounds="clip").fit(margin, labels)
    anywhere = np.linspace(-9, 9, 1001)
    np.testing.assert_allclose(fit_isotonic(margin, labels).probability(anywhere), theirs.predict(anywhere), atol=1e-12)


def test_isotonic_never_says_never():
    margin, labels = np.arange(10.0), np.repeat([0, 1], 5)
    assert fit_isotonic(margin, labels).probability(np.array([-1e9, 1e9])) == pytest.approx([1 / 12, 11 / 12])


def test_knots_without_number_are_thinned_out():
    n = 3 * MAX_KNOTS
    labels = (np.random.default_rng(0).random(n) < np.linspace(0, 1, n)).astype(np.int64)
    found = fit_isotonic(np.arange(n, dtype=np.float64), labels)
    assert 100 < len(found.margins) <= MAX_KNOTS
    assert np.abs(found.probability(np.arange(n, dtype=np.float64)) - np.linspace(0, 1, n)).max() < 0.1


# Both


@FITS
@pytest.mark.parametrize("shift", [1.0, 0.0, -1.0])
def test_a_higher_margin_never_has_a_lower_probability(fit, shift):
    margin, labels = draw(shift=shift)
    anywhere = np.concatenate([[-1e6, -1e3], np.linspace(-20, 20, 2001), [1e3, 1e6]])
    found = fit(margin, labels).probability(anywhere)
    assert (np.diff(found) >= 0).all()
    assert found.min() >= 0
    assert found.max() <= 1


@FITS
def test_margins_of_a_million_give_probabilities_still(fit):
    margin, labels = draw()
    for each in (margin * 1e6, np.where(labels == 1, 1e6, -1e6), np.append(margin[:-1], 1e6)):
        found = fit(each, labels).probability(np.array([-1e6, 0.0, 1e6]))
        assert np.isfinite(found).all()
        assert (np.diff(found) >= 0).all()


@FITS
def test_calibrated_probabilities_are_nearer_to_the_labels_than_those_that_are_too_sure(fit):
    margin, labels = draw(2000)
    fresh, truth = draw(2000, seed=9)

    def loss(probability):
        return -np.log(np.where(truth == 1, probability, 1 - probability).clip(1e-12)).mean()

    assert loss(fit(10 * margin, labels).probability(10 * fresh)) < loss(expit(10 * fresh)) - 0.1


@FITS
def test_json_holds_all_of_it(fit):
    calibration = fit(*draw())
    again = calibration_from_json(json.loads(json.dumps(calibration.to_json())))
    assert again == calibration
    assert again.probability(draw()[0]).tobytes() == calibration.probability(draw()[0]).tobytes()


@FITS
@pytest.mark.parametrize("by", [0.0, 2.5, -40.0])
def test_a_shifted_calibration_gives_what_it_gave_for_the_margins_before(fit, by):
    calibration = fit(*draw())
    anywhere = np.linspace(-9, 9, 1001)
    np.testing.assert_allclose(
        calibration.shifted(by).probability(anywhere - by), calibration.probability(anywhere), atol=1e-9
    )


def test_none_is_no_calibration():
    assert calibration_from_json(None) is None


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"method": "beta", "slope": 1.0, "intercept": 0.0},
        {"method": ["platt"], "slope": 1.0, "intercept": 0.0},
        {"method": "platt", "slope": 1.0},
        {"method": "platt", "slope": 1.0, "intercept": 0.0, "extra": 1},
        {"method": "platt", "slope": 0.0, "intercept": 0.0},
        {"method": "platt", "slope": -1.0, "intercept": 0.0},
        {"method": "platt", "slope": float("nan"), "intercept": 0.0},
        {"method": "platt", "slope": float("inf"), "intercept": 0.0},
        {"method": "platt", "slope": 1.0, "intercept": float("-inf")},
        {"method": "platt", "slope": "1", "intercept": 0.0},
        {"method": "platt", "slope": True, "intercept": 0.0},
        {"method": "platt", "slope": None, "intercept": 0.0},
        {"method": "isotonic", "margins": [], "probabilities": []},
        {"method": "isotonic", "margins": 1.0, "probabilities": 0.5},
        {"method": "isotonic", "margins": "01", "probabilities": "01"},
        {"method": "isotonic", "margins": [0.0, 1.0], "probabilities": [0.5]},
        {"method": "isotonic", "margins": [1.0, 0.0], "probabilities": [0.1, 0.9]},
        {"method": "isotonic", "margins": [0.0, 0.0], "probabilities": [0.1, 0.9]},
        {"method": "isotonic", "margins": [0.0, 1.0], "probabilities": [0.9, 0.1]},
        {"method": "isotonic", "margins": [0.0, 1.0], "probabilities": [0.1, 1.1]},
        {"method": "isotonic", "margins": [0.0, 1.0], "probabilities": [-0.1, 0.9]},
        {"method": "isotonic", "margins": [0.0, 1.0], "probabilities": [0.1, float("nan")]},
        {"method": "isotonic", "margins": [0.0, float("inf")], "probabilities": [0.1, 0.9]},
        {"method": "isotonic", "margins": [float("nan")], "probabilities": [0.1]},
        {"method": "isotonic", "margins": [[0.0], [1.0]], "probabilities": [0.1, 0.9]},
        {"method": "isotonic", "margins": [0, True], "probabilities": [0.1, 0.9]},
        {"method": "isotonic", "margins": list(range(MAX_KNOTS + 1)), "probabilities": [0.5] * (MAX_KNOTS + 1)},
    ],
    ids=lambda facts: repr(facts)[:90],
)
def test_a_table_that_is_no_calibration_is_refused(facts):
    with pytest.raises(UsageError):
        calibration_from_json(facts)


def test_whole_numbers_are_numbers():
    assert calibration_from_json({"method": "platt", "slope": 2, "intercept": 0}) == Platt(2.0, 0.0)
    knots = {"method": "isotonic", "margins": [0, 1], "probabilities": [0, 1]}
    assert calibration_from_json(knots) == Isotonic((0.0, 1.0), (0.0, 1.0))


# Margins


def test_a_margin_is_the_log_odds_of_the_unwanted_classes_together():
    logits = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32) * 30
    unwanted = np.array([False, True, False, True])
    exact = logits.astype(np.float64)
    expected = logsumexp(exact[:, unwanted], axis=1) - logsumexp(exact[:, ~unwanted], axis=1)
    np.testing.assert_allclose(margins(logits, unwanted), expected, atol=1e-12)
    assert margins(np.array([[-1e6, 1e6]], np.float32), np.array([False, True])).tolist() == [2e6]


def test_the_logistic_function_does_not_overflow():
    values = np.array([-1e308, -800.0, -1.0, 0.0, 1.0, 800.0, 1e308])
    np.testing.assert_allclose(sigmoid(values), expit(values), atol=1e-15)
