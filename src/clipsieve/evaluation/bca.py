"""From a bootstrap distribution to an interval and a p-value.

Bias-corrected and accelerated (Efron 1987, "Better bootstrap confidence intervals", J. Am. Stat. Assoc. 82, 171-185), or
reflected, for a statistic with so much bias that nearly all resamples lie on one side of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

__all__ = ["Distribution", "distribution_of", "interval_of", "p_value_of", "reflected"]

LEAST_SLOPE = 0.1  # keeps the correction in order with a handful of images, where the acceleration is no longer small
TOLERANCE = 1e-12  # below it, two values of a metric differ by rounding alone


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """A statistic as measured and as resampled.

    Attributes
    ----------
    estimate : float
        Of the sample itself; NaN where it is undefined.
    resamples : float64 array of shape (b,)
        Of those resamples in which it is defined.
    bias : float
        The normal quantile of the share of resamples below the estimate (Efron's z0).
    acceleration : float
        How fast the standard error changes with the statistic (Efron's a).
    """

    estimate: float
    resamples: Float64[np.ndarray, "b"]
    bias: float
    acceleration: float


def distribution_of(
    whole: Float64[np.ndarray, "1"], resamples: Float64[np.ndarray, "b"], left_out: Float64[np.ndarray, "g"]
) -> Distribution:
    """Return the distribution of a statistic, with what corrects it.

    Parameters
    ----------
    whole : float64 array of shape (1,)
        The statistic of the sample.
    resamples : float64 array of shape (b,)
        That of each resample; NaN where it is undefined.
    left_out : float64 array of shape (g,)
        That of the sample without one of its units, or without one of equal random groups of them. The acceleration is
        their skewness over 6 (Efron and Tibshirani 1993, equation 14.15); 0 where nothing varies.
    """
    from scipy.special import ndtri

    estimate, resamples, left_out = float(whole[0]), resamples[~np.isnan(resamples)], left_out[~np.isnan(left_out)]
    if np.isnan(estimate) or len(resamples) == 0:
        return Distribution(np.nan, np.empty(0), 0.0, 0.0)
    below = (resamples < estimate - TOLERANCE).sum() + (np.abs(resamples - estimate) <= TOLERANCE).sum() / 2
    bias = float(ndtri(np.clip(below / len(resamples), *_extremes(len(resamples)))))
    spread = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    spread[np.abs(spread) <= TOLERANCE] = 0.0
    scale = 6 * (spread**2).sum() ** 1.5
    return Distribution(estimate, resamples, bias, float((spread**3).sum() / scale) if scale > 0 else 0.0)


def reflected(found: Distribution) -> Distribution:
    """Return the distribution whose interval is that of the basic bootstrap (Davison and Hinkley 1997, section 5.2).

    A statistic that exceeds the truth by its bias is exceeded by its resamples as much: they are mirrored at the estimate.
    """
    return Distribution(found.estimate, 2 * found.estimate - found.resamples, 0.0, 0.0)


def _extremes(n_bootstrap: int) -> tuple[float, float]:
    """Return the least and greatest share that so many resamples can tell from 0 and 1."""
    return 1 / (n_bootstrap + 1), n_bootstrap / (n_bootstrap + 1)


def interval_of(found: Distribution, confidence: float) -> tuple[float, float]:
    """Return both ends of the interval (Efron and Tibshirani 1993, equation 14.10); NaN if the estimate is NaN."""
    from scipy.special import ndtr, ndtri

    if np.isnan(found.estimate):
        return np.nan, np.nan
    shift = found.bias + ndtri(np.array([1 - confidence, 1 + confidence]) / 2)
    levels = ndtr(found.bias + shift / np.maximum(1 - found.acceleration * shift, LEAST_SLOPE))
    low, high = np.quantile(found.resamples, levels)
    # Where every resample is worse than the sample, as with calibration errors near 0, none of them may be an end.
    return float(min(low, found.estimate)), float(max(high, found.estimate))


def p_value_of(found: Distribution) -> float:
    """Return the two-sided p-value of the statistic being 0; NaN if the estimate is NaN.

    Twice the level at which the one-sided interval ends at 0 (Efron and Tibshirani 1993, section 15.4). Resamples of
    exactly 0 count on both sides, so that a statistic that is always 0 gives 1. Never below what so many resamples show.
    """
    from scipy.special import ndtr, ndtri

    if np.isnan(found.estimate):
        return np.nan
    least, most = _extremes(len(found.resamples))
    shares = np.array([(found.resamples <= TOLERANCE).mean(), (found.resamples >= -TOLERANCE).mean()])
    sides = np.array([1.0, -1.0])
    distance = sides * ndtri(np.clip(shares, least, most)) - found.bias
    tails = ndtr(sides * (distance / np.maximum(1 + found.acceleration * distance, LEAST_SLOPE) - found.bias))
    return float(np.clip(2 * tails.min(), 2 * least, 1.0))
