"""Which classes are flagged more often than the rest, in an order that small classes cannot lead by luck."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from clipsieve.errors import UsageError
from clipsieve.evaluation.intervals import wilson

__all__ = ["ClassRates", "adjust_for_number", "more_often_than_rest", "rate_classes"]


@dataclass(frozen=True, slots=True)
class ClassRates:
    """What is known of each of k classes, in the order that they were given in.

    Attributes
    ----------
    share, low, high : float64 arrays of shape (k,)
        Flagged share and its score interval, 0-1; see `wilson`.
    p_value : float64 array of shape (k,)
        See `more_often_than_rest`.
    q_value : float64 array of shape (k,)
        See `adjust_for_number`.
    order : int64 array of shape (k,)
        The classes by q-value, the smallest first; equal ones by `low`, the highest first, then as they were given.
    """

    share: Float64[np.ndarray, "k"]
    low: Float64[np.ndarray, "k"]
    high: Float64[np.ndarray, "k"]
    p_value: Float64[np.ndarray, "k"]
    q_value: Float64[np.ndarray, "k"]
    order: Int64[np.ndarray, "k"]


def rate_classes(
    n_scored: Int64[np.ndarray, "k"],
    n_flagged: Int64[np.ndarray, "k"],
    *,
    n_all: int,
    n_all_flagged: int,
    confidence: float = 0.95,
) -> ClassRates:
    """Rate every class against the rest of the data set.

    Parameters
    ----------
    n_scored, n_flagged : int64 arrays of shape (k,)
        Images of each class, and the flagged ones of them; 0 <= n_flagged <= n_scored, n_scored >= 1. k may be 0.
    n_all, n_all_flagged : int
        The same of the whole data set, with those images that have no class.
    confidence : float, default=0.95
        Of each interval by itself, between 0 and 1.

    Raises
    ------
    UsageError
        If the counts contradict each other.

    Examples
    --------
    >>> rates = rate_classes(np.array([3, 100]), np.array([3, 60]), n_all=1000, n_all_flagged=100)
    >>> rates.order, rates.share.round(2)
    (array([1, 0]), array([1. , 0.6]))
    """
    if len(n_scored) and int(n_scored.min()) < 1:
        raise UsageError("the counts contradict each other", expected="at least one image in every class")
    low, high = wilson(n_flagged, n_scored, confidence)
    p_value = more_often_than_rest(n_scored, n_flagged, n_all=n_all, n_all_flagged=n_all_flagged)
    q_value = adjust_for_number(p_value)
    order = np.lexsort((-low, q_value))
    return ClassRates(n_flagged / np.maximum(n_scored, 1), low, high, p_value, q_value, order)


def more_often_than_rest(
    n_scored: Int64[np.ndarray, "k"], n_flagged: Int64[np.ndarray, "k"], *, n_all: int, n_all_flagged: int
) -> Float64[np.ndarray, "k"]:
    """Return the one-sided p-value of Fisher's exact test that a class is flagged no more often than the rest.

    The chance that at least `n_flagged` of `n_scored` images, drawn from all without replacement, are flagged ones: the upper
    tail of the hypergeometric distribution (Fisher 1935, "The logic of inductive inference", J. R. Stat. Soc. 98).

    Parameters
    ----------
    n_scored, n_flagged, n_all, n_all_flagged
        As for `rate_classes`.

    Returns
    -------
    float64 array of shape (k,)
        0-1; 0 where it is smaller than any number.
    """
    fits = (n_flagged <= n_all_flagged) & (n_scored - n_flagged <= n_all - n_all_flagged)
    if not fits.all() or not 0 <= n_all_flagged <= n_all:
        raise UsageError("the counts contradict each other", expected="no class with more images than all together")
    from scipy.stats import hypergeom

    # Many classes have the same counts, and each tail is a sum over up to n_scored terms.
    pairs, places = np.unique(np.stack([n_scored, n_flagged]), axis=1, return_inverse=True)
    tails = hypergeom.sf(pairs[1] - 1, n_all, n_all_flagged, pairs[0]) if len(n_scored) else np.zeros(0)
    return np.asarray(np.clip(tails, 0.0, 1.0)[places.reshape(-1)], dtype=np.float64)


def adjust_for_number(p_value: Float64[np.ndarray, "k"]) -> Float64[np.ndarray, "k"]:
    """Return q-values: whoever takes all classes with q < 0.05 takes at most 5 % wrong ones, on average.

    Benjamini and Hochberg 1995, "Controlling the false discovery rate", J. R. Stat. Soc. B 57: the smallest p_(j) k / j over
    all j from the rank of the value on. It holds for independent tests; here they share their images, and
    depend on each other weakly and negatively.

    Parameters
    ----------
    p_value : float64 array of shape (k,)
        0-1.

    Returns
    -------
    float64 array of shape (k,)
        0-1, in the order that the p-values were given in.

    Examples
    --------
    >>> adjust_for_number(np.array([0.01, 0.5, 0.02])).round(3)
    array([0.03, 0.5 , 0.03])
    """
    k = len(p_value)
    order = np.argsort(p_value, kind="stable")
    raised = p_value[order] * k / np.arange(1, k + 1)
    q_value = np.empty(k)
    q_value[order] = np.minimum.accumulate(raised[::-1])[::-1]
    return np.minimum(q_value, 1.0)
