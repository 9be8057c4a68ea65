"""How good predictions are, for the unwanted class; each metric for one sample or for many weighted ones at once.

All take `labels`, int64 of shape (n,), 1 for unwanted and 0 for wanted, and either `flagged`, what was decided, or
`probability`, what the decision came from. `weights`, float64 of shape (..., n), says how often each row counts, so that
a thousand resamples cost one call; without it each row counts once. All return a float64 array of shape (...).

What is undefined is NaN: every metric without rows; recall, F1 and average precision without unwanted images; ROC AUC with
one class only. Precision where nothing is flagged is 0, as in scikit-learn, so that a method cannot gain by flagging
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64, Int64

from clipsieve.errors import UsageError

__all__ = [
    "METRICS",
    "Confusion",
    "Metric",
    "RatingBin",
    "SplitPredictions",
    "accuracy",
    "accuracy_by_rating",
    "average_precision",
    "brier_score",
    "calibration_error",
    "check_splits",
    "confusion",
    "f1",
    "flag",
    "precision",
    "recall",
    "roc_auc",
]

N_CALIBRATION_BINS = 10

Labels: TypeAlias = Int64[np.ndarray, "n"]
Decisions: TypeAlias = Bool[np.ndarray, "n"]
Probabilities: TypeAlias = Float64[np.ndarray, "n"]
Weights: TypeAlias = Float64[np.ndarray, "*b n"]
Values: TypeAlias = Float64[np.ndarray, "*b"]
Masses: TypeAlias = Float64[np.ndarray, "*b g"]


@dataclass(frozen=True, slots=True, eq=False)
class SplitPredictions:
    """What one method says of the test images of one split.

    Attributes
    ----------
    image : int64 array of shape (n,)
        Which image each row is: the same number in several splits, or methods, for the same image.
    labels : int64 array of shape (n,)
        1 unwanted, 0 wanted.
    probability : float64 array of shape (n,)
        Of the unwanted class, 0-1.
    flagged : bool array of shape (n,)
        What was decided; see `flag`.
    n_train : int
        How many images the method was trained on; 0 for none, or if that is not known.
    rating : float64 array of shape (n,) or None
        What the labels came from.
    """

    image: Int64[np.ndarray, "n"]
    labels: Int64[np.ndarray, "n"]
    probability: Float64[np.ndarray, "n"]
    flagged: Bool[np.ndarray, "n"]
    n_train: int = 0
    rating: Float64[np.ndarray, "n"] | None = None


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many images were flagged rightly (`tp`), wrongly (`fp`), missed (`fn`), and rightly let pass (`tn`)."""

    tp: int
    fp: int
    fn: int
    tn: int


@dataclass(frozen=True, slots=True)
class RatingBin:
    """The images with a rating from `low` to below `high`: how many, and the share decided rightly (NaN for none)."""

    low: float
    high: float
    n: int
    accuracy: float


def flag(probability: Probabilities, threshold: float = 0.5, *, at_threshold: bool = True) -> Decisions:
    """Return which images are flagged: those at or above the threshold, or only above it if not `at_threshold`.

    The project's classifiers flag at the threshold; figures that others publish mostly come from above it alone.
    """
    return np.asarray(probability >= threshold if at_threshold else probability > threshold)


def accuracy(labels: Labels, flagged: Decisions, weights: Weights | None = None) -> Values:
    """Return the share of images that were decided rightly."""
    weights = _or_ones(weights, len(labels))
    return _ratio(weights @ ((labels == 1) == flagged).astype(np.float64), weights.sum(axis=-1))


def precision(labels: Labels, flagged: Decisions, weights: Weights | None = None) -> Values:
    """Return the share of the flagged images that is unwanted; 0 if none is flagged."""
    weights = _or_ones(weights, len(labels))
    hits, n_flagged = weights @ (labels * flagged).astype(np.float64), weights @ flagged.astype(np.float64)
    return np.asarray(np.where(weights.sum(axis=-1) > 0, _ratio(hits, n_flagged, undefined=0.0), np.nan))


