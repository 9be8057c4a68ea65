"""Which calibration cross-validation chooses, and whether it helps."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import log_loss

from clipsieve.classifiers.calibrate import choose_calibration
from clipsieve.classifiers.calibration import Isotonic, Platt


def draw(n, to_probability, seed=0, spread=2.0):
    """Return margins, and labels that follow the probability that a map makes of them."""
    rng = np.random.default_rng(seed)
    margin = spread * rng.normal(size=n)
    return margin, (rng.random(n) < to_probability(margin)).astype(np.int64)


def three_steps(margin):
    """Far from a sigmoid: flat, a step up, flat, a step up."""
    return np.select([margin < -1, margin < 1.5], [0.05, 0.5], 0.95)


def test_below_1000_images_isotonic_is_not_tried_however_well_it_would_fit():
    margin, labels = draw(999, three_steps)
    found = choose_calibration(4 * margin, labels)
    assert isinstance(found.calibration, Platt)
    assert found.facts["method"] == "platt"
    assert set(found.facts["held_out_loss"]) == {"none", "platt"}
    assert found.facts["n_images"] == 999


def test_margins_that_mean_what_they_say_are_mostly_left_alone():
    """A calibration of 80 images would only add their noise."""
    found = [choose_calibration(*draw(80, expit, seed)) for seed in range(30)]
    assert sum(each.calibration is None for each in found) > 15
    for each in found:
        losses = each.facts["held_out_loss"]
        assert each.facts["method"] == min(losses, key=losses.get)
        assert (each.calibration is None) == (each.facts["method"] == "none")


def test_without_a_calibration_the_classifiers_own_margin_counts():
    """Where something was added to the margins while fitting, they are well calibrated and those of the classifier are not."""
    margin, labels = draw(80, expit, seed=1)
    found = choose_calibration(margin, labels, own_margin=margin - 3)
    assert isinstance(found.calibration, Platt)
    assert found.facts["held_out_loss"]["none"] == pytest.approx(log_loss(labels, expit(margin - 3)), abs=1e-5)


def test_many_images_of_another_map_choose_isotonic():
    found = choose_calibration(*draw(3000, three_steps))
    assert isinstance(found.calibration, Isotonic)
    losses = found.facts["held_out_loss"]
    assert losses["isotonic"] < losses["platt"] < losses["none"]
    margin, _ = draw(500, three_steps, seed=1)
    inside = np.abs(margin[:, None] - np.array([-1, 1.5])).min(axis=1) > 0.2
    error = np.abs(found.calibration.probability(margin) - three_steps(margin))[inside]
    assert error.mean() < 0.04


def test_many_images_of_a_sigmoid_choose_platts():
    found = choose_calibration(*draw(3000, lambda margin: expit(0.5 * margin - 1)))
    assert isinstance(found.calibration, Platt)
    assert abs(found.calibration.slope - 0.5) < 0.1
    assert abs(found.calibration.intercept + 1) < 0.15


@pytest.mark.parametrize("n", [60, 300])
def test_margins_that_are_too_sure_lose_less_afterwards(n):
    """On other images, in each of 5 draws."""
    for seed in range(5):
        margin, labels = draw(n + 2000, lambda margin: expit(margin / 8), seed, spread=15.0)
        found = choose_calibration(margin[:n], labels[:n])
        before = log_loss(labels[n:], expit(margin[n:]).clip(1e-12, 1 - 1e-12))
        after = log_loss(labels[n:], found.calibration.probability(margin[n:]))
        assert after < 0.5 * before
        assert found.facts["held_out_loss"]["platt"] < found.facts["held_out_loss"]["none"]


def test_the_loss_that_is_told_is_that_of_images_left_out():
    """It comes out as what other images lose, while that of the images themselves is lower."""
    margin, labels = draw(40, lambda margin: expit(margin / 8), seed=3, spread=15.0)
    found = choose_calibration(margin, labels)
    own = log_loss(labels, found.calibration.probability(margin))
    assert found.facts["held_out_loss"]["platt"] > own
    assert found.facts["held_out_loss"]["none"] == pytest.approx(log_loss(labels, expit(margin)), abs=1e-3)


@pytest.mark.parametrize(("n_unwanted", "n_wanted"), [(2, 2), (2, 50), (4, 7)])
def test_few_of_a_label_are_enough_for_as_many_folds(n_unwanted, n_wanted):
    labels = np.repeat([1, 0], [n_unwanted, n_wanted])
    margin = labels + np.random.default_rng(0).normal(size=len(labels))
    found = choose_calibration(margin, labels)
    assert all(np.isfinite(loss) for loss in found.facts["held_out_loss"].values())
    if found.calibration is not None:
        probability = found.calibration.probability(margin)
        assert ((probability > 0) & (probability < 1)).all()


def test_the_same_margins_give_the_same_choice():
    margin, labels = draw(1500, three_steps)
    before = margin.tobytes()
    assert choose_calibration(margin, labels, seed=1) == choose_calibration(margin, labels, seed=1)
    assert margin.tobytes() == before
