"""Made-up ratings in the columns of SMID's norms file, from the table and seeded rater noise."""

from __future__ import annotations

import numpy as np

from clipsieve.demo.table import load_pictograms, mean_rating

__all__ = ["COLUMNS", "SCALES", "group_of", "rate"]

SCALES = ("valence", "moral", "arousal", "harm")
COLUMNS = (
    "img_name",
    *(f"{scale}_{statistic}" for scale in SCALES for statistic in ("mean", "sd", "n")),
    "group",
    "file",
    "pictograms",
    "style",
    "split",
)
_RATER_SD = 0.8


def group_of(members: tuple[int, ...]) -> str:
    """Return `A`, `B` or `mixed` by the groups of the pictograms that have affect, `N` if none has."""
    groups = {load_pictograms()[i].group for i in members} - {"N"}
    return "mixed" if len(groups) > 1 else next(iter(groups), "N")


def rate(rng: np.random.Generator, members: tuple[int, ...]) -> dict[str, str]:
    """Return mean, standard deviation and count of the ratings that 20 to 40 made-up raters give a picture.

    Each rater gives a whole number from 1 to 5: the mean over the pictograms plus normal noise (0.8), rounded, clipped.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides the raters.
    members : tuple of int
        Positions in the table.
    """
    row: dict[str, str] = {}
    for scale in SCALES:
        n_raters = int(rng.integers(20, 41))
        given = rng.normal(mean_rating(members, scale), _RATER_SD, n_raters).round().clip(1, 5)
        row |= {
            f"{scale}_mean": f"{given.mean():.4f}",
            f"{scale}_sd": f"{given.std(ddof=1):.4f}",
            f"{scale}_n": str(n_raters),
        }
    return row
