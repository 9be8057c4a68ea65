"""Everything that a report counts of one part of a run, here or on another machine: no image is held longer than its part."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

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

__all__ = ["COLUMNS", "N_BINS", "PartCounts", "count_part"]

COLUMNS = ["sha256", "label", "caption"]
N_BINS = 50


@dataclass(slots=True)
class PartCounts:
    """The counts of one part.

    Attributes
    ----------
    n_rows, n_judged : int
        Its inputs, and those of which people have said something.
    n, failures, label_scored, label_flagged : counter of str
        See `RunCounts`, as for `histogram`, `captions` and `is_flagged`.
    assigned : tuple of arrays, or None
        What `ConceptVectors.assign` gave for its flagged images; None if nothing was assigned.
    image_lines, part_line, score_bytes : bytes
        What is hashed of it, after the parts before it.
    """

    n_rows: int
    n_judged: int
    n: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    histogram: Int64[np.ndarray, "b"] = field(default_factory=lambda: np.zeros(N_BINS, dtype=np.int64))
    label_scored: Counter[str] = field(default_factory=Counter)
    label_flagged: Counter[str] = field(default_factory=Counter)
    captions: TermCounter = field(default_factory=TermCounter)
    is_flagged: dict[str, bool] = field(default_factory=dict)
    assigned: tuple[Int64[np.ndarray, "m"], Float32[np.ndarray, "m"], Int64[np.ndarray, "m"]] | None = None
    image_lines: bytes = b""
    part_line: bytes = b""
    score_bytes: bytes = b""


def count_part(
    decider: Decider, concepts: ConceptVectors | None, part: DecidedPart, captions: TermCounter | None = None
) -> PartCounts:
    """Count one part that was read with `COLUMNS`.

    Parameters
    ----------
    decider, concepts
        As for `RunCounts`.
    part : DecidedPart
        What the decider gave.
    captions : TermCounter, optional
        Where to count the words of the captions: that of the run, where it is at hand, which saves merging them.
    """
    found = PartCounts(part.images.num_rows, part.n_judged, captions=TermCounter() if captions is None else captions)
    scored = part.probability.is_valid().to_numpy()
    flagged = flag_mask(part.probability, decider.facts.threshold)
    found.score_bytes = ScoresDigest.bytes_of(part.probability)
    _add_hashes(found, part.images, decider.facts.tuned_on)
    _add_rows(found, part.images)
    _add_scores(found, part.probability, flagged, decider.facts.remove_threshold)
    _add_labels(found, part.images.column("label"), scored, flagged)
    for mask, is_flagged in ((flagged, True), (scored & ~flagged, False)):
        texts = part.images.column("caption").filter(pa.array(mask)).drop_null()
        found.captions.add_captions(texts.to_pylist(), flagged=is_flagged)
    _add_verdicts(found, decider, part, scored, flagged)
    if concepts and concepts.vectors is not None and flagged.any():
        found.assigned = assign_flagged(decider.run, part.index, flagged, concepts)
    return found


def _add_hashes(found: PartCounts, images: pa.Table, tuned_on: frozenset[str]) -> None:
    digests = images.column("sha256").to_pylist()
    found.image_lines = "".join([f"{digest or ''}\n" for digest in digests]).encode()
    if tuned_on:
        ids = images.column("image_id").to_pylist()
        found.n["tuned_on"] += sum(map(tuned_on.__contains__, map(digest_of, ids, digests)))
    facts = sorted((images.schema.metadata or {}).items())
    made_from = [b"%s=%s" % (key, value) for key, value in facts if key.startswith(b"clipsieve.")]
    found.part_line = b" ".join([*made_from, str(images.num_rows).encode()]) + b"\n"


def _add_rows(found: PartCounts, images: pa.Table) -> None:
    codes = images.column("failure_code").drop_null().to_pylist()
    found.failures.update(codes)
    found.n["failed"] += len(codes)
    found.n["scanned"] += images.num_rows - len(codes)
    found.n["blocked"] += codes.count(FailureCode.BLOCKED.value)
    found.n["not_hashed"] += images.column("sha256").null_count
    found.n["with_label"] += images.num_rows - images.column("label").null_count
    found.n["with_caption"] += images.num_rows - images.column("caption").null_count


def _add_scores(
    found: PartCounts, probability: pa.ChunkedArray, flagged: Bool[np.ndarray, "n"], remove: float | None
) -> None:
    values = probability.drop_null().to_numpy()
    found.n["scored"] += len(values)
    found.n["flagged"] += int(flagged.sum())
    found.n["remove"] += 0 if remove is None else int(flag_mask(probability, remove).sum())
    found.histogram += np.histogram(values.astype(np.float64), bins=N_BINS, range=(0, 1))[0]


def _add_labels(
    found: PartCounts, labels: pa.ChunkedArray, scored: Bool[np.ndarray, "n"], flagged: Bool[np.ndarray, "n"]
) -> None:
    for mask, counts in ((scored, found.label_scored), (flagged, found.label_flagged)):
        values = pc.value_counts(labels.filter(pa.array(mask)).drop_null())
        counts.update(dict(zip(values.field(0).to_pylist(), values.field(1).to_pylist(), strict=True)))


def _add_verdicts(
    found: PartCounts,
    decider: Decider,
    part: DecidedPart,
    scored: Bool[np.ndarray, "n"],
    flagged: Bool[np.ndarray, "n"],
) -> None:
    if decider.verdicts is None:
        return
    ids = part.images.column("image_id")
    for row in (row for row, name in enumerate(part.annotators) if name is not None):
        image_id = ids[row].as_py()
        unwanted = decider.verdicts.by_image[image_id].unwanted
        where = "flagged" if flagged[row] else "unflagged" if scored[row] else "unscored"
        found.is_flagged[image_id] = bool(flagged[row])
        found.n[f"{where}_reviewed"] += 1
        found.n[f"{where}_unwanted"] += unwanted is True
        found.n[f"{where}_unsure"] += unwanted is None
