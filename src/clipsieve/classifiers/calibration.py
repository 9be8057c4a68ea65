"""From a classifier's margin to a probability that means what it says: Platt's sigmoid, and isotonic regression.

A margin is the logit of the unwanted classes together: log sum exp over the unwanted logits, less that over the wanted ones.
Its logistic function is the classifier's own probability.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from clipsieve.errors import UsageError

__all__ = [
    "Calibration",
    "Isotonic",
    "Platt",
    "calibration_from_json",
    "fit_isotonic",
    "fit_platt",
    "margins",
    "sigmoid",
]

MAX_KNOTS = 10_000
LEAST_SLOPE = 1e-3  # for margins scaled to at most 1


class Calibration(ABC):
    """A map from margins to probabilities that never decreases."""

    method: ClassVar[str]

    @abstractmethod
    def probability(self, margin: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
        """Return the calibrated probability of the unwanted for each margin, 0-1."""

    @abstractmethod
    def shifted(self, by: float) -> Calibration:
        """Return the calibration that gives for a margin what this one gives for the margin plus `by`."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return what `calibration_from_json` reads."""


@dataclass(frozen=True, slots=True)
class Platt(Calibration):
    """Sigmoid(slope x margin + intercept); keeps the order of images.

    Platt 1999, "Probabilistic outputs for support vector machines", section 2.2.

    Parameters
    ----------
    slope : float
        > 0.
    intercept : float
        Finite.
    """

    method: ClassVar[str] = "platt"
    slope: float
    intercept: float

    def __post_init__(self) -> None:
        if not (0 < self.slope < np.inf and np.isfinite(self.intercept)):
            raise UsageError("Platt's calibration has a slope above 0 and a finite intercept")

    def probability(self, margin: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
        """See `Calibration.probability`."""
        return sigmoid(self.slope * margin + self.intercept)

    def shifted(self, by: float) -> Platt:
        """See `Calibration.shifted`."""
        return Platt(self.slope, self.intercept + self.slope * by)

    def to_json(self) -> dict[str, Any]:
        """Return method, slope and intercept."""
        return {"method": self.method, "slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True, slots=True)
class Isotonic(Calibration):
    """Linear between knots, constant beyond them; images of one step become equal.

    Zadrozny and Elkan 2002, "Transforming classifier scores into accurate multiclass probability estimates", section 4.

    Parameters
    ----------
    margins : tuple of float
        1 to 10,000 finite numbers that increase.
    probabilities : tuple of float
        As many, 0-1, that do not decrease.
    """

    method: ClassVar[str] = "isotonic"
    margins: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        x, y = np.array(self.margins, np.float64), np.array(self.probabilities, np.float64)
        if not (1 <= len(x) == len(y) <= MAX_KNOTS and np.isfinite(x).all() and (np.diff(x) > 0).all()):
            raise UsageError("isotonic calibration has 1 to 10,000 knots, from left to right")
        if not ((y >= 0) & (y <= 1)).all() or (np.diff(y) < 0).any():
            raise UsageError("isotonic calibration has probabilities from 0 to 1 that do not decrease")

    def probability(self, margin: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
        """See `Calibration.probability`."""
        return np.asarray(np.interp(margin, self.margins, self.probabilities), dtype=np.float64)

    def shifted(self, by: float) -> Isotonic:
        """See `Calibration.shifted`."""
        return Isotonic(tuple(margin - by for margin in self.margins), self.probabilities)

    def to_json(self) -> dict[str, Any]:
        """Return method and knots."""
        return {"method": self.method, "margins": list(self.margins), "probabilities": list(self.probabilities)}


def calibration_from_json(facts: Mapping[str, Any] | None) -> Calibration | None:
    """Return the calibration that a table describes, None for None; UsageError if it describes none."""
    if facts is None:
        return None
    keys = {"platt": ("slope", "intercept"), "isotonic": ("margins", "probabilities")}.get(str(facts.get("method")))
    if keys is None or set(facts) != {"method", *keys}:
        raise UsageError("an unknown calibration", found=f"{sorted(map(str, facts))!r:.80}")
    values = [facts[key] for key in keys]
    if facts["method"] == "platt":
        return Platt(*(_number(value) for value in values))
    if not all(isinstance(value, list) for value in values):
        raise UsageError("isotonic calibration needs two lists of knots")
    return Isotonic(*(tuple(_number(item) for item in value) for value in values))


def _number(value: object) -> float:
    if type(value) not in (int, float):
        raise UsageError("a calibration holds numbers alone", found=f"{value!r:.60}")
    return float(value)  # type: ignore[arg-type]


def sigmoid(values: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Return 1 / (1 + exp(-x)) without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * values)))


def margins(logits: Float[np.ndarray, "n k"], unwanted: Bool[np.ndarray, "k"]) -> Float64[np.ndarray, "n"]:
    """Return log sum exp over the unwanted logits, less that over the wanted ones."""
    both = [_log_sum_exp(logits[:, columns].astype(np.float64)) for columns in (unwanted, ~unwanted)]
    return np.asarray(both[0] - both[1])


def _log_sum_exp(values: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n"]:
    highest = values.max(axis=1)
    return np.asarray(highest + np.log(np.exp(values - highest[:, None]).sum(axis=1)))


def fit_platt(margin: Float64[np.ndarray, "n"], labels: Int64[np.ndarray, "n"]) -> Platt:
    """Fit slope and intercept by maximum likelihood.

    Newton's method on the cross-entropy with Platt's smoothed targets (N1 + 1) / (N1 + 2) and 1 / (N0 + 2), as Lin, Lin and
    Weng 2007, "A note on Platt's probabilistic outputs for support vector machines", Mach. Learn. 68, algorithm 1.

    Parameters
    ----------
    margin : float64 array of shape (n,)
        Of images that the classifier was not tuned on.
    labels : int64 array of shape (n,)
        1 unwanted, 0 wanted; both occur.

    Returns
    -------
    Platt
        With a slope of at least 0.001 over the largest margin: a map that turned the order around would say that the classifier
        is wrong, not uncalibrated.
    """
    n_unwanted, n_wanted = int(labels.sum()), int((labels == 0).sum())
    target = np.where(labels == 1, (n_unwanted + 1) / (n_unwanted + 2), 1 / (n_wanted + 2))
    scale = max(float(np.abs(margin).max()), 1e-12)  # margins of thousands would make the Hessian singular
    inputs = np.stack([margin / scale, np.ones_like(margin)], axis=1)
    fitted = _newton(inputs, target, np.array([0.0, np.log((n_unwanted + 1) / (n_wanted + 1))]))
    slope = fitted[0] / scale
    least = LEAST_SLOPE / scale
    if slope >= least:
        return Platt(float(slope), float(fitted[1]))
    share = float(target.mean())  # the likeliest probability where the margins tell nothing
    return Platt(least, float(np.log(share / (1 - share)) - least * margin.mean()))


def _newton(
    inputs: Float64[np.ndarray, "n 2"], target: Float64[np.ndarray, "n"], start: Float64[np.ndarray, "2"]
) -> Float64[np.ndarray, "2"]:
    def loss(weights: Float64[np.ndarray, "2"]) -> float:
        z = inputs @ weights
        return float((np.logaddexp(0, z) - target * z).sum())

    weights, value = start, loss(start)
    for _ in range(100):
        p = sigmoid(inputs @ weights)
        gradient = inputs.T @ (p - target)
        hessian = (inputs * (p * (1 - p))[:, None]).T @ inputs + 1e-10 * np.eye(2)
        step, size = np.linalg.solve(hessian, gradient), 1.0
        while size > 1e-10 and loss(weights - size * step) > value - 1e-4 * size * float(gradient @ step):
            size /= 2
        weights = weights - size * step
        before, value = value, loss(weights)
        if before - value < 1e-10 * (1 + abs(value)):
            break
    return weights


def fit_isotonic(margin: Float64[np.ndarray, "n"], labels: Int64[np.ndarray, "n"]) -> Isotonic:
    """Fit the non-decreasing map of least squares (pool adjacent violators; scikit-learn's `IsotonicRegression`).

    Probabilities are kept within 1 / (n + 2) and 1 - 1 / (n + 2): n images cannot show that something never happens.
    """
    from sklearn.isotonic import IsotonicRegression

    least = 1 / (len(margin) + 2)
    fitted = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(margin, labels)
    knots = np.unique(np.linspace(0, len(fitted.X_thresholds_) - 1, MAX_KNOTS).astype(int))  # all, as a rule
    x, y = fitted.X_thresholds_[knots], np.maximum.accumulate(fitted.y_thresholds_[knots])
    return Isotonic(tuple(map(float, x)), tuple(float(value) for value in np.clip(y, 0, 1)))
