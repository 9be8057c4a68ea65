"""Which thresholds are tried for a promise of precision, at which level, and which of them pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

__all__ = [
    "Ladder",
    "count_above",
    "fewest_flagged",
    "labels_needed",
    "ladder_of_ranks",
    "ladder_of_scores",
    "lower_bound",
    "passing",
]

# These change how often a promise can be made, never whether it is kept. They were chosen on simulated scores, 300 to 2,500
# labels, 3 to 70 % unwanted. Fewer starts gain a little where scores are good, and lose all where a few wanted images are
# among the very highest, since a chain that breaks there finds no other start in time.
RANK_RATIO = 1.5
START_RATIO = 2.0
STEPS_PER_START = 6
START_MARGIN = 1.3  # room for one or two wanted images among the flagged of the first start


@dataclass(frozen=True, slots=True)
class Ladder:
    """Thresholds in the order in which they are tried, from the highest down.

    Attributes
    ----------
    thresholds : float64 array of shape (m,)
        Descending; one may occur twice.
    levels : float64 array of shape (m,)
        What each may spend of 1 - confidence by itself, >= 0; they add up to 1 - confidence at most.
    is_chain : bool
        Whether a threshold that passes hands its level on to the next.
    """

    thresholds: Float64[np.ndarray, "m"]
    levels: Float64[np.ndarray, "m"]
    is_chain: bool


def ladder_of_scores(scores: Float64[np.ndarray, "s"], n_labels: int, precision: float, tail: float) -> Ladder:
    """Return a ladder with several starts over quantiles of scores that do not depend on the labelled images.

    The shares that are flagged rise by a constant factor. The first start is where just enough labels are expected for a
    promise; there is another wherever twice as many are flagged.
    """
    n_starts = 1
    while True:
        first = START_MARGIN * fewest_flagged(precision, tail / n_starts)
        enough = math.ceil(math.log(max(n_labels / first, 1.0)) / math.log(START_RATIO))
        if enough <= n_starts:
            break
        n_starts += 1
    shares = np.geomspace(min(first / n_labels, 1.0), 1.0, n_starts * STEPS_PER_START + 1)
    places = np.clip(np.ceil(shares * len(scores)).astype(np.int64), 1, len(scores)) - 1
    levels = np.zeros(len(shares))
    levels[:-1:STEPS_PER_START] = tail / n_starts
    # Where scores are tied, several shares are one threshold, which then has the level of them all.
    distinct, which = np.unique(-np.sort(scores)[::-1][places], return_inverse=True)
    return Ladder(-distinct, np.bincount(which, weights=levels), is_chain=True)


def ladder_of_ranks(probability: Float64[np.ndarray, "n"], precision: float, tail: float) -> Ladder:
    """Return a ladder over ranks of the labelled images' own scores, fixed by n, the precision and the level alone.

    Rank k stands for "flag what is strictly above the (k + 1)-th highest score". With that score given, the images
    above it are independent draws from all that are, whatever ties there are; the image at the boundary is not, and is
    left out. The last rank, n, flags everything.
    """
    n = len(probability)
    ranks = np.array([n], dtype=np.int64)
    # Each further rank leaves less to all of them, so that more images must be flagged: as many ranks as fit.
    for n_ranks in range(1, n + 1):
        first = fewest_flagged(precision, tail / n_ranks)
        if first * RANK_RATIO ** (n_ranks - 1) > n:
            break
        ranks = np.unique(np.round(np.geomspace(first, n, n_ranks)).astype(np.int64))
    descending = np.sort(probability)[::-1]
    above = np.nextafter(descending[np.minimum(ranks, n - 1)], np.inf)
    thresholds = np.where(ranks == n, 0.0, above)
    return Ladder(thresholds, np.full(len(ranks), tail / len(ranks)), is_chain=False)


def fewest_flagged(precision: float, tail: float) -> int:
    """Return the smallest n with precision**n <= tail: fewer flagged images promise nothing even if all are unwanted."""
    return max(1, math.ceil(math.log(tail) / math.log(precision) - 1e-9))


def count_above(
    probability: Float64[np.ndarray, "n"], labels: Int64[np.ndarray, "n"], thresholds: Float64[np.ndarray, "m"]
) -> tuple[Int64[np.ndarray, "m"], Int64[np.ndarray, "m"]]:
    """Return how many labelled images each threshold flags, and how many of those are unwanted."""
    order = np.argsort(probability)
    below = np.searchsorted(probability[order], thresholds, side="left")
    n_hits = int(labels.sum()) - np.concatenate([[0], np.cumsum(labels[order])])[below]
    return np.asarray(len(probability) - below, dtype=np.int64), np.asarray(n_hits, dtype=np.int64)


def passing(
    ladder: Ladder, n_flagged: Int64[np.ndarray, "m"], n_hits: Int64[np.ndarray, "m"], precision: float
) -> Bool[np.ndarray, "m"]:
    """Return which thresholds pass: the binomial probability of so many hits is within the level they have."""
    tails = _binomial_tail(n_hits.astype(np.float64), n_flagged.astype(np.float64), precision)
    passed = np.zeros(len(tails), dtype=bool)
    inherited = 0.0
    for i, (tail, own) in enumerate(zip(tails.tolist(), ladder.levels.tolist(), strict=True)):
        level = own + inherited
        passed[i] = level > 0 and tail <= level
        inherited = level if passed[i] and ladder.is_chain else 0.0
    return passed


def _binomial_tail(
    n_hits: Float64[np.ndarray, "m"], n_flagged: Float64[np.ndarray, "m"], rate: float
) -> Float64[np.ndarray, "m"]:
    """Return P(Binomial(n_flagged, rate) >= n_hits), for fractions as well (DLMF 8.17.5)."""
    from scipy.special import betainc

    some = n_hits > 0
    return np.asarray(np.where(some, betainc(np.where(some, n_hits, 1.0), n_flagged - n_hits + 1, rate), 1.0))


def lower_bound(
    n_flagged: Int64[np.ndarray, "m"], n_hits: Int64[np.ndarray, "m"], levels: Float64[np.ndarray, "m"]
) -> Float64[np.ndarray, "m"]:
    """Return the one-sided lower limits of precision (Clopper and Pearson 1934), each at its own level; 0 at level 0."""
    from scipy.special import betaincinv

    some = (n_hits > 0) & (levels > 0)
    limits = betaincinv(np.where(some, n_hits, 1), n_flagged - n_hits + 1, np.where(some, levels, 0.5))
    return np.asarray(np.where(some, limits, 0.0))


def labels_needed(
    probability: Float64[np.ndarray, "n"], labels: Int64[np.ndarray, "n"], precision: float, level: float
) -> int | None:
    """Return about how many labels would do if precision stays as observed; None if it is too low everywhere.

    As a few flagged images that happen to be all unwanted say little, half an image of each kind is counted with them: the
    mean under the prior of Jeffreys (1946, Proc. R. Soc. A 186).
    """
    n_flagged, n_hits = count_above(probability, labels, np.unique(probability))
    observed = (n_hits + 0.5) / (n_flagged + 1)
    enough = observed > precision
    if not enough.any():
        return None
    observed, n_flagged = observed[enough], n_flagged[enough]
    low, high = np.zeros(len(observed)), np.full(len(observed), 32.0)  # as powers of 2
    for _ in range(16):  # to within a thousandth
        middle = (low + high) / 2
        suffices = _binomial_tail(observed * 2**middle, 2**middle, precision) <= level
        low, high = np.where(suffices, low, middle), np.where(suffices, middle, high)
    least = float((2**high / n_flagged).min()) * len(labels)
    unit = int(10 ** max(0, math.floor(math.log10(least)) - 1))
    return math.ceil(least / unit) * unit
