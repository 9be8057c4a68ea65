"""Who said what how often, and how well people agree: counted from what holds for each image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from clipsieve.evaluation.agreement import cohen_kappa, krippendorff_alpha
from clipsieve.review.records import Choice, CurrentVerdict

__all__ = ["Agreement", "Pair", "count_choices", "measure_agreement"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two people, the images that both have judged, and Cohen's kappa; None where it is undefined."""

    a: str
    b: str
    n: int
    kappa: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well people agree on the images that two or more have judged.

    Attributes
    ----------
    cohen : tuple of Pair
        Of people who have judged the same images, by their names.
    krippendorff : float or None
        Alpha of all; None where it is undefined.
    n_units : int
        Images that two or more have judged.
    """

    cohen: tuple[Pair, ...]
    krippendorff: float | None
    n_units: int


def count_choices(verdicts: Iterable[CurrentVerdict]) -> dict[str, Counter[Choice]]:
    """Return how often each reviewer has made each choice, by their names."""
    said: dict[str, Counter[Choice]] = {}
    for verdict in verdicts:
        for name, choice in verdict.by_annotator.items():
            said.setdefault(name, Counter())[choice] += 1
    return dict(sorted(said.items()))


def measure_agreement(verdicts: Iterable[CurrentVerdict]) -> Agreement:
    """Return Cohen's kappa of each pair and Krippendorff's alpha of all; see `clipsieve.evaluation.agreement`."""
    several = [
        {name: choice.value for name, choice in verdict.by_annotator.items()}
        for verdict in verdicts
        if len(verdict.by_annotator) > 1
    ]
    names = sorted({name for voices in several for name in voices})
    found = (_pair(several, a, b) for a, b in combinations(names, 2))
    table = [[voices.get(name) for name in names] for voices in several]
    alpha = krippendorff_alpha(table) if table else None
    return Agreement(tuple(pair for pair in found if pair.n), alpha, len(several))


def _pair(several: Sequence[dict[str, str]], a: str, b: str) -> Pair:
    both = [(voices[a], voices[b]) for voices in several if a in voices and b in voices]
    return Pair(a, b, len(both), cohen_kappa([one for one, _ in both], [other for _, other in both]) if both else None)
