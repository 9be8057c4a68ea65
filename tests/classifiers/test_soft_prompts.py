"""Soft prompts: the objective against finite differences and scipy's minimizer, the prior, and many problems at once."""

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.optimize import minimize as scipy_minimize
from scipy.special import expit, log_softmax, logsumexp

from clipsieve.classifiers.soft_prompts import PromptFamily, fit_soft_prompts, soft_prompt_objective

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

SCALE = 20.0


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def draw(k=2, n=60, d=8, seed=0, spread=1.0):
    """Return prompts, images around other centres than the prompts, and their classes."""
    rng = np.random.default_rng(seed)
    prompts, centres = unit(rng.normal(size=(2, k, d)))
    labels = np.arange(n) % k
    images = unit(prompts[labels] + centres[labels] + spread * rng.normal(size=(n, d)))
    return prompts, images, labels[:, None] == np.arange(k)


def as_groups(targets):
    """Say of half of the images of the last two of three classes that they are in one or the other."""
    grouped = targets.copy()
    grouped[::2] |= targets[::2, 1:].any(axis=1)[:, None] & (np.arange(3) >= 1)
    return grouped


CASES = [pytest.param(2, False, id="k=2"), pytest.param(3, False, id="k=3"), pytest.param(3, True, id="k=3 groups")]


def drawn_case(k, grouped, **changes):
    prompts, images, targets = draw(k, **changes)
    return prompts, images, as_groups(targets) if grouped else targets


def weights_of(n, seed=5):
    """Return weights as cross-validation has none: parts of images, and nothing."""
    return np.round(np.random.default_rng(seed).uniform(0, 2, size=(1, n)), 1)


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("strength", [0.0, 0.7])
@pytest.mark.parametrize(("k", "grouped"), CASES)
def test_the_gradient_is_that_of_finite_differences(k, grouped, strength, shift):
    prompts, images, targets = drawn_case(k, grouped)
    shifted = np.arange(k) == k - 1 if shift else None
    settings = weights_of(len(images)), np.array([strength]), SCALE, shifted
    objective = soft_prompt_objective(prompts, images, targets, *settings)
    at = np.append((prompts + 0.3 * np.random.default_rng(2).normal(size=prompts.shape)).reshape(-1), 0.4)
    which = np.zeros(1, dtype=np.int64)

    def value(flat):
        return float(objective(flat[None], which)[0][0])

    def gradient(flat):
        return objective(flat[None], which)[1][0]

    assert check_grad(value, gradient, at) < 2e-6
    assert (gradient(at)[-1] != 0) == shift


def test_the_value_is_the_weighted_cross_entropy_and_the_penalty_per_image():
    """Written out once more, with scipy's log_softmax and a loop."""
    prompts, images, targets = drawn_case(3, grouped=True)
    weights, at = weights_of(60), 1.7 * unit(prompts + 0.2)
    value, _ = soft_prompt_objective(prompts, images, targets, weights, np.array([0.5]), SCALE)(
        np.append(at.reshape(-1), 0.0)[None], np.zeros(1, dtype=np.int64)
    )
    expected = 0.25 * SCALE**2 * ((unit(at) - prompts) ** 2).sum()
    for image, target, weight in zip(images, targets, weights[0], strict=True):
        expected -= weight * np.log(np.exp(log_softmax(SCALE * unit(at) @ image))[target].sum())
    np.testing.assert_allclose(value[0], expected / weights.sum(), rtol=1e-12)


def by_scipy(prompts, images, targets, weights, strength):
    """Minimize with scipy, from finite differences of a loss of our own writing: no line is shared."""

    def loss(flat):
        rows = unit(flat.reshape(prompts.shape))
        logits = SCALE * images @ rows.T
        allowed = logsumexp(np.where(targets, logits, -np.inf), axis=1)
        away = ((rows - prompts) ** 2).sum()
        return (weights @ (logsumexp(logits, axis=1) - allowed) + strength * SCALE**2 / 2 * away) / weights.sum()

    options = {"maxiter": 500, "ftol": 1e-14, "gtol": 1e-8}
    found = scipy_minimize(loss, prompts.reshape(-1), method="L-BFGS-B", options=options | {"maxfun": 100_000})
    return unit(found.x.reshape(prompts.shape)), loss


@pytest.mark.parametrize(("k", "grouped"), CASES)
def test_the_fit_is_the_one_that_scipy_finds(k, grouped):
    prompts, images, targets = drawn_case(k, grouped, d=4)
    weights = weights_of(len(images))
    expected, loss = by_scipy(prompts, images, targets, weights[0], 0.1)
    found = fit_soft_prompts(prompts, images, targets, weights, np.array([0.1]), logit_scale=SCALE, tolerance=1e-9)
    vectors = found[0, :, :-1]
    np.testing.assert_allclose(loss(vectors.reshape(-1)), loss(expected.reshape(-1)), atol=1e-8)
    np.testing.assert_allclose(vectors, expected, atol=1e-3)
    np.testing.assert_array_equal(found[0, :, -1], 0)