def recall(labels: Labels, flagged: Decisions, weights: Weights | None = None) -> Values:
    """Return the share of the unwanted images that is flagged."""
    weights = _or_ones(weights, len(labels))
    return _ratio(weights @ (labels * flagged).astype(np.float64), weights @ labels.astype(np.float64))


def f1(labels: Labels, flagged: Decisions, weights: Weights | None = None) -> Values:
    """Return the harmonic mean of precision and recall, 2 tp / (2 tp + fp + fn)."""
    weights = _or_ones(weights, len(labels))
    hits, n_unwanted = weights @ (labels * flagged).astype(np.float64), weights @ labels.astype(np.float64)
    n_flagged = weights @ flagged.astype(np.float64)
    return np.asarray(np.where(n_unwanted > 0, _ratio(2 * hits, n_unwanted + n_flagged), np.nan))


def roc_auc(labels: Labels, probability: Probabilities, weights: Weights | None = None) -> Values:
    """Return the area under the ROC curve.

    The chance that a random unwanted image has a higher probability than a random wanted one, ties counted half (Hanley
    and McNeil 1982, Radiology 143, 29-36).
    """
    unwanted, wanted = _masses(labels, probability, weights)
    below = np.cumsum(wanted, axis=-1) - wanted / 2
    return _ratio((unwanted * below).sum(axis=-1), unwanted.sum(axis=-1) * wanted.sum(axis=-1))


def average_precision(labels: Labels, probability: Probabilities, weights: Weights | None = None) -> Values:
    """Return the mean, over the unwanted images, of the precision at each one's probability.

    The sum of (R_t - R_t-1) P_t over the distinct probabilities as thresholds, without interpolation (Manning, Raghavan and
    Schütze 2008, "Introduction to Information Retrieval", section 8.4).
    """
    unwanted, wanted = (mass[..., ::-1] for mass in _masses(labels, probability, weights))
    hits = np.cumsum(unwanted, axis=-1)
    precisions = _ratio(hits, hits + np.cumsum(wanted, axis=-1), undefined=0.0)
    return _ratio((unwanted * precisions).sum(axis=-1), unwanted.sum(axis=-1))


def brier_score(labels: Labels, probability: Probabilities, weights: Weights | None = None) -> Values:
    """Return the mean squared difference between probability and label; lower is better.

    Half of the sum over both classes in Brier 1950, Mon. Weather Rev. 78, 1-3.
    """
    weights = _or_ones(weights, len(labels))
    return _ratio(weights @ (probability - labels) ** 2, weights.sum(axis=-1))


