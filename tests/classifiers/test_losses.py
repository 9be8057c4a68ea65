"""Cross-entropy over the classes that a rating allows, against scipy's and torch's."""

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import log_softmax, logsumexp, softmax

from clipsieve.classifiers.losses import cross_entropy


def draw(k, n=40, b=3, *, spread=3.0, seed=0, dtype=np.float64):
    return (spread * np.random.default_rng(seed).normal(size=(b, k, n))).astype(dtype)


def one_hot(k, n=40, seed=1):
    return np.arange(k)[:, None] == np.random.default_rng(seed).integers(0, k, n)


def groups(k, n=40, seed=1):
    """Return targets of one class, of several, and of all: a rating that says nothing."""
    allowed = np.random.default_rng(seed).random((k, n)) < 0.5
    allowed[0] |= ~allowed.any(axis=0)
    allowed[:, 0] = True
    return allowed


def expected_loss(logits, allowed):
    """Return the loss in float64, without a difference of large numbers."""
    shares = np.where(allowed, log_softmax(logits.astype(np.float64), axis=1), -np.inf)
    return -logsumexp(shares, axis=1)


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("targets", [one_hot, groups])
def test_the_loss_is_that_of_scipys_log_softmax(k, targets):
    logits, allowed = draw(k), targets(k)
    loss, _ = cross_entropy(logits, allowed)
    np.testing.assert_allclose(loss, expected_loss(logits, allowed), atol=1e-12)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("targets", [one_hot, groups])
def test_the_slope_is_that_of_finite_differences(k, targets):
    logits, allowed = draw(k, n=4, b=1), targets(k, 4)

    def loss(flat):
        return float(cross_entropy(flat.reshape(logits.shape), allowed)[0].sum())

    def slope(flat):
        return cross_entropy(flat.reshape(logits.shape), allowed)[1].reshape(-1)

    assert check_grad(loss, slope, logits.reshape(-1)) < 1e-6


def test_the_slope_of_one_class_is_the_softmax_less_the_target():
    logits, allowed = draw(4), one_hot(4)
    np.testing.assert_allclose(cross_entropy(logits, allowed)[1], softmax(logits, axis=1) - allowed, atol=1e-12)


def test_a_rating_that_allows_every_class_says_nothing():
    loss, slope = cross_entropy(draw(3), np.ones((3, 40), dtype=bool))
    np.testing.assert_array_equal(loss, 0)
    np.testing.assert_array_equal(slope, 0)


def test_the_way_of_two_classes_agrees_with_that_of_many():
    """A third class so unlikely that it changes nothing takes the other way through the code."""
    logits, allowed = draw(2, spread=20.0), one_hot(2)
    third = np.concatenate([logits, np.full((3, 1, 40), -1e5)], axis=1)
    loss, slope = cross_entropy(logits, allowed)
    other, of_three = cross_entropy(third, np.concatenate([allowed, np.zeros((1, 40), dtype=bool)]))
    np.testing.assert_allclose(loss, other, atol=1e-12)
    np.testing.assert_allclose(slope, of_three[:, :2], atol=1e-12)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("size", [200.0, 1e4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits_overflow_nowhere_and_keep_small_losses(k, size, dtype):
    """Every pattern of -size, 0, size and size + 1: what two large logits differ by is not lost."""
    values = np.array([-size, 0, size, size + 1], dtype=dtype)
    logits = np.stack(np.meshgrid(*[values] * k)).reshape(1, k, -1)
    for right in range(k):
        allowed = np.repeat(np.arange(k)[:, None] == right, logits.shape[2], axis=1)
        loss, slope = cross_entropy(logits, allowed)
        assert loss.dtype == slope.dtype == dtype
        precise = 5e-7 if dtype == np.float32 else 1e-12
        np.testing.assert_allclose(loss, expected_loss(logits, allowed), rtol=precise, atol=precise)
        expected = softmax(logits.astype(np.float64), axis=1) - allowed
        np.testing.assert_allclose(slope, expected, atol=precise)


@pytest.mark.torch
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("spread", [3.0, 200.0, 1e4])
def test_loss_and_slope_are_torchs_in_float32(k, spread):
    import torch

    logits, allowed = draw(k, spread=spread, dtype=np.float32), one_hot(k)
    given = torch.from_numpy(logits).requires_grad_()
    label = torch.from_numpy(np.tile(allowed.argmax(axis=0), (3, 1)))
    expected = torch.nn.functional.cross_entropy(given, label, reduction="none")
    expected.sum().backward()
    loss, slope = cross_entropy(logits, allowed)
    np.testing.assert_allclose(loss, expected.detach().numpy(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(slope, given.grad.numpy(), atol=1e-6)


def test_no_images_have_no_loss():
    for k in (2, 3):
        loss, slope = cross_entropy(np.zeros((2, k, 0)), np.zeros((k, 0), dtype=bool))
        assert (loss.shape, slope.shape) == ((2, 0), (2, k, 0))
