"""How much of a data set is unwanted, from people's verdicts on a stratified random sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from clipsieve.evaluation.stratified import check_counts, count_interval

__all__ = ["Prevalence", "Recall", "estimate", "estimate_recall"]


@dataclass(frozen=True, slots=True)
class Prevalence:
    """How many of some images are unwanted.

    Attributes
    ----------
    n_images : int
        How many images there are, judged or not.
    share : float
        The estimated fraction that is unwanted, 0-1.
    low, high : float
        The ends of its interval, 0-1.
    n_unwanted : int
        The estimated number of unwanted images, rounded.
    n_unwanted_low, n_unwanted_high : int
        The ends of its interval, rounded outwards.
    confidence : float
        In about this fraction of samples, or more, the interval holds the truth; see `count_interval`.
    """

    n_images: int
    share: float
    low: float
    high: float
    n_unwanted: int
    n_unwanted_low: int
    n_unwanted_high: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Recall:
    """Which fraction of all unwanted images was flagged.

    Attributes
    ----------
    share : float or None
        The estimate, 0-1; None if no image was judged unwanted.
    low, high : float
        The ends of its interval, 0-1.
    confidence : float
        As for `Prevalence`.
    """

    share: float | None
    low: float
    high: float
    confidence: float


def estimate(
    n_hits: Int64[np.ndarray, "h"],
    n_judged: Int64[np.ndarray, "h"],
    sizes: Int64[np.ndarray, "h"],
    confidence: float = 0.95,
) -> Prevalence:
    """Estimate how many images are unwanted, from a stratified random sample.

    The share is sum W_h p_h with W_h the stratum's part of all images (Cochran 1977, "Sampling Techniques", section
    5.3); its interval is that of `count_interval`.

    Parameters
    ----------
    n_hits, n_judged, sizes : int64 arrays of shape (h,)
        Images judged unwanted, images judged at all, and images in each stratum; 0 <= n_hits <= n_judged,
        1 <= n_judged <= sizes, h >= 1. The judged images are a random sample of their stratum, without replacement.
    confidence : float, default=0.95
        Between 0 and 1.

    Raises
    ------
    UsageError
        If a number is outside its range.

    Examples
    --------
    >>> found = estimate(np.array([1, 20]), np.array([400, 40]), np.array([90_000, 1_000]))
    >>> found.n_unwanted, found.n_unwanted_low, found.n_unwanted_high
    (725, 330, 1757)
    """
    check_counts(n_hits, n_judged, sizes, confidence)
    low, high = count_interval(n_hits.astype(np.float64), n_judged, sizes, confidence)
    n_images, n_unwanted = int(sizes.sum()), float((sizes * (n_hits / n_judged)).sum())
    return Prevalence(
        n_images=n_images,
        share=n_unwanted / n_images,
        low=float(low) / n_images,
        high=float(high) / n_images,
        n_unwanted=round(n_unwanted),
        n_unwanted_low=int(low),
        n_unwanted_high=int(high),
        confidence=confidence,
    )


def estimate_recall(
    n_hits: Int64[np.ndarray, "h"],
    n_judged: Int64[np.ndarray, "h"],
    sizes: Int64[np.ndarray, "h"],
    flagged: Bool[np.ndarray, "h"],
    confidence: float = 0.95,
) -> Recall:
    """Estimate which fraction of all unwanted images was flagged; each stratum is flagged as a whole or not at all.

    Recall is F / (F + M), with F the unwanted images among the flagged and M those missed. It grows with F and falls with
    M: with an interval for each at (1 + confidence) / 2, both hold together at `confidence` (Bonferroni's inequality),
    and so does the interval of recall between their opposite ends. It is wider than it needs to be.

    Parameters
    ----------
    n_hits, n_judged, sizes, confidence
        As for `estimate`.
    flagged : bool array of shape (h,)
        Whether the stratum's images were flagged.

    Raises
    ------
    UsageError
        If a number is outside its range.
    """
    check_counts(n_hits, n_judged, sizes, confidence)
    found, low, high = [], [], []
    for part in (flagged, ~flagged):
        counts = n_hits[part].astype(np.float64), n_judged[part], sizes[part]
        ends = count_interval(*counts, (1 + confidence) / 2)
        found.append(float((counts[2] * (counts[0] / counts[1])).sum()))
        low.append(float(ends[0]))
        high.append(float(ends[1]))
    return Recall(
        share=found[0] / sum(found) if sum(found) else None,
        low=low[0] / (low[0] + high[1]) if low[0] else 0.0,
        high=high[0] / (high[0] + low[1]) if low[1] else 1.0,
        confidence=confidence,
    )
