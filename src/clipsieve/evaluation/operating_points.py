"""What a threshold does: what it flags, how well that is known, and what two of them decide."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from clipsieve.errors import UsageError
from clipsieve.evaluation.intervals import clopper_pearson

__all__ = [
    "Decision",
    "Observation",
    "OperatingPoint",
    "check_fraction",
    "check_labels",
    "check_probability",
    "count_flagged",
    "decide",
    "observe",
]


class Decision(enum.IntEnum):
    """What becomes of an image; the codes that `decide` returns."""

    KEEP = 0
    REVIEW = 1
    REMOVE = 2


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold that keeps a promise, and the labels that vouch for it.

    Attributes
    ----------
    threshold : float
        An image is flagged when its probability is at or above it.
    kind : str
        Of what a minimum is promised: "recall" or "precision".
    target : float
        The minimum, 0-1.
    confidence : float
        In at least this fraction of random samples of labels, the promise holds for all images they were drawn from.
    n_labels, n_unwanted, n_flagged, n_hits : int
        Labelled images; the unwanted, the flagged, and the unwanted flagged among them.
    recall, precision : float or None
        As observed on the labels, and higher than what can be promised; None for 0 of 0.
    bound : float
        What recall or precision is at least, with `confidence`; never below the target.
    """

    threshold: float
    kind: str
    target: float
    confidence: float
    n_labels: int
    n_unwanted: int
    n_flagged: int
    n_hits: int
    recall: float | None
    precision: float | None
    bound: float


@dataclass(frozen=True, slots=True)
class Observation:
    """Recall and precision of one threshold, each with its interval.

    Attributes
    ----------
    threshold, n_labels, n_unwanted, n_flagged, n_hits, recall, precision
        As for `OperatingPoint`.
    confidence : float
        Of each interval by itself, for a threshold that was not chosen on these labels.
    recall_low, recall_high, precision_low, precision_high : float
        Ends of the intervals; 0 and 1 where the fraction is 0 of 0.
    """

    threshold: float
    confidence: float
    n_labels: int
    n_unwanted: int
    n_flagged: int
    n_hits: int
    recall: float | None
    recall_low: float
    recall_high: float
    precision: float | None
    precision_low: float
    precision_high: float


def observe(
    probability: Float64[np.ndarray, "n"],
    labels: Int64[np.ndarray, "n"],
    threshold: float,
    *,
    confidence: float = 0.95,
) -> Observation:
    """Return what a threshold does on labelled images, with the intervals of Clopper and Pearson (1934, Biometrika 26).

    Parameters
    ----------
    probability : float64 array of shape (n,)
        Of the unwanted class, 0-1; n >= 1.
    labels : int64 array of shape (n,)
        1 for unwanted, 0 for wanted.
    threshold : float
        Any number, chosen without these labels: at one that was chosen because it looks good here, the intervals promise
        too much.
    confidence : float, default=0.95
        Between 0 and 1.

    Raises
    ------
    UsageError
        If a number is outside its range.

    Examples
    --------
    >>> seen = observe(np.array([0.9, 0.8, 0.7, 0.2]), np.array([1, 1, 0, 0]), 0.5)
    >>> seen.recall, round(seen.recall_low, 3), round(seen.precision, 3), round(seen.precision_high, 3)
    (1.0, 0.158, 0.667, 0.992)
    """
    check_probability(probability)
    check_labels(labels)
    check_fraction("confidence", confidence)
    _check_threshold(threshold)
    n_flagged, n_hits = count_flagged(probability, labels, threshold)
    n_unwanted = int(labels.sum())
    recall_low, recall_high = clopper_pearson(n_hits, n_unwanted, confidence)
    precision_low, precision_high = clopper_pearson(n_hits, n_flagged, confidence)
    return Observation(
        threshold=threshold,
        confidence=confidence,
        n_labels=len(labels),
        n_unwanted=n_unwanted,
        n_flagged=n_flagged,
        n_hits=n_hits,
        recall=n_hits / n_unwanted if n_unwanted else None,
        recall_low=recall_low,
        recall_high=recall_high,
        precision=n_hits / n_flagged if n_flagged else None,
        precision_low=precision_low,
        precision_high=precision_high,
    )


def decide(
    probability: Float64[np.ndarray, "n"], review_threshold: float, remove_threshold: float | None = None
) -> Int64[np.ndarray, "n"]:
    """Return for each image whether to keep, review or remove it.

    Remove at or above `remove_threshold`; else review at or above `review_threshold`; else keep.

    A promise of recall, made for the review threshold, is about all images that are not kept; a promise of precision,
    made for the remove threshold, is about those removed. Where the second threshold lies below the first, all that is
    not kept is removed, and nothing is left to review. Both promises still hold: the removed images are exactly those
    of the second promise, and include all of the first. Raising the remove threshold to the other would not do, because
    precision may fall where the threshold rises.

    Two promises of 95 % confidence hold together with 90 % at least (Bonferroni's inequality).

    Parameters
    ----------
    probability : float64 array of shape (n,)
        Of the unwanted class, 0-1; n may be 0.
    review_threshold : float
        Any number.
    remove_threshold : float, optional
        Any number; without it, nothing is removed.

    Returns
    -------
    int64 array of shape (n,)
        Codes of `Decision`.

    Raises
    ------
    UsageError
        If a probability is outside its range, or a threshold is not a number.

    Examples
    --------
    >>> [Decision(code).name for code in decide(np.array([0.1, 0.5, 0.9]), 0.4, 0.8)]
    ['KEEP', 'REVIEW', 'REMOVE']
    """
    check_probability(probability, may_be_empty=True)
    _check_threshold(review_threshold)
    codes = np.where(probability >= review_threshold, Decision.REVIEW, Decision.KEEP).astype(np.int64)
    if remove_threshold is not None:
        _check_threshold(remove_threshold)
        codes[probability >= remove_threshold] = Decision.REMOVE
    return np.asarray(codes)


def count_flagged(
    probability: Float64[np.ndarray, "n"], labels: Int64[np.ndarray, "n"], threshold: float
) -> tuple[int, int]:
    """Return how many images a threshold flags, and how many of those are unwanted."""
    flagged = probability >= threshold
    return int(flagged.sum()), int(labels[flagged].sum())


def check_probability(probability: Float64[np.ndarray, "n"], *, may_be_empty: bool = False) -> None:
    """Raise UsageError unless all are numbers from 0 to 1, and there is one."""
    if len(probability) == 0 and not may_be_empty:
        raise UsageError("there is no labelled image", expected="at least one", found="0")
    wrong = ~((probability >= 0) & (probability <= 1))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise UsageError(
            f"{int(wrong.sum()):,} of {len(probability):,} probabilities make no sense",
            expected="numbers from 0 to 1",
            found=f"{probability[first]:g} at place {first} (counted from 0)",
        )


def check_labels(labels: Int64[np.ndarray, "n"]) -> None:
    """Raise UsageError unless all are 0 or 1."""
    wrong = (labels != 0) & (labels != 1)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise UsageError(
            f"{int(wrong.sum()):,} of {len(labels):,} labels make no sense",
            expected="1 for unwanted, 0 for wanted",
            found=f"{labels[first]} at place {first} (counted from 0)",
        )


def check_fraction(name: str, value: float) -> None:
    """Raise UsageError unless 0 < value < 1."""
    if not 0 < value < 1:
        raise UsageError(f"the {name} makes no sense", expected="between 0 and 1, both excluded", found=f"{value:g}")


def _check_threshold(threshold: float) -> None:
    if np.isnan(threshold):
        raise UsageError("the threshold is not a number", expected="a number", found="NaN")
