"""Means over splits with confidence intervals by image, and the difference of two methods with its p-value.

An image may be tested in several splits, so images are resampled, not rows: one resample gives each image a weight that
holds in all splits. The intervals speak of other images from the same source; how much another choice of training images
would change is not in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64, Int64

from clipsieve.errors import UsageError
from clipsieve.evaluation.bca import Distribution, distribution_of, interval_of, p_value_of, reflected
from clipsieve.evaluation.metrics import METRICS, SplitPredictions, check_splits

__all__ = [
    "Difference",
    "MetricSummary",
    "bootstrap_intervals",
    "check_same_images",
    "measure_splits",
    "paired_bootstrap",
    "summarize_splits",
]

MAX_WEIGHTS = 2**21  # held at a time: resamples x images
MAX_JACKKNIFE_GROUPS = 200
BIASED = frozenset({"calibration_error"})  # resamples exceed it as it exceeds the truth, often all of them

Splits: TypeAlias = Sequence[SplitPredictions]


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """One metric over all splits.

    Attributes
    ----------
    mean : float
        Over the splits in which it is defined; NaN if there are none.
    sd : float
        Sample standard deviation (ddof = 1) over the same splits; NaN for fewer than two.
    low, high : float
        The ends of the mean's confidence interval; see `bootstrap_intervals`.
    values : tuple of float
        One for each split, NaN where it is undefined.
    """

    mean: float
    sd: float
    low: float
    high: float
    values: tuple[float, ...]

    @property
    def n_undefined(self) -> int:
        """In how many splits the metric is undefined."""
        return int(np.isnan(self.values).sum())


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean over splits of the first method's metric less the second's, its interval, and its two-sided p-value."""

    mean: float
    low: float
    high: float
    p_value: float


def summarize_splits(
    splits: Splits, *, n_bootstrap: int = 1000, confidence: float = 0.95, seed: int = 0
) -> dict[str, MetricSummary]:
    """Return each of `METRICS` over the splits: mean, standard deviation, interval, values.

    Parameters and errors are those of `bootstrap_intervals`.
    """
    intervals = bootstrap_intervals(splits, n_bootstrap=n_bootstrap, confidence=confidence, seed=seed)
    return {
        name: _summary(values, *intervals[name]) for name, values in zip(METRICS, measure_splits(splits), strict=True)
    }


def measure_splits(splits: Splits) -> Float64[np.ndarray, "m s"]:
    """Return each of `METRICS` in each split, NaN where it is undefined."""
    return np.array([[float(metric(split)) for split in splits] for metric in METRICS.values()])


