"""How well people agree on what images show, beyond what chance alone would give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

__all__ = ["cohen_kappa", "krippendorff_alpha"]


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Return the agreement of two people on the same images.

    kappa = (po - pe) / (1 - pe): po is the share of images on which they agree, pe what two people who choose as often as
    these, but blindly, would reach (Cohen 1960, "A coefficient of agreement for nominal scales", Educ. Psychol. Meas. 20).

    Parameters
    ----------
    first, second : sequence of n str
        What each of them said of the same n images, such as `keep`, `remove`, `unsure`.

    Returns
    -------
    float or None
        At most 1, which is full agreement; 0 is chance, below it is worse. None where it is undefined: no image, or both
        said one and the same of all of them.

    Examples
    --------
    >>> round(cohen_kappa(["keep", "keep", "remove", "keep"], ["keep", "remove", "remove", "keep"]), 3)
    0.5
    >>> cohen_kappa(["keep", "keep"], ["keep", "keep"]) is None
    True
    """
    n = len(first)
    agreed = sum(one == other for one, other in zip(first, second, strict=True))
    often, often_too = Counter(first), Counter(second)
    by_chance = sum(often[word] * often_too[word] for word in often)  # of n * n pairs
    if by_chance == n * n:  # also where there is no image
        return None
    return (n * agreed - by_chance) / (n * n - by_chance)


def krippendorff_alpha(table: Sequence[Sequence[str | None]]) -> float | None:
    """Return the agreement of several people, each of whom may have seen only some of the images.

    alpha = 1 - Do / De for nominal data: Do is the share of disagreeing pairs within images, De that among all that was
    said (Krippendorff 2011, "Computing Krippendorff's alpha-reliability", section C).

    Parameters
    ----------
    table : sequence of n sequences of str or None
        One row for each image; in it what each person said, None where they did not see it. Rows may have different lengths:
        which person is which does not matter.

    Returns
    -------
    float or None
        At most 1, which is full agreement; 0 is chance. None where it is undefined: no image was seen by two, or one and
        the same was said of all of those that were.

    Examples
    --------
    >>> round(krippendorff_alpha([["a", "a", None], ["b", "b", "b"], ["a", "b", None], ["a", None, None]]), 3)
    0.5
    """
    words: Counter[str] = Counter()
    disagreeing = 0.0  # pairs of values within an image, each image's weighed by 1 / (values - 1)
    for row in table:
        said = Counter(word for word in row if word is not None)
        n = said.total()
        if n < 2:
            continue
        words += said
        disagreeing += (n * n - sum(count * count for count in said.values())) / (n - 1)
    n = words.total()
    expected = n * n - sum(count * count for count in words.values())
    return 1 - (n - 1) * disagreeing / expected if expected else None
