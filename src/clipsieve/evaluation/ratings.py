"""What people's ratings mean: which images are unwanted, which wanted, and which neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from clipsieve.errors import UsageError

__all__ = ["LABEL_WORDS", "SMID_COLUMNS", "SMID_RANGE", "SMID_SCALES", "Scale", "label_ratings", "label_words"]

LABEL_WORDS = {
    1: ("1", "1.0", "true", "yes", "unwanted", "unsafe"),
    0: ("0", "0.0", "false", "no", "wanted", "safe"),
}
_LABELS = {word: label for label, words in LABEL_WORDS.items() for word in words}


@dataclass(frozen=True, slots=True)
class Scale:
    """One question that people answered with a number, and what the answers mean.

    Attributes
    ----------
    column : str
        The column of the mean ratings.
    low, high : float
        The cuts; see `label_ratings`.
    reverse : bool
        Whether a high rating is a bad one.
    """

    column: str
    low: float = 2.5
    high: float = 3.5
    reverse: bool = False


# The Socio-Moral Image Database (Crone, Bode, Murawski and Laham 2018, doi:10.1371/journal.pone.0190954): how it is known,
# and the three of its scales that Schramowski and Kersting 2021 used. Harm asks how much an image makes one think of harm.
SMID_COLUMNS = frozenset({"img_name", "valence_mean", "moral_mean", "arousal_mean", "harm_mean"})
SMID_RANGE = (1.0, 5.0)
SMID_SCALES = {
    "moral": Scale("moral_mean"),
    "valence": Scale("valence_mean"),
    "harm": Scale("harm_mean", reverse=True),
}


def label_ratings(
    rating: Float64[np.ndarray, "n"], *, low: float = 2.5, high: float = 3.5, reverse: bool = False
) -> Int64[np.ndarray, "n"]:
    """Return which images are unwanted, which wanted, and which are left out because people were undecided.

    Unwanted below `low`, wanted above `high`, both strictly (Schramowski and Kersting 2021, section 3: images with a mean
    moral rating below 2.5 and above 3.5 of 1 to 5); the other way round where a high rating is a bad one.

    Parameters
    ----------
    rating : float64 array of shape (n,)
        Finite, on any scale; n may be 0.
    low, high : float
        The cuts, on the scale of the ratings; low <= high. A rating that equals a cut is left out.
    reverse : bool, default=False
        Unwanted above `high`, wanted below `low`.

    Returns
    -------
    int64 array of shape (n,)
        1 unwanted, 0 wanted, -1 left out.

    Raises
    ------
    UsageError
        If a rating is not finite, or `low` is above `high`.

    Examples
    --------
    >>> label_ratings(np.array([1.2, 2.5, 3.0, 4.8]))
    array([ 1, -1, -1,  0])
    >>> label_ratings(np.array([1.2, 2.5, 3.0, 4.8]), reverse=True)
    array([ 0, -1, -1,  1])
    """
    if not low <= high:
        raise UsageError("the cuts contradict each other", expected="low <= high", found=f"low {low:g}, high {high:g}")
    if not np.isfinite(rating).all():
        raise UsageError(
            "a rating is not a finite number",
            expected="a number for each image",
            found=f"{rating[~np.isfinite(rating)][0]} at position {int(np.argmin(np.isfinite(rating))):,}",
        )
    below, above = rating < low, rating > high
    unwanted, wanted = (above, below) if reverse else (below, above)
    return np.where(unwanted, 1, np.where(wanted, 0, -1)).astype(np.int64)


def label_words(words: Sequence[str]) -> Int64[np.ndarray, "n"]:
    """Return what labels in words say: 1 unwanted, 0 wanted, -1 for a word that is not in `LABEL_WORDS`.

    Neither case nor spaces around a word count.

    Examples
    --------
    >>> label_words(["Unsafe", "no", "maybe"])
    array([ 1,  0, -1])
    """
    return np.array([_LABELS.get(word.strip().lower(), -1) for word in words], dtype=np.int64)
