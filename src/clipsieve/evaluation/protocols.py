"""Which rated images to train on and which to test on: the paper's random splits, disjoint folds, and splits made beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from clipsieve.errors import UsageError

__all__ = ["Split", "hold_out_splits", "kfold_splits", "paper_splits"]

TRAIN = "train"
SIZES = "leave out the fractions nearest to 0 % or to 100 %"


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One division of the images.

    Attributes
    ----------
    number : int
        From 0.
    fraction : float
        Which part of the training images is used, above 0 and up to 1.
    train, test : int64 arrays
        Positions of images; no image is in both.
    test_name : str
        Which test set it is, where there are several; else empty.
    """

    number: int
    fraction: float
    train: Int64[np.ndarray, "t"]
    test: Int64[np.ndarray, "u"]
    test_name: str = ""


def paper_splits(
    rating: Float64[np.ndarray, "n"],
    labels: Int64[np.ndarray, "n"],
    fractions: Sequence[float] = (1.0,),
    *,
    n_splits: int = 10,
    test_share: float = 0.1,
    seed: int = 42,
) -> list[Split]:
    """Return the splits of the published figures.

    scikit-learn's StratifiedShuffleSplit over the kept images in the order of the norms file, stratified by the rating rounded
    to a whole number; the training fraction is drawn from the rest in the same way, with one split (Schramowski and Kersting
    2021, arXiv:2110.04222, section 3, and the code published with it). They overlap: an image may be tested several times.

    Parameters
    ----------
    rating : float64 array of shape (n,)
        NaN where there are labels alone, which then are the strata.
    labels : int64 array of shape (n,)
        1 unwanted, 0 wanted.
    fractions : sequence of float
        Above 0 and up to 1.
    n_splits, test_share, seed
        The published values by default.

    Raises
    ------
    UsageError
        If a stratum has fewer than two images, or a fraction or the images are too few for one of each stratum.
    """
    from sklearn.model_selection import StratifiedShuffleSplit

    _check(labels, fractions, n_splits)
    strata = np.where(np.isnan(rating), labels, np.rint(np.nan_to_num(rating))).astype(np.int64)
    splitter = StratifiedShuffleSplit(n_splits=n_splits, test_size=test_share, random_state=seed)
    with _words("the paper's protocol", f"{SIZES}; or try `--protocol kfold`, whose strata are the two labels"):
        return [
            Split(number, fraction, _draw(rest, strata, fraction, seed), test)
            for number, (rest, test) in enumerate(splitter.split(strata, strata))
            for fraction in fractions
        ]


def kfold_splits(
    labels: Int64[np.ndarray, "n"], fractions: Sequence[float] = (1.0,), *, n_folds: int = 10, seed: int = 42
) -> list[Split]:
    """Return disjoint folds, each with about the same share of unwanted images (scikit-learn's StratifiedKFold).

    Every image is tested exactly once; the training fraction is drawn from the other folds, stratified by label.

    Parameters
    ----------
    labels : int64 array of shape (n,)
        1 unwanted, 0 wanted; at least `n_folds` of each.
    fractions : sequence of float
        Above 0 and up to 1.
    n_folds : int, default=10
        At least 2.
    seed : int, default=42
        Decides all.

    Raises
    ------
    UsageError
        If there are fewer images of a label than folds, or a fraction is too small for one of each label.
    """
    from sklearn.model_selection import StratifiedKFold

    _check(labels, fractions, n_folds)
    fewest = int(np.bincount(labels, minlength=2).min())
    if fewest < n_folds:
        raise UsageError(
            "there are fewer images of one label than folds",
            expected=f"at least {n_folds} unwanted and {n_folds} wanted images",
            found=f"{int(labels.sum()):,} unwanted and {int((labels == 0).sum()):,} wanted",
            hint=f"rate more images, or make fewer folds with `--folds {max(fewest, 2)}`",
        )
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(labels, labels)
    with _words("cross-validation", SIZES):
        return [
            Split(number, fraction, _draw(rest, labels, fraction, seed), test)
            for number, (rest, test) in enumerate(folds)
            for fraction in fractions
        ]


def hold_out_splits(
    parts: Sequence[str],
    labels: Int64[np.ndarray, "n"],
    fractions: Sequence[float] = (1.0,),
    *,
    n_draws: int = 10,
    seed: int = 42,
) -> list[Split]:
    """Return splits that somebody made beforehand: train on the part named `train`, test on each other part.

    A fraction below 1 is drawn `n_draws` times, stratified by label, so that the luck of the draw shows.

    Parameters
    ----------
    parts : sequence of n str
        Of each image; "" leaves it out.
    labels : int64 array of shape (n,)
        1 unwanted, 0 wanted.
    fractions : sequence of float
        Above 0 and up to 1.
    n_draws : int, default=10
        At least 1.
    seed : int, default=42
        Decides the draws.

    Raises
    ------
    UsageError
        If there is no training part or no test part, or the training part or a fraction of it has not both labels.
    """
    _check(labels, fractions, n_draws, fewest=1)
    named = np.array(parts)
    train = np.flatnonzero(named == TRAIN)
    tests = [name for name in dict.fromkeys(parts) if name not in ("", TRAIN)]
    if not len(train) or not tests:
        raise UsageError(
            "the split column does not say what to train and what to test on",
            expected="`train` for some images, and another word for others",
            found=", ".join(f"`{name[:40]}`" for name in list(dict.fromkeys(parts))[:5]),
        )
    _check(labels[train], fractions, n_draws, fewest=1, where="the training images")
    with _words("the training part", SIZES):
        return [
            Split(number, fraction, _draw(train, labels, fraction, seed + number), np.flatnonzero(named == name), name)
            for fraction in fractions
            for number in range(1 if fraction == 1 else n_draws)
            for name in tests
        ]


def _draw(
    images: Int64[np.ndarray, "t"], strata: Int64[np.ndarray, "n"], fraction: float, seed: int
) -> Int64[np.ndarray, "u"]:
    from sklearn.model_selection import StratifiedShuffleSplit

    if fraction == 1:
        return images
    splitter = StratifiedShuffleSplit(n_splits=1, train_size=fraction, random_state=seed)
    chosen, _ = next(splitter.split(images, strata[images]))
    return np.asarray(images[chosen])


def _check(
    labels: Int64[np.ndarray, "n"],
    fractions: Sequence[float],
    n_splits: int,
    *,
    fewest: int = 2,
    where: str = "the rated images",
) -> None:
    if len(np.unique(labels)) < 2:
        raise UsageError(
            f"there is only one label among {where}",
            expected="unwanted and wanted images",
            found=f"{int(labels.sum()):,} unwanted of {len(labels):,}",
        )
    wrong = [fraction for fraction in fractions if not 0 < fraction <= 1]
    if wrong or not fractions:
        raise UsageError(
            "a fraction of the training images makes no sense", expected="above 0 and up to 1", found=f"{wrong}"
        )
    if n_splits < fewest:
        raise UsageError("there are too few splits", expected=f"{fewest} or more", found=str(n_splits))


class _words:  # noqa: N801 - reads as a phrase where it is used
    """Turn scikit-learn's complaints about strata into an error for people."""

    def __init__(self, what: str, hint: str) -> None:
        self._what, self._hint = what, hint

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError):
            raise UsageError(
                f"{self._what} cannot divide these images",
                found=" ".join(str(error).split())[:200],
                hint=self._hint,
            ) from error
