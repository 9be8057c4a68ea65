"""Whether one method is better than another on the same splits: three tests, with what each of them takes for chance.

The paired bootstrap and McNemar's test ask whether other images would turn the result; the corrected t-test asks whether other
splits into training and test images would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64

from clipsieve.errors import UsageError
from clipsieve.evaluation.bootstrap import Difference, check_same_images, measure_splits, paired_bootstrap
from clipsieve.evaluation.metrics import METRICS, SplitPredictions

__all__ = ["Comparison", "McNemar", "MetricComparison", "compare_methods", "corrected_t_test", "mcnemar_test"]

ROUNDING = 1e-12  # below it, differences are equal

Splits: TypeAlias = Sequence[SplitPredictions]


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """One metric of two methods.

    Attributes
    ----------
    first, second : float
        The mean over the splits in which both have it; NaN if there are none.
    difference : float
        The first less the second.
    low, high : float
        The ends of the difference's confidence interval, by image.
    bootstrap_p_value : float
        Of no difference, by image; see `paired_bootstrap`.
    t_p_value : float
        Of no difference, by split; see `corrected_t_test`.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    bootstrap_p_value: float
    t_p_value: float


@dataclass(frozen=True, slots=True)
class McNemar:
    """On how many images only the first, or only the second, method was right, and the two-sided p-value of chance."""

    n_only_first: int
    n_only_second: int
    p_value: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two methods on the same splits.

    Attributes
    ----------
    n_splits, n_images : int
        Splits, and distinct images tested in them.
    metrics : mapping of str to MetricComparison
        For each of `METRICS`, in that order.
    mcnemar : McNemar
        Of the decisions; see `mcnemar_test`.
    """

    n_splits: int
    n_images: int
    metrics: Mapping[str, MetricComparison]
    mcnemar: McNemar


def compare_methods(
    first: Splits,
    second: Splits,
    *,
    test_train_ratio: float | None = None,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare two methods on the same splits.

    None of the p-values is corrected for the number of metrics or of methods compared.

    Parameters
    ----------
    first, second : sequence of SplitPredictions
        The same images in the same order in each split.
    test_train_ratio : float, optional
        Test images over training images, > 0, for the t-test. By default from the splits, with the fewer training images if
        the methods differ; where neither method was trained, or all splits test the same images, the t-test gives NaN.
    n_bootstrap, confidence, seed
        As for `paired_bootstrap`.

    Raises
    ------
    UsageError
        If the two were not tested on the same images, or an argument is outside its range.
    """
    if test_train_ratio is not None and not 0 < test_train_ratio < np.inf:
        raise UsageError(
            "the ratio of test to training images makes no sense", expected="> 0", found=f"{test_train_ratio}"
        )
    differences = paired_bootstrap(first, second, n_bootstrap=n_bootstrap, confidence=confidence, seed=seed)
    ratio = _ratio_of(first, second) if test_train_ratio is None else test_train_ratio
    values = zip(METRICS, measure_splits(first), measure_splits(second), strict=True)
    return Comparison(
        n_splits=len(first),
        n_images=len(np.unique(np.concatenate([split.image for split in first]))),
        metrics={name: _compare(one, other, differences[name], ratio) for name, one, other in values},
        mcnemar=mcnemar_test(first, second),
    )


def corrected_t_test(differences: Float64[np.ndarray, "s"], test_train_ratio: float) -> float:
    """Return the two-sided p-value of a mean difference of zero, over splits with overlapping training images.

    The corrected resampled t-test (Nadeau and Bengio 2003, Mach. Learn. 52, 239-281): t with s - 1 degrees of
    freedom, the variance of the mean being (1/s + n_test/n_train) times the sample variance. Cautious where training images
    are a small part of all, because their sets then overlap less than the correction takes for granted.

    Parameters
    ----------
    differences : float64 array of shape (s,)
        One for each split; NaN is left out.
    test_train_ratio : float
        n_test / n_train; NaN if it is not known.

    Returns
    -------
    float
        1 if all differences are 0. NaN for fewer than two splits, an unknown ratio, or differences that are all equal and
        not 0, since nothing then tells how much they vary.
    """
    from scipy.stats import t

    defined = differences[~np.isnan(differences)]
    if len(defined) and not defined.any():
        return 1.0
    variance = (1 / len(defined) + test_train_ratio) * defined.var(ddof=1) if len(defined) > 1 else 0.0
    if not variance > ROUNDING**2:
        return np.nan
    return float(2 * t.sf(abs(defined.mean()) / np.sqrt(variance), len(defined) - 1))


def mcnemar_test(first: Splits, second: Splits) -> McNemar:
    """Return how often only one method was right, and the exact p-value of such a division by chance.

    McNemar 1947, Psychometrika 12, 153-157, in the exact binomial form. An image that was tested in several splits counts
    once: for the method that was right in more of them, and for neither if both were right equally often (a sign test, which
    for one test of each image is McNemar's).

    Raises
    ------
    UsageError
        If the two were not tested on the same images.
    """
    from scipy.stats import binomtest

    check_same_images(first, second)
    image = np.concatenate([split.image for split in first])
    lead = np.concatenate(
        [_right(one).astype(np.int64) - _right(other) for one, other in zip(first, second, strict=True)]
    )
    of_image = _sum_by_image(image, lead)
    n_first, n_second = int((of_image > 0).sum()), int((of_image < 0).sum())
    n_either = n_first + n_second
    return McNemar(n_first, n_second, float(binomtest(n_first, n_either).pvalue) if n_either else 1.0)


def _right(split: SplitPredictions) -> Bool[np.ndarray, "n"]:
    return np.asarray((split.labels == 1) == split.flagged)


def _sum_by_image(image: Int64[np.ndarray, "n"], lead: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "i"]:
    images, place = np.unique(image, return_inverse=True)
    total = np.zeros(len(images), dtype=np.int64)
    np.add.at(total, place, lead)
    return total


def _ratio_of(first: Splits, second: Splits) -> float:
    """Return test images over training images, the fewer of both methods.

    NaN if neither was trained, and where every split has the same test images: the correction is for tests that vary.
    """
    if len(first) > 1 and all(np.array_equal(split.image, first[0].image) for split in first):
        return np.nan
    n_test = sum(len(split.image) for split in first)
    n_train = [total for total in (sum(split.n_train for split in splits) for splits in (first, second)) if total > 0]
    return n_test / min(n_train) if n_train else np.nan


def _compare(
    first: Float64[np.ndarray, "s"], second: Float64[np.ndarray, "s"], difference: Difference, ratio: float
) -> MetricComparison:
    both = ~np.isnan(first - second)
    return MetricComparison(
        first=float(first[both].mean()) if both.any() else np.nan,
        second=float(second[both].mean()) if both.any() else np.nan,
        difference=difference.mean,
        low=difference.low,
        high=difference.high,
        bootstrap_p_value=difference.p_value,
        t_p_value=corrected_t_test(first - second, ratio),
    )
