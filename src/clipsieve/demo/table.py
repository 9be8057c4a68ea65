"""The hand-written table of pictograms: name, kind and affect of each."""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass, fields
from pathlib import Path

__all__ = ["TABLE_PATH", "UNWANTED_BELOW", "WANTED_ABOVE", "Pictogram", "load_pictograms", "mean_rating"]

TABLE_PATH = Path(__file__).with_name("pictograms.csv")
UNWANTED_BELOW, WANTED_ABOVE = 2.5, 3.5


@dataclass(frozen=True, slots=True)
class Pictogram:
    """One row of `pictograms.csv`.

    Attributes
    ----------
    name : str
        The Unicode CLDR short name, in lower case.
    code_point : str
        Hexadecimal, without the variation selector.
    kind, class_name : str
        What sort of thing it is, for code and for people.
    valence, moral, arousal, harm : float
        From 1 to 5, in the sense of SMID's ratings; higher is better for the first two.
    group : str
        `A` if a training caption told its affect, `B` if it has affect and none did, `N` if it is neutral.
    """

    name: str
    code_point: str
    kind: str
    class_name: str
    valence: float
    moral: float
    arousal: float
    harm: float
    group: str


@functools.cache
def load_pictograms() -> tuple[Pictogram, ...]:
    """Return the table in the order of the sprite sheets."""
    numbers = {field.name for field in fields(Pictogram) if field.type == "float"}
    with TABLE_PATH.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return tuple(Pictogram(**{k: float(v) if k in numbers else v for k, v in row.items()}) for row in rows)  # type: ignore[arg-type]


def mean_rating(members: tuple[int, ...], scale: str = "valence") -> float:
    """Return the rating of a picture: the mean over the pictograms in it (positions in the table)."""
    table = load_pictograms()
    return sum(float(getattr(table[i], scale)) for i in members) / len(members)
