"""Many problems minimized side by side, against scipy's L-BFGS-B on each alone."""

import numpy as np
import pytest
from scipy.optimize import minimize as scipy_minimize
from scipy.optimize import rosen, rosen_der

from clipsieve.classifiers.lbfgs import minimize

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute


def quadratics(b, p, *, condition, seed=0, dtype=np.float64):
    """Return b convex quadratics: curvatures from 1 to `condition`, their axes turned, and where their minima lie."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(b, p, p)))[0]
    matrix = (axes * np.geomspace(1, condition, p)) @ axes.transpose(0, 2, 1)
    lowest = rng.normal(size=(b, p))
    matrix, lowest = matrix.astype(dtype), lowest.astype(dtype)

    def objective(at, which):
        away = at - lowest[which]
        pull = np.einsum("bij,bj->bi", matrix[which], away)
        return (away * pull).sum(axis=1) / 2, pull

    return objective, lowest


def rosenbrocks(at, which):
    return np.array([rosen(row) for row in at]), np.array([rosen_der(row) for row in at]).reshape(at.shape)


@pytest.mark.parametrize("condition", [1.0, 30.0, 3000.0])
def test_quadratics_end_at_their_minima(condition):
    objective, lowest = quadratics(5, 12, condition=condition)
    found = minimize(objective, np.zeros((5, 12)), tolerance=1e-9, max_iterations=1000)
    np.testing.assert_allclose(found, lowest, atol=1e-4)


def test_rosenbrocks_valley_is_followed_to_its_end():
    start = np.random.default_rng(0).normal(size=(6, 2))
    found = minimize(rosenbrocks, start, tolerance=1e-10, max_iterations=1000)
    np.testing.assert_allclose(found, 1, atol=1e-4)


def test_it_gets_as_low_as_scipy_with_about_as_many_steps():
    start = np.random.default_rng(1).uniform(-2, 2, size=(8, 3))  # with four and more it has a second minimum
    ours = rosenbrocks(minimize(rosenbrocks, start, tolerance=1e-9, max_iterations=120), np.arange(8))[0]
    options = {"maxcor": 8, "maxiter": 120}
    theirs = [scipy_minimize(rosen, row, jac=rosen_der, method="L-BFGS-B", tol=1e-12, options=options) for row in start]
    np.testing.assert_allclose(ours, [each.fun for each in theirs], atol=1e-6)


def test_a_batch_gives_what_each_problem_gives_alone():
    objective, _ = quadratics(7, 6, condition=100.0)
    start = np.random.default_rng(2).normal(size=(7, 6))
    together = minimize(objective, start)
    for problem in range(7):
        alone = minimize(lambda at, which, p=problem: objective(at, which + p), start[problem : problem + 1])
        np.testing.assert_allclose(together[problem], alone[0], atol=1e-9)


def test_a_problem_that_has_converged_is_asked_no_more_and_stays():
    objective, lowest = quadratics(3, 6, condition=50.0)
    asked = []

    def counted(at, which):
        asked.append(which.tolist())
        return objective(at, which)

    start = np.zeros((3, 6))
    start[1] = lowest[1]
    found = minimize(counted, start, tolerance=1e-9)
    assert [1 in which for which in asked] == [True] + [False] * (len(asked) - 1)
    assert found[1].tobytes() == lowest[1].tobytes()
    np.testing.assert_allclose(found, lowest, atol=1e-6)


def test_the_start_is_not_changed_and_its_precision_is_kept():
    for dtype in (np.float32, np.float64):
        objective, lowest = quadratics(2, 4, condition=10.0, dtype=dtype)
        start = np.ones((2, 4), dtype=dtype)
        found = minimize(objective, start)
        assert found.dtype == dtype
        np.testing.assert_array_equal(start, 1)
        np.testing.assert_allclose(found, lowest, atol=1e-3)


@pytest.mark.parametrize("max_iterations", [0, 1, 2, 5])
def test_it_never_ends_higher_than_it_began(max_iterations):
    start = np.random.default_rng(3).uniform(-2, 2, size=(20, 4))
    found = minimize(rosenbrocks, start, max_iterations=max_iterations)
    before, after = (rosenbrocks(at, np.arange(20))[0] for at in (start, found))
    assert (after < before).all() if max_iterations else (after == before).all()


def test_a_flat_start_stays_where_it_is():
    found = minimize(lambda at, which: (np.zeros(len(at)), np.zeros_like(at)), np.full((2, 3), 7.0))
    np.testing.assert_array_equal(found, 7)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_problem_without_numbers_harms_no_other(broken):
    objective, lowest = quadratics(3, 4, condition=10.0)

    def partly_broken(at, which):
        value, gradient = objective(at, which)
        value[which == 1], gradient[which == 1] = broken, np.nan
        return value, gradient

    found = minimize(partly_broken, np.zeros((3, 4)), tolerance=1e-9)
    np.testing.assert_array_equal(found[1], 0)
    np.testing.assert_allclose(found[[0, 2]], lowest[[0, 2]], atol=1e-6)


def test_a_wall_of_nan_on_the_way_is_walked_around():
    """-log(x) + x has its minimum at 1 and no value at 0 and below."""

    def objective(at, which):
        with np.errstate(invalid="ignore", divide="ignore"):
            return (at - np.log(at)).sum(axis=1), 1 - 1 / at

    found = minimize(objective, np.array([[0.001, 30.0]]), tolerance=1e-9)
    np.testing.assert_allclose(found, 1, atol=1e-6)


def test_a_gradient_that_lies_ends_the_search_without_harm():
    found = minimize(lambda at, which: ((at**2).sum(axis=1), -2 * at), np.ones((1, 2)))
    np.testing.assert_array_equal(found, 1)


def test_no_problems_give_no_results():
    assert minimize(quadratics(1, 3, condition=1.0)[0], np.zeros((0, 3))).shape == (0, 3)