def calibration_error(
    labels: Labels, probability: Probabilities, weights: Weights | None = None, n_bins: int = N_CALIBRATION_BINS
) -> Values:
    """Return the expected calibration error: how far the mean probability is from the share of unwanted images.

    The mean over bins, weighted by their size (Naeini, Cooper and Hauskrecht 2015, AAAI); the bins
    hold equally many rows (Nixon et al. 2019, arXiv:1904.01685), save that equal probabilities are never parted:
    all go where the middle one of them belongs. The weights do not move the bins. Few rows make it too high.
    """
    weights = _or_ones(weights, len(labels))
    _, place, counts = np.unique(probability, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    bins = np.floor(n_bins * middle / max(len(labels), 1))[place]
    order = np.argsort(bins, kind="stable")
    starts = np.unique(bins[order], return_index=True)[1]
    gaps = np.add.reduceat((weights * (probability - labels))[..., order], starts, axis=-1)
    return _ratio(np.abs(gaps).sum(axis=-1), weights.sum(axis=-1))


def confusion(labels: Labels, flagged: Decisions) -> Confusion:
    """Count the four outcomes."""
    tp, n_flagged, n_unwanted = int((labels * flagged).sum()), int(flagged.sum()), int(labels.sum())
    return Confusion(tp, n_flagged - tp, n_unwanted - tp, len(labels) - n_flagged - n_unwanted + tp)


def accuracy_by_rating(
    rating: Float64[np.ndarray, "n"], labels: Labels, flagged: Decisions, edges: Sequence[float]
) -> tuple[RatingBin, ...]:
    """Return the accuracy in each bin of ratings.

    Parameters
    ----------
    rating, labels, flagged
        As in `SplitPredictions`.
    edges : sequence of float
        Ascending, at least two, from the lowest rating to the highest or beyond. Bins are closed below; the last one also
        above.

    Raises
    ------
    UsageError
        If the edges do not ascend, or a rating is NaN or outside them.
    """
    if len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise UsageError("the edges of the bins make no sense", expected="two or more, ascending", found=f"{edges}")
    outside = ~((rating >= edges[0]) & (rating <= edges[-1]))
    if outside.any():
        raise UsageError(
            f"{int(outside.sum()):,} ratings are in no bin",
            expected=f"from {edges[0]:g} to {edges[-1]:g}",
            found=f"{rating[outside][0]:g}",
        )
    bins = np.minimum(np.searchsorted(edges, rating, side="right") - 1, len(edges) - 2)
    n = np.bincount(bins, minlength=len(edges) - 1)
    n_right = np.bincount(bins, (labels == 1) == flagged, minlength=len(edges) - 1)
    shares = _ratio(n_right, n.astype(np.float64))
    return tuple(
        RatingBin(float(low), float(high), int(count), float(share))
        for low, high, count, share in zip(edges[:-1], edges[1:], n, shares, strict=True)
    )


def check_splits(splits: Sequence[SplitPredictions]) -> None:
    """Raise UsageError unless there is a split, and each has rows, labels 0 or 1, and probabilities from 0 to 1."""
    if not splits:
        raise UsageError("there are no predictions to evaluate", expected="at least one split")
    for number, split in enumerate(splits, start=1):
        lengths = {len(split.image), len(split.labels), len(split.probability), len(split.flagged)}
        if len(lengths) > 1 or lengths == {0}:
            raise UsageError(
                f"split {number} cannot be evaluated",
                expected="one image, label, probability and decision for each of one or more rows",
                found=f"{sorted(lengths)}",
            )
        if not np.isin(split.labels, (0, 1)).all():
            raise UsageError(f"split {number} has labels that are neither 0 nor 1")
        if not ((split.probability >= 0) & (split.probability <= 1)).all():
            raise UsageError(f"split {number} has probabilities that are not numbers from 0 to 1")


def _or_ones(weights: Weights | None, n: int) -> Weights:
    return np.ones(n) if weights is None else weights


def _ratio(part: Values | np.float64, whole: Values | np.float64, undefined: float = np.nan) -> Values:
    defined = np.asarray(whole) > 0
    return np.asarray(np.where(defined, np.asarray(part) / np.where(defined, whole, 1.0), undefined))


def _masses(labels: Labels, probability: Probabilities, weights: Weights | None) -> tuple[Masses, Masses]:
    """Return the weight of unwanted and of wanted rows at each distinct probability, ascending."""
    order = np.argsort(probability, kind="stable")
    starts = np.unique(probability[order], return_index=True)[1]
    in_order, unwanted = _or_ones(weights, len(labels))[..., order], labels[order]
    both = (np.add.reduceat(in_order * chosen, starts, axis=-1) for chosen in (unwanted, 1 - unwanted))
    return next(both), next(both)


@runtime_checkable
class Metric(Protocol):
    """A metric of the predictions of one split."""

    def __call__(self, split: SplitPredictions, weights: Weights | None = None, /) -> Values:
        """Return its value, or one for each row of weights."""


def _of_decisions(metric: Callable[[Labels, Decisions, Weights | None], Values]) -> Metric:
    def measure(split: SplitPredictions, weights: Weights | None = None, /) -> Values:
        return metric(split.labels, split.flagged, weights)

    return measure


def _of_probabilities(metric: Callable[[Labels, Probabilities, Weights | None], Values]) -> Metric:
    def measure(split: SplitPredictions, weights: Weights | None = None, /) -> Values:
        return metric(split.labels, split.probability, weights)

    return measure


# In the order of tables.
METRICS: Mapping[str, Metric] = MappingProxyType(
    {metric.__name__: _of_decisions(metric) for metric in (accuracy, precision, recall, f1)}
    | {
        metric.__name__: _of_probabilities(metric)
        for metric in (roc_auc, average_precision, brier_score, calibration_error)
    }
)