def test_many_problems_at_once_are_those_alone():
    prompts, images, targets = drawn_case(3, grouped=True)
    rng = np.random.default_rng(3)
    weights, strengths = rng.integers(0, 2, size=(9, 60)).astype(float), np.array([np.inf, 3.0, 0.01] * 3)
    weights[1] = 0
    settings = {"logit_scale": SCALE, "shifted": np.array([True, False, False])}
    together = fit_soft_prompts(prompts, images, targets, weights, strengths, **settings)
    for problem in range(9):
        one = slice(problem, problem + 1)
        alone = fit_soft_prompts(prompts, images, targets, weights[one], strengths[one], **settings)
        np.testing.assert_allclose(together[problem], alone[0], atol=1e-4)


def test_a_weight_of_nought_is_an_image_left_out_and_of_two_one_twice():
    prompts, images, targets = draw(n=40, d=6)
    weights = np.repeat([0.0, 1.0, 2.0, 1.0], 10)
    often = np.repeat(np.arange(40), weights.astype(int))
    settings = {"logit_scale": SCALE, "tolerance": 1e-9}
    weighted = fit_soft_prompts(prompts, images, targets, weights[None], np.array([0.1]), **settings)
    copied = fit_soft_prompts(prompts, images[often], targets[often], np.ones((1, 40)), np.array([0.1]), **settings)
    np.testing.assert_allclose(weighted, copied, atol=1e-5)


@pytest.mark.parametrize("d", [8, 512])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_endless_strength_or_no_images_keep_the_prompts_bit_for_bit(dtype, d):
    """Whether the search goes on in the span of the images (d = 512) or not, and if a norm is a little off."""
    prompts, images, targets = draw(d=d)
    prompts, images = (prompts * 1.0004).astype(dtype), images.astype(dtype)
    weights, strengths = np.ones((3, 60), dtype=dtype), np.array([np.inf, 1.0, 0.1])
    weights[1] = 0
    found = fit_soft_prompts(prompts, images, targets, weights, strengths, logit_scale=SCALE)
    for problem in (0, 1):
        assert found[problem, :, :-1].tobytes() == prompts.tobytes()
    assert np.abs(found[2, :, :-1] - prompts).max() > 0.01
    none = fit_soft_prompts(prompts, images[:0], targets[:0], weights[:, :0], strengths, logit_scale=SCALE)
    assert none[:, :, :-1].tobytes() == np.tile(prompts, (3, 1, 1)).tobytes()


@pytest.mark.parametrize("k", [2, 3])
def test_without_strength_separable_images_are_told_apart(k):
    prompts, images, targets = draw(k, spread=0.05)
    prompts = np.roll(prompts, 1, axis=0)  # which are all wrong to begin with
    assert ((images @ prompts.T).argmax(axis=1) == targets.argmax(axis=1)).mean() < 0.1
    found = fit_soft_prompts(prompts, images, targets, np.ones((1, 60)), np.zeros(1), logit_scale=SCALE)
    assert ((images @ found[0, :, :-1].T).argmax(axis=1) == targets.argmax(axis=1)).all()


@pytest.mark.parametrize(("k", "grouped"), CASES)
def test_the_stronger_the_prior_the_nearer_the_prompts(k, grouped):
    prompts, images, targets = drawn_case(k, grouped)
    strengths = np.array([np.inf, 100.0, 10.0, 1.0, 0.1, 0.01, 0.001])
    found = fit_soft_prompts(prompts, images, targets, np.ones((7, 60)), strengths, logit_scale=SCALE, tolerance=1e-8)
    away = ((found[:, :, :-1] - prompts) ** 2).sum(axis=(1, 2))
    assert (np.diff(away) > 0).all()
    assert away[1] < 1e-3 < 0.1 < away[-1]


def test_rows_are_unit_norm():
    prompts, images, targets = draw(3)
    found = fit_soft_prompts(prompts, images, targets, np.ones((3, 60)), np.array([1.0, 0.01, 0.0]), logit_scale=100.0)
    np.testing.assert_allclose(np.linalg.norm(found[:, :, :-1], axis=2), 1, atol=1e-12)


