"""Limited-memory BFGS for many small problems at once.

Cross-validation asks for the same images to be fitted dozens of times, once for each fold and strength. One matrix product
that serves all of them costs little more than the product for one, so they are minimized side by side; a problem that has
converged leaves the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int64

__all__ = ["Objective", "minimize"]

MEMORY = 8  # pairs of steps and gradient changes
SUFFICIENT = 1e-4  # of the decrease that the gradient promises
SMALLEST_STEP = 1e-8
FIRST_STEP = 0.05  # the length of the first move

# Maps parameters of shape (b, p), and which problems they belong to, to b values and b gradients.
Objective = Callable[
    [Float[np.ndarray, "b p"], Int64[np.ndarray, "b"]], tuple[Float[np.ndarray, "b"], Float[np.ndarray, "b p"]]
]


def minimize(
    objective: Objective, start: Float[np.ndarray, "b p"], *, tolerance: float = 1e-6, max_iterations: int = 200
) -> Float[np.ndarray, "b p"]:
    """Return a minimum of each of b independent smooth problems.

    Liu and Nocedal 1989, "On the limited memory BFGS method for large scale optimization", Math. Program. 45, algorithm 2.1,
    with the two-loop recursion of Nocedal and Wright 2006, "Numerical Optimization", algorithm 7.4, and backtracking until
    Armijo's condition holds (there, section 3.1); pairs without positive curvature are passed over.

    Parameters
    ----------
    objective : callable
        See `Objective`.
    start : array of shape (b, p)
        float32 or float64, which decides the precision; not changed.
    tolerance : float, default=1e-6
        A problem has converged when its largest gradient entry is at most this, or when two steps in a row have each
        lowered its value by less than this, relatively (values below 0.001 count as 0.001).
    max_iterations : int, default=200
        Steps for each problem.

    Returns
    -------
    array of shape (b, p)
        Never worse than the start.
    """
    at = start.copy()
    value, gradient = objective(at, np.arange(len(at)))
    history, n_flat = _History.empty(at), np.zeros(len(at), dtype=np.int64)
    active = np.flatnonzero(np.abs(gradient).max(axis=1) > tolerance)
    for _ in range(max_iterations):
        if not active.size:
            break
        direction = history.direction(gradient[active], active)
        moved = _search(objective, at[active], value[active], gradient[active], direction, active)
        before = value[active]
        history.add(moved.at - at[active], moved.gradient - gradient[active], active)
        at[active], value[active], gradient[active] = moved.at, moved.value, moved.gradient
        flat = before - moved.value <= tolerance * np.maximum(np.abs(before), 1e-3)
        n_flat[active] = np.where(flat, n_flat[active] + 1, 0)
        going = moved.found & (n_flat[active] < 2) & (np.abs(moved.gradient).max(axis=1) > tolerance)
        active = active[going]
    return at


@dataclass(slots=True)
class _Moved:
    at: Float[np.ndarray, "b p"]
    value: Float[np.ndarray, "b"]
    gradient: Float[np.ndarray, "b p"]
    found: np.ndarray  # whether there was a step that lowered the value


def _search(
    objective: Objective,
    at: Float[np.ndarray, "b p"],
    value: Float[np.ndarray, "b"],
    gradient: Float[np.ndarray, "b p"],
    direction: Float[np.ndarray, "b p"],
    active: Int64[np.ndarray, "b"],
) -> _Moved:
    """Halve each problem's step until it lowers the value enough."""
    slope = _dot(gradient, direction)
    uphill = ~(slope < 0)
    direction = np.where(uphill[:, None], -gradient, direction)
    slope = np.where(uphill, -_dot(gradient, gradient), slope)
    moved = _Moved(at.copy(), value.copy(), gradient.copy(), np.zeros(len(at), dtype=bool))
    step, waiting = np.ones(len(at), dtype=at.dtype), np.arange(len(at))
    while waiting.size:
        tried = at[waiting] + step[waiting, None] * direction[waiting]
        found, slopes = objective(tried, active[waiting])
        good = found <= value[waiting] + SUFFICIENT * step[waiting] * slope[waiting]
        done = waiting[good]
        moved.at[done], moved.value[done], moved.gradient[done] = tried[good], found[good], slopes[good]
        moved.found[done] = True
        waiting = waiting[~good]
        step[waiting] /= 2
        waiting = waiting[step[waiting] > SMALLEST_STEP]
    return moved


@dataclass(slots=True)
class _History:
    """The newest pairs of each problem, newest last; a pair of zeros stands for none."""

    steps: Float[np.ndarray, "m b p"]
    changes: Float[np.ndarray, "m b p"]
    curvature: Float[np.ndarray, "m b"]
    n_added: np.ndarray = field(repr=False)

    @classmethod
    def empty(cls, at: Float[np.ndarray, "b p"]) -> _History:
        pairs = np.zeros((MEMORY, *at.shape), dtype=at.dtype)
        return cls(pairs, pairs.copy(), np.zeros((MEMORY, len(at)), dtype=at.dtype), np.zeros(len(at), dtype=np.int64))

    def add(
        self, step: Float[np.ndarray, "b p"], change: Float[np.ndarray, "b p"], which: Int64[np.ndarray, "b"]
    ) -> None:
        curvature = _dot(step, change)
        norms = np.sqrt(_dot(step, step) * _dot(change, change))
        good = curvature > 1e-6 * norms
        which = which[good]
        slot = self.n_added[which] % MEMORY
        self.steps[slot, which], self.changes[slot, which] = step[good], change[good]
        self.curvature[slot, which] = curvature[good]
        self.n_added[which] += 1

    def direction(self, gradient: Float[np.ndarray, "b p"], which: Int64[np.ndarray, "b"]) -> Float[np.ndarray, "b p"]:
        """Return minus the approximate inverse Hessian times the gradient."""
        q, shares = gradient.copy(), []
        newest = self.n_added[which] - 1
        for back in range(MEMORY):
            slot = (newest - back) % MEMORY
            there = newest - back >= 0
            step, change = self.steps[slot, which], self.changes[slot, which]
            curvature = np.where(there, self.curvature[slot, which], 1)
            share = np.where(there, _dot(step, q) / curvature, 0)
            q -= share[:, None] * change
            shares.append((share, step, change, curvature, there))
        scale = 1 / np.maximum(np.sqrt(_dot(gradient, gradient)), np.finfo(q.dtype).tiny)  # of the very first step
        _, _, change, curvature, there = shares[0]
        scale = np.where(
            there, curvature / np.maximum(_dot(change, change), np.finfo(q.dtype).tiny), scale * FIRST_STEP
        )
        q *= scale[:, None]
        for share, step, change, curvature, there in reversed(shares):
            q += np.where(there, share - _dot(change, q) / curvature, 0)[:, None] * step
        return -q


def _dot(one: Float[np.ndarray, "b p"], other: Float[np.ndarray, "b p"]) -> Float[np.ndarray, "b"]:
    products: np.ndarray = np.einsum("bp,bp->b", one, other)
    return products
