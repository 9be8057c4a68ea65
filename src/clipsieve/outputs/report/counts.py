"""Everything that a report counts of a run: the counts of its parts, merged in their order."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
from jaxtyping import Float32, Int64

from clipsieve.engines.concepts import ConceptVectors
from clipsieve.engines.decisions import Decider
from clipsieve.evaluation.term_counts import TermCounter
from clipsieve.outputs.report.flagged import ScoresDigest
from clipsieve.outputs.report.part_counts import N_BINS, PartCounts

__all__ = ["Assignments", "RunCounts"]


class Assignments:
    """How many flagged images were assigned to each of k concepts, and with which margins."""

    def __init__(self, concepts: ConceptVectors) -> None:
        k = len(concepts.taxonomy.concepts)
        self.n_too_close = 0
        self._other = concepts.taxonomy.other
        self._margins: list[list[Float32[np.ndarray, "m"]]] = [[] for _ in range(k)]

    def add(
        self, index: Int64[np.ndarray, "m"], margin: Float32[np.ndarray, "m"], nearest: Int64[np.ndarray, "m"]
    ) -> None:
        """Add what `ConceptVectors.assign` gave."""
        self.n_too_close += int(((index == self._other) & (nearest != self._other)).sum())
        for place, margins in enumerate(self._margins):
            margins.append(margin[index == place])

    def n(self, place: int) -> int:
        """Return how many images a concept has."""
        return sum(len(margins) for margins in self._margins[place])

    def median_margin(self, place: int) -> float | None:
        """Return the median of their margins; None without images."""
        return float(np.median(np.concatenate(self._margins[place]))) if self.n(place) else None


class RunCounts:
    """The counts of one run, the scores of one classifier and the verdicts of one file.

    Parameters
    ----------
    decider : Decider
        With the run, the scores and the verdicts.
    concepts : ConceptVectors, optional
        To assign flagged images to.

    Attributes
    ----------
    n : counter of str
        Images by what is said of them.
    failures : counter of str
        By code.
    histogram : int64 array of shape (50,)
        Of the probabilities, in bins of equal width.
    label_scored, label_flagged : counter of str
        Images with a probability, and flagged ones, by label.
    captions : TermCounter
        Of the images with a probability.
    is_flagged : dict of str to bool
        By id, of images with a verdict.
    assignments : Assignments or None
        None without vectors of concepts.
    """

    def __init__(self, decider: Decider, concepts: ConceptVectors | None = None) -> None:
        self.decider = decider
        self.n: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.histogram: Int64[np.ndarray, "b"] = np.zeros(N_BINS, dtype=np.int64)
        self.label_scored: Counter[str] = Counter()
        self.label_flagged: Counter[str] = Counter()
        self.captions = TermCounter()
        self.is_flagged: dict[str, bool] = {}
        self.assignments = Assignments(concepts) if concepts and concepts.vectors is not None else None
        self._images, self._parts = hashlib.sha256(), hashlib.sha256()
        self._scores = ScoresDigest(decider.facts.threshold)

    @property
    def images_sha256(self) -> str:
        """Over the sha256 of every image in order, each on a line; an empty line where there is none."""
        return self._images.hexdigest()

    @property
    def parts_sha256(self) -> str:
        """Over what each part says it was made from, and the number of its rows."""
        return self._parts.hexdigest()

    @property
    def scores_sha256(self) -> str:
        """See `ScoresDigest`."""
        return self._scores.sha256

    def n_of(self, what: str) -> int:
        """Return how many scored images are "reviewed", "unwanted" or "unsure", flagged or not."""
        return self.n[f"flagged_{what}"] + self.n[f"unflagged_{what}"]

    def is_decided(self, *wheres: str) -> bool:
        """Return whether there are images that are "flagged" or "unflagged", and people called every one unwanted or wanted."""
        n_images = {"flagged": self.n["flagged"], "unflagged": self.n["scored"] - self.n["flagged"]}
        n_decided = sum(self.n[f"{where}_reviewed"] - self.n[f"{where}_unsure"] for where in wheres)
        return 0 < n_decided == sum(n_images[where] for where in wheres)

    def merge(self, part: PartCounts) -> None:
        """Add the counts of the next part: hashes go by the order."""
        for mine, theirs in (
            *((self.n, part.n), (self.failures, part.failures)),
            *((self.label_scored, part.label_scored), (self.label_flagged, part.label_flagged)),
        ):
            mine.update(theirs)
        self.histogram += part.histogram
        if part.captions is not self.captions:  # where they are, they were counted here
            self.captions.merge(part.captions)
        self.is_flagged |= part.is_flagged
        if self.assignments and part.assigned is not None:
            self.assignments.add(*part.assigned)
        self._images.update(part.image_lines)
        self._parts.update(part.part_line)
        self._scores.add_bytes(part.score_bytes)