@pytest.mark.parametrize("k", [2, 3])
def test_the_span_of_few_images_holds_the_whole_fit(k):
    """With 512 dimensions the search goes on in that of the images; the gradient in all dimensions is 0 where it ends."""
    prompts, images, targets = draw(k, n=30, d=512)
    settings = np.ones((1, 30)), np.array([0.1])
    found = fit_soft_prompts(prompts, images, targets, *settings, logit_scale=SCALE, tolerance=1e-8)
    objective = soft_prompt_objective(prompts, images, targets, *settings, SCALE)
    flat = np.append(found[0, :, :-1].reshape(-1), 0.0)[None]
    before, after = (
        objective(np.append(prompts.reshape(-1), 0.0)[None], np.zeros(1, np.int64)),
        objective(flat, np.zeros(1, np.int64)),
    )
    assert np.abs(after[1]).max() < 1e-5 < 1e-3 < np.abs(before[1]).max()
    assert after[0] < before[0]


def test_float32_gives_what_float64_does():
    prompts, images, targets = draw(3)
    strengths, weights = np.array([3.0, 0.3, 0.03]), np.ones((3, 60))
    precise = fit_soft_prompts(prompts, images, targets, weights, strengths, logit_scale=SCALE)
    single = fit_soft_prompts(
        *(array.astype(np.float32) for array in (prompts, images)), targets, weights, strengths, logit_scale=SCALE
    )
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, precise, atol=0.02)


def test_a_shift_takes_up_how_frequent_a_class_is():
    """Nine in ten images are of the shifted class, and no image tells: without the number the vectors must leave the prompts."""
    rng = np.random.default_rng(4)
    prompts, images = unit(rng.normal(size=(2, 8))), unit(np.ones(8) + rng.normal(size=(400, 8)))
    prompts[1] = unit(prompts[0] + 0.1 * prompts[1])
    targets = (np.arange(400) % 10 != 0)[:, None] == np.array([False, True])
    settings = np.ones((1, 400)), np.array([30.0])
    plain = fit_soft_prompts(prompts, images, targets, *settings, logit_scale=SCALE)[0]
    free = fit_soft_prompts(prompts, images, targets, *settings, logit_scale=SCALE, shifted=np.array([False, True]))[0]
    margin = SCALE * images @ (free[1] - free[0])[:-1] + free[1, -1]
    assert abs(expit(margin).mean() - 0.9) < 1e-5
    assert free[0, -1] == 0
    assert np.linalg.norm(free[:, :-1] - prompts) < np.linalg.norm(plain[:, :-1] - prompts) / 3


@pytest.mark.parametrize("strength", [10.0, 0.1, 0.001])
def test_the_shift_is_the_best_one_however_early_the_search_stops(strength):
    """Folds are fitted roughly and the final prompts well; if only the latter had their number, calibration would be off."""
    prompts, images, targets = draw(3, n=300, spread=2.0)
    few = np.flatnonzero(~targets[:, 2] | (np.arange(300) % 12 == 2))
    images, targets, shifted = images[few], targets[few], np.array([True, True, False])
    weights = (np.random.default_rng(1).random((4, len(few))) < 0.8).astype(float)
    settings = {"logit_scale": SCALE, "shifted": shifted, "tolerance": 0.1}
    rough = fit_soft_prompts(prompts, images, targets, weights, np.full(4, strength), **settings)
    logits = SCALE * rough[:, :, :-1] @ images.T + rough[:, :, -1:]
    probability = np.exp(log_softmax(logits, axis=1))[:, shifted].sum(axis=1)
    share = (weights * ~targets[:, 2]).sum(axis=1) / weights.sum(axis=1)
    np.testing.assert_allclose((weights * probability).sum(axis=1) / weights.sum(axis=1), share, atol=1e-5)
    assert np.abs(rough[:, 0, -1]).min() > 0.1


def test_images_of_one_label_alone_have_an_end_to_their_shift():
    prompts, images, targets = draw()
    settings = np.ones((1, 30)), np.array([0.1])
    found = fit_soft_prompts(prompts, images[::2], targets[::2], *settings, logit_scale=SCALE, shifted=targets[0])
    assert np.isfinite(found).all()


def test_a_familys_logits_are_scaled_cosines_and_the_shift():
    prompts, images, targets = draw(3)
    family = PromptFamily(prompts, SCALE, images, targets, np.array([False, True, True]))
    found = family.fit(np.ones((2, 60)), np.array([1.0, 0.1]), tolerance=1e-6)
    expected = SCALE * np.einsum("bkd,nd->bkn", found[:, :, :-1], images) + found[:, :, -1:]
    np.testing.assert_allclose(family.logits(found), expected, atol=1e-10)
    assert (found[:, 1, -1] == found[:, 2, -1]).all()
    assert (found[:, 1, -1] != 0).all()
