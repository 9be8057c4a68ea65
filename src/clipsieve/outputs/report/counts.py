"""Everything that a report counts, gathered part by part: no image is held longer than its part."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float32, Int64

from clipsieve.engines.concepts import ConceptVectors
from clipsieve.engines.decisions import DecidedPart, Decider
from clipsieve.engines.lineage import digest_of
from clipsieve.evaluation.term_counts import TermCounter
from clipsieve.outputs.report.flagged import ScoresDigest, assign_flagged, flag_mask
from clipsieve.types import FailureCode

__all__ = ["COLUMNS", "N_BINS", "Assignments", "RunCounts"]

COLUMNS = ["sha256", "label", "caption"]
N_BINS = 50


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
        self._concepts = concepts
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

    def add(self, part: DecidedPart) -> None:
        """Count one part that was read with `COLUMNS`."""
        scored = part.probability.is_valid().to_numpy()
        flagged = flag_mask(part.probability, self.decider.facts.threshold)
        self._scores.add(part.probability)
        self._add_hashes(part.images)
        self._add_rows(part.images)
        self._add_scores(part.probability, flagged)
        self._add_labels(part.images.column("label"), scored, flagged)
        for mask, is_flagged in ((flagged, True), (scored & ~flagged, False)):
            texts = part.images.column("caption").filter(pa.array(mask)).drop_null()
            self.captions.add_captions(texts.to_pylist(), flagged=is_flagged)
        self._add_verdicts(part, scored, flagged)
        if self.assignments and self._concepts and flagged.any():
            self.assignments.add(*assign_flagged(self.decider.run, part.index, flagged, self._concepts))

    def _add_hashes(self, images: pa.Table) -> None:
        digests = images.column("sha256").to_pylist()
        self._images.update("".join([f"{digest or ''}\n" for digest in digests]).encode())
        if tuned_on := self.decider.facts.tuned_on:
            ids = images.column("image_id").to_pylist()
            self.n["tuned_on"] += sum(map(tuned_on.__contains__, map(digest_of, ids, digests)))
        facts = sorted((images.schema.metadata or {}).items())
        made_from = [b"%s=%s" % (key, value) for key, value in facts if key.startswith(b"clipsieve.")]
        self._parts.update(b" ".join([*made_from, str(images.num_rows).encode()]) + b"\n")

    def _add_rows(self, images: pa.Table) -> None:
        codes = images.column("failure_code").drop_null().to_pylist()
        self.failures.update(codes)
        self.n["failed"] += len(codes)
        self.n["scanned"] += images.num_rows - len(codes)
        self.n["blocked"] += codes.count(FailureCode.BLOCKED.value)
        self.n["not_hashed"] += images.column("sha256").null_count
        self.n["with_label"] += images.num_rows - images.column("label").null_count
        self.n["with_caption"] += images.num_rows - images.column("caption").null_count

    def _add_scores(self, probability: pa.ChunkedArray, flagged: Bool[np.ndarray, "n"]) -> None:
        values = probability.drop_null().to_numpy()
        remove = self.decider.facts.remove_threshold
        n_remove = 0 if remove is None else int(flag_mask(probability, remove).sum())
        self.n["scored"] += len(values)
        self.n["flagged"] += int(flagged.sum())
        self.n["remove"] += n_remove
        self.histogram += np.histogram(values.astype(np.float64), bins=N_BINS, range=(0, 1))[0]

    def _add_labels(
        self, labels: pa.ChunkedArray, scored: Bool[np.ndarray, "n"], flagged: Bool[np.ndarray, "n"]
    ) -> None:
        for mask, counts in ((scored, self.label_scored), (flagged, self.label_flagged)):
            found = pc.value_counts(labels.filter(pa.array(mask)).drop_null())
            counts.update(dict(zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True)))

    def _add_verdicts(self, part: DecidedPart, scored: Bool[np.ndarray, "n"], flagged: Bool[np.ndarray, "n"]) -> None:
        if self.decider.verdicts is None:
            return
        ids = part.images.column("image_id")
        for row in (row for row, name in enumerate(part.annotators) if name is not None):
            image_id = ids[row].as_py()
            unwanted = self.decider.verdicts.by_image[image_id].unwanted
            where = "flagged" if flagged[row] else "unflagged" if scored[row] else "unscored"
            self.is_flagged[image_id] = bool(flagged[row])
            self.n[f"{where}_reviewed"] += 1
            self.n[f"{where}_unwanted"] += unwanted is True
            self.n[f"{where}_unsure"] += unwanted is None