def bootstrap_intervals(
    splits: Splits, *, n_bootstrap: int = 1000, confidence: float = 0.95, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return a confidence interval of the mean over splits of each of `METRICS`.

    Bias-corrected and accelerated (Efron 1987, J. Am. Stat. Assoc. 82, 171-185), over resamples of the distinct images; the
    acceleration comes from leaving out each image (or, of more than 200, each of 200 random groups). Reflected for the
    calibration error (the basic bootstrap; Davison and Hinkley 1997, section 5.2). A resample in which a metric is
    undefined in a split counts with the other splits.

    Parameters
    ----------
    splits : sequence of SplitPredictions
        One method's. At least one.
    n_bootstrap : int, default=1000
        Resamples, >= 1.
    confidence : float, default=0.95
        Between 0 and 1.
    seed : int, default=0
        Equal seeds give equal intervals.

    Returns
    -------
    dict of str to (float, float)
        Both ends, NaN if the metric is undefined. A metric that is the same in all resamples, such as the AUC of a perfect
        ranking, has an interval without width: the data show no other value, which does not make it certain.
        A calibration error of few rows is too high; its interval corrects for that in part, but lies above 0 even where
        the probabilities are right.

    Raises
    ------
    UsageError
        If an argument is outside its range, or `check_splits` finds fault.
    """
    check_splits(splits)
    found = _resample([splits], n_bootstrap, confidence, seed)
    ends = {name: interval_of(distribution, confidence) for name, distribution in found.items()}
    # No metric is negative or above 1; a reflected limit may be.
    return {name: (float(np.maximum(low, 0.0)), float(np.minimum(high, 1.0))) for name, (low, high) in ends.items()}


def paired_bootstrap(
    first: Splits, second: Splits, *, n_bootstrap: int = 1000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Difference]:
    """Return the difference of two methods on the same images, for each of `METRICS`.

    Both methods get the same resamples. The interval is that of `bootstrap_intervals`; the p-value is twice the level at
    which its one-sided form ends at zero (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 15.4),
    with resamples of exactly no difference on both sides, so that identical predictions give 1.

    Parameters
    ----------
    first, second : sequence of SplitPredictions
        The same images in the same order in each split.
    n_bootstrap, confidence, seed
        As for `bootstrap_intervals`.

    Raises
    ------
    UsageError
        Also if the two were not tested on the same images.
    """
    check_same_images(first, second)
    found = _resample([first, second], n_bootstrap, confidence, seed)
    return {
        name: Difference(distribution.estimate, *interval_of(distribution, confidence), p_value_of(distribution))
        for name, distribution in found.items()
    }


def check_same_images(first: Splits, second: Splits) -> None:
    """Raise UsageError unless both can be evaluated and have the same images and labels, row by row."""
    check_splits(first)
    check_splits(second)
    equal = len(first) == len(second) and all(
        np.array_equal(one.image, other.image) and np.array_equal(one.labels, other.labels)
        for one, other in zip(first, second, strict=True)
    )
    if not equal:
        raise UsageError(
            "two methods were not tested on the same images",
            expected="the same splits, with the same images and labels in the same order",
            hint="evaluate both in one go",
        )


def _summary(values: Float64[np.ndarray, "s"], low: float, high: float) -> MetricSummary:
    defined = values[~np.isnan(values)]
    mean = float(defined.mean()) if len(defined) else np.nan
    sd = float(defined.std(ddof=1)) if len(defined) > 1 else np.nan
    return MetricSummary(mean, sd, low, high, tuple(values.tolist()))


def _resample(methods: Sequence[Splits], n_bootstrap: int, confidence: float, seed: int) -> dict[str, Distribution]:
    if n_bootstrap < 1 or not 0 < confidence < 1:
        raise UsageError(
            "no interval can be made",
            expected="one resample or more, and a confidence between 0 and 1",
            found=f"{n_bootstrap:,} resamples, confidence {confidence:g}",
        )
    images, place = np.unique(np.concatenate([split.image for split in methods[0]]), return_inverse=True)
    places = np.split(place, np.cumsum([len(split.image) for split in methods[0]])[:-1])
    rng = np.random.default_rng(seed)
    sources = [[np.ones((1, len(images)))], _draws(rng, len(images), n_bootstrap), _omissions(rng, len(images))]
    found = [np.concatenate([_means(methods, places, weights) for weights in source], axis=1) for source in sources]
    distributions = {name: distribution_of(*of_metric) for name, *of_metric in zip(METRICS, *found, strict=True)}
    return {name: reflected(found) if name in BIASED else found for name, found in distributions.items()}


def _draws(rng: np.random.Generator, n_images: int, n_bootstrap: int) -> Iterator[Float64[np.ndarray, "b i"]]:
    """Yield how often each image was drawn in each resample."""
    step = max(1, MAX_WEIGHTS // n_images)
    for start in range(0, n_bootstrap, step):
        n = min(step, n_bootstrap - start)
        drawn = rng.integers(n_images, size=(n, n_images)) + n_images * np.arange(n)[:, None]
        yield np.bincount(drawn.ravel(), minlength=n * n_images).reshape(n, n_images).astype(np.float64)


def _omissions(rng: np.random.Generator, n_images: int) -> Iterator[Float64[np.ndarray, "g i"]]:
    """Yield weights that leave out one group of images each."""
    n_groups = min(n_images, MAX_JACKKNIFE_GROUPS)
    group = rng.permutation(np.arange(n_images) % n_groups)
    step = max(1, MAX_WEIGHTS // n_images)
    for start in range(0, n_groups, step):
        yield (group != np.arange(start, min(start + step, n_groups))[:, None]).astype(np.float64)


def _means(
    methods: Sequence[Splits], places: Sequence[Int64[np.ndarray, "_"]], weights: Float64[np.ndarray, "b i"]
) -> Float64[np.ndarray, "m b"]:
    """Return the mean of each metric, or of the difference of two methods, over the splits in which it is defined."""
    total, n_defined = np.zeros((2, len(METRICS), len(weights)))
    for number, place in enumerate(places):
        of_rows = weights[:, place]
        found = [np.stack([metric(splits[number], of_rows) for metric in METRICS.values()]) for splits in methods]
        value = found[0] if len(found) == 1 else found[0] - found[1]
        total += np.nan_to_num(value)
        n_defined += ~np.isnan(value)
    return np.asarray(np.where(n_defined > 0, total / np.maximum(n_defined, 1), np.nan))
