"""Which images people should judge: strata, and how many of each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int64

from clipsieve.errors import UsageError
from clipsieve.evaluation.stratified import check_counts, count_interval

__all__ = ["choose_strata", "plan_sample"]

N_BINS = 1000
HIGHEST_FLOOR = 0.01
HIGHEST_RATE = 0.5


def choose_strata(probability: Float64[np.ndarray, "n"], max_strata: int = 5) -> Int64[np.ndarray, "n"]:
    """Sort images into strata by their probability of being unwanted.

    The rule of the cumulative square root of the frequency (Dalenius and Hodges 1959, "Minimum variance stratification",
    J. Am. Stat. Assoc. 54), over 1000 bins from the lowest probability to the highest.

    Parameters
    ----------
    probability : float64 array of shape (n,)
        Any finite numbers, n >= 0; only their order and distances count.
    max_strata : int, default=5
        The most strata, >= 1. There are fewer if the probabilities lie in fewer heaps.

    Returns
    -------
    int64 array of shape (n,)
        0 for the lowest probabilities; every number up to the highest occurs.

    Raises
    ------
    UsageError
        If a probability is not finite, or `max_strata` is below 1.

    Examples
    --------
    >>> choose_strata(np.array([0.9, 0.01, 0.02, 0.8, 0.01]), max_strata=2)
    array([1, 0, 0, 1, 0])
    """
    if max_strata < 1:
        raise UsageError("there must be a stratum", expected="max_strata >= 1", found=f"{max_strata}")
    if not np.isfinite(probability).all():
        raise UsageError("a probability is not a finite number", expected="numbers from 0 to 1")
    if len(probability) == 0 or np.ptp(probability) == 0:
        return np.zeros(len(probability), dtype=np.int64)
    place = (probability - probability.min()) / np.ptp(probability)
    bins = np.minimum((place * N_BINS).astype(np.int64), N_BINS - 1)
    root = np.sqrt(np.bincount(bins, minlength=N_BINS))
    # The middle of a bin's stretch decides, so that each boundary is the one nearest to an equal division.
    middle = np.cumsum(root) - root / 2
    stratum_of_bin = np.floor(max_strata * middle / root.sum())
    return np.asarray(np.unique(stratum_of_bin[bins], return_inverse=True)[1], dtype=np.int64)


def plan_sample(
    sizes: Int64[np.ndarray, "h"],
    expected_rates: Float64[np.ndarray, "h"],
    width: float,
    confidence: float = 0.95,
    min_per_stratum: int = 30,
) -> Int64[np.ndarray, "h"]:
    """Return how many images of each stratum to judge.

    The fewest under Neyman's allocation, in proportion to N_h sqrt(p_h (1 - p_h)) (Neyman 1934, "On the two different
    aspects of the representative method", J. R. Stat. Soc. 97), for which the interval at the expected counts is no
    wider than asked. A classifier's probability is no promise: expected rates below 0.01, or half the width if that is
    less, count as that, and rates above 1/2 as 1/2, where an interval is widest. So no stratum is passed over because its
    scores look certain, and flags may be wrong without the interval becoming wider than planned.

    Parameters
    ----------
    sizes : int64 array of shape (h,)
        Images in each stratum, >= 1.
    expected_rates : float64 array of shape (h,)
        Which fraction of each may be unwanted, 0-1.
    width : float
        Of the whole interval, as a share of all images, 0 < width < 1.
    confidence : float, default=0.95
        Between 0 and 1.
    min_per_stratum : int, default=30
        The fewest to judge in each stratum, >= 1; all of a smaller one.

    Returns
    -------
    int64 array of shape (h,)
        At least 1 and never more than the stratum holds.

    Raises
    ------
    UsageError
        If a number is outside its range.
    """
    if not 0 < width < 1:
        raise UsageError("the width makes no sense", expected="between 0 and 1", found=f"{width:g}")
    if min_per_stratum < 1 or not ((expected_rates >= 0) & (expected_rates <= 1)).all():
        raise UsageError("the plan makes no sense", expected="rates from 0 to 1 and at least one image per stratum")
    least = np.minimum(min_per_stratum, sizes)
    check_counts(np.zeros_like(sizes), least, sizes, confidence)
    floor = min(HIGHEST_FLOOR, width / 2)
    rates = np.clip(expected_rates, floor, HIGHEST_RATE)
    share = sizes * np.sqrt(rates * (1 - rates))

    def allocate(scale: float) -> Int64[np.ndarray, "h"]:
        return np.asarray(np.clip(np.ceil(scale * share).astype(np.int64), least, sizes))

    def suffices(scale: float) -> bool:
        n_judged = allocate(scale)
        low, high = count_interval(rates * n_judged, n_judged, sizes, confidence)
        return bool(high - low <= width * sizes.sum())

    return allocate(_smallest(suffices, highest=float((sizes / share).max())))


def _smallest(suffices: Callable[[float], bool], highest: float) -> float:
    """Return the smallest scale that suffices, by bisection; the highest stands for judging everything."""
    lowest = 0.0
    if suffices(lowest):
        return lowest
    for _ in range(60):
        middle = (lowest + highest) / 2
        lowest, highest = (lowest, middle) if suffices(middle) else (middle, highest)
    return highest
