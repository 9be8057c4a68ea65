"""Linear probes against scikit-learn's logistic regression and finite differences."""

import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.linear_model import LogisticRegression

from clipsieve.classifiers.probe_fit import ProbeFamily, fit_probes, probe_objective

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute


def draw(k=2, n=90, d=6, seed=0, spread=1.5):
    rng = np.random.default_rng(seed)
    centres, labels = rng.normal(size=(k, d)), rng.permutation(np.arange(n) % k)
    images = (
        centres[labels] + spread * rng.normal(size=(n, d)) + 5 * rng.normal(size=d)
    )  # far from the origin, as CLIP's
    return images / np.linalg.norm(images, axis=1, keepdims=True), labels


def one_hot(labels):
    return labels[:, None] == np.arange(labels.max() + 1)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("k", [2, 3])
def test_the_gradient_is_that_of_finite_differences(k, grouped):
    images, labels = draw(k)
    targets = one_hot(labels)
    if grouped and k == 3:
        targets[::2, 1:] |= targets[::2, 1:].any(axis=1, keepdims=True)
    weights = np.round(np.random.default_rng(1).uniform(0, 2, size=(1, 90)), 1)
    objective = probe_objective(images, targets, weights, np.array([0.4]))
    which = np.zeros(1, dtype=np.int64)
    at = np.random.default_rng(2).normal(size=k * 7)
    error = check_grad(
        lambda flat: float(objective(flat[None], which)[0][0]), lambda flat: objective(flat[None], which)[1][0], at
    )
    assert error < 1e-6


@pytest.mark.parametrize("strength", [3.0, 0.1, 0.003])
def test_with_two_classes_it_is_scikit_learns_whose_strength_is_half(strength):
    """One vector does what two of half its length do, whose squares add up to half of its own."""
    images, labels = draw()
    found = fit_probes(images, one_hot(labels), np.ones((1, 90)), np.array([strength]), tolerance=1e-9)[0]
    theirs = LogisticRegression(C=2 / strength, tol=1e-8, max_iter=2000).fit(images, labels)
    np.testing.assert_allclose(found[1] - found[0], np.append(theirs.coef_, theirs.intercept_), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found[1, :-1], -found[0, :-1], atol=1e-6)


@pytest.mark.parametrize("strength", [3.0, 0.1, 0.01])
def test_with_more_classes_it_is_scikit_learns_multinomial_one(strength):
    images, labels = draw(4)
    found = fit_probes(images, one_hot(labels), np.ones((1, 90)), np.array([strength]), tolerance=1e-9)[0]
    theirs = LogisticRegression(C=1 / strength, tol=1e-8, max_iter=2000).fit(images, labels)
    np.testing.assert_allclose(found[:, :-1], theirs.coef_, rtol=1e-3, atol=1e-3)
    bias = found[:, -1] - found[:, -1].mean()  # a softmax does not see what all have in common
    np.testing.assert_allclose(bias, theirs.intercept_ - theirs.intercept_.mean(), rtol=1e-3, atol=5e-3)


def test_weights_are_scikit_learns():
    images, labels = draw(3)
    weights = np.random.default_rng(3).integers(0, 3, size=90).astype(float)
    found = fit_probes(images, one_hot(labels), weights[None], np.array([0.5]), tolerance=1e-9)[0]
    theirs = LogisticRegression(C=2, tol=1e-8, max_iter=2000).fit(images, labels, sample_weight=weights)
    np.testing.assert_allclose(found[:, :-1], theirs.coef_, rtol=1e-3, atol=1e-3)


def test_many_problems_at_once_are_those_alone():
    images, labels = draw(3)
    weights = np.random.default_rng(4).integers(0, 2, size=(6, 90)).astype(float)
    strengths = np.array([10.0, 1.0, 0.1] * 2)
    together = fit_probes(images, one_hot(labels), weights, strengths)
    for problem in range(6):
        one = slice(problem, problem + 1)
        alone = fit_probes(images, one_hot(labels), weights[one], strengths[one])
        np.testing.assert_allclose(together[problem], alone[0], atol=1e-4)


def test_the_weaker_the_strength_the_longer_the_weights():
    images, labels = draw()
    strengths = np.array([1e6, 10.0, 1.0, 0.1, 0.01])
    found = fit_probes(images, one_hot(labels), np.ones((5, 90)), strengths)
    lengths = np.linalg.norm(found[:, :, :-1], axis=(1, 2))
    assert (np.diff(lengths) > 0).all()
    assert lengths[0] < 1e-3
    share = labels.mean()
    np.testing.assert_allclose(found[0, 1, -1] - found[0, 0, -1], np.log(share / (1 - share)), atol=1e-3)


def test_the_biases_are_free_wherever_the_images_lie():
    """Moved images need the same weights: only the biases change, and nothing is paid for them."""
    images, labels = draw()
    settings = one_hot(labels), np.ones((1, 90)), np.array([0.1])
    here = fit_probes(images, *settings, tolerance=1e-8)[0]
    there = fit_probes(images + 100, *settings, tolerance=1e-8)[0]
    np.testing.assert_allclose(there[:, :-1], here[:, :-1], atol=1e-4)
    np.testing.assert_allclose(there[:, :-1] @ np.full(6, 100.0) + there[:, -1], here[:, -1], atol=1e-3)


def test_float32_gives_what_float64_does():
    images, labels = draw(3)
    settings = one_hot(labels), np.ones((1, 90)), np.array([0.3])
    single = fit_probes(images.astype(np.float32), *settings)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, fit_probes(images, *settings), atol=0.02)


def test_a_familys_logits_are_affine():
    images, labels = draw(3)
    family = ProbeFamily(images, one_hot(labels))
    found = family.fit(np.ones((2, 90)), np.array([1.0, 0.1]), tolerance=1e-6)
    expected = np.einsum("bkd,nd->bkn", found[:, :, :-1], images) + found[:, :, -1:]
    np.testing.assert_allclose(family.logits(found), expected, atol=1e-10)
