"""Intervals of a proportion, from hits among trials."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64

from clipsieve.errors import UsageError

__all__ = ["clopper_pearson", "wilson", "wilson_at"]


def wilson(
    n_hits: Int64[np.ndarray, "*shape"], n: Int64[np.ndarray, "*shape"], confidence: float = 0.95
) -> tuple[Float64[np.ndarray, "*shape"], Float64[np.ndarray, "*shape"]]:
    """Return the score interval of each proportion.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference", J. Am. Stat. Assoc. 22. Its
    coverage is near the level on average, and not guaranteed for every true share; see `clopper_pearson`.

    Parameters
    ----------
    n_hits, n : int64 arrays of the same shape
        Hits among trials, 0 <= n_hits <= n.
    confidence : float, default=0.95
        Between 0 and 1.

    Returns
    -------
    low, high : float64 arrays of that shape
        0-1; 0 and 1 where n is 0.

    Raises
    ------
    UsageError
        If a number is outside its range.

    Examples
    --------
    >>> low, high = wilson(np.array([3, 90]), np.array([3, 100]))
    >>> low.round(2), high.round(2)
    (array([0.44, 0.83]), array([1.  , 0.94]))
    """
    from scipy.special import ndtri

    if not 0 < confidence < 1:
        raise UsageError("the confidence makes no sense", expected="between 0 and 1", found=f"{confidence:g}")
    return wilson_at(n_hits, n, float(ndtri((1 + confidence) / 2)))


def wilson_at(
    n_hits: Int64[np.ndarray, "*shape"], n: Int64[np.ndarray, "*shape"], z: float
) -> tuple[Float64[np.ndarray, "*shape"], Float64[np.ndarray, "*shape"]]:
    """Return the same for a quantile `z` of the normal distribution, > 0; errors as for `wilson`."""
    if not ((n_hits >= 0) & (n_hits <= n)).all():
        raise UsageError("the counts contradict each other", expected="0 <= hits <= trials")
    trials = np.maximum(n, 1).astype(np.float64)
    share = n_hits / trials
    centre = share + z * z / (2 * trials)
    margin = z * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # At the edges the ends are exact, and what floating point leaves of them is not.
    low = np.where(n_hits == 0, 0.0, np.maximum(0.0, (centre - margin) / scale))
    high = np.where(n_hits == n, 1.0, np.minimum(1.0, (centre + margin) / scale))
    return np.asarray(low), np.asarray(high)


def clopper_pearson(n_hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of a proportion that holds the truth at least as often as it says.

    Clopper and Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 26: quantiles of beta distributions.

    Parameters
    ----------
    n_hits, n : int
        Hits among trials, 0 <= n_hits <= n.
    confidence : float, default=0.95
        Between 0 and 1.

    Returns
    -------
    low, high : float
        0-1; 0 and 1 where n is 0.

    Examples
    --------
    >>> low, high = clopper_pearson(2, 2)
    >>> round(low, 3), high
    (0.158, 1.0)
    """
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = betaincinv(n_hits, n - n_hits + 1, tail) if n_hits else 0.0
    high = betaincinv(n_hits + 1, n - n_hits, 1 - tail) if n_hits < n else 1.0
    return float(low), float(high)
