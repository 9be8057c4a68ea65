"""The flagged images of a run, one by one: for lists, tables and examples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float32, Int64

from clipsieve.engines.concepts import ConceptVectors
from clipsieve.engines.decisions import DecidedPart, Decider
from clipsieve.engines.score_facts import ScoreFacts
from clipsieve.engines.verdict_files import ImageVerdict, ImageVerdicts
from clipsieve.errors import RunConflictError
from clipsieve.store import Run, to_float32

__all__ = ["FlaggedImage", "ScoresDigest", "assign_flagged", "flag_mask", "flagged_rows", "verdict_word"]


@dataclass(frozen=True, slots=True)
class FlaggedImage:
    """One flagged image.

    Attributes
    ----------
    index : int
        Its position in the data set, from 0; images that failed count, too.
    image_id, uri : str
        As in the run.
    label, caption : str or None
        What the source says of it.
    probability : float
        Of the unwanted class, 0-1.
    class_name, class_index : str, int
        The classifier's unwanted class, of several the most probable one, and its place among the classes from 0.
    concept : str or None
        The title of the one that it was assigned to; None without a taxonomy.
    margin : float or None
        See `TaxonomySection.min_margin`.
    verdict : str or None
        "unwanted", "wanted" or "unsure" if people have looked at it.
    """

    index: int
    image_id: str
    uri: str
    label: str | None
    caption: str | None
    probability: float
    class_name: str
    class_index: int
    concept: str | None
    margin: float | None
    verdict: str | None


def flagged_rows(
    run: Run,
    scores_name: str | None = None,
    *,
    concepts: ConceptVectors | None = None,
    verdicts: ImageVerdicts | None = None,
    scores_sha256: str | None = None,
) -> Iterator[FlaggedImage]:
    """Yield the flagged images of a run in the order of the data set; of one part at most are held at a time.

    Parameters
    ----------
    run : Run
        With scores.
    scores_name : str, optional
        By default the only ones there are.
    concepts : ConceptVectors, optional
        What the images may show; see `build_concepts`.
    verdicts : ImageVerdicts, optional
        What people have said.
    scores_sha256 : str, optional
        What `ScoresDigest` gave before, so that what is said of the whole and of single images is said of the same scores.

    Raises
    ------
    UsageError, RunNotFoundError, RunCorruptError
        As for `Decider`; at the end if a verdict is about no image of the run.
    RunConflictError
        At the end, if the scores are not those of `scores_sha256` any more.
    """
    decider = Decider(run, scores_name=scores_name, verdicts=verdicts)
    start, digest = 0, ScoresDigest(decider.facts.threshold)
    for part in decider.parts(["uri", "label", "caption"]):
        mask = flag_mask(part.probability, decider.facts.threshold)
        digest.add(part.probability)
        if mask.any():
            yield from _rows(decider, part, mask, start, concepts)
        start += part.images.num_rows
    if scores_sha256 not in (None, digest.sha256):
        raise RunConflictError(
            f"the scores `{decider.scores_name}` of `{run.path}` were made anew while they were reported",
            expected="the same scores from beginning to end",
            state="no list of flagged images was written",
            hint="give the same command again",
        )


class ScoresDigest:
    """A hash of all probabilities of some scores and of their threshold: whether they are still the same.

    Parameters
    ----------
    threshold : float
        From which on an image is flagged.
    """

    def __init__(self, threshold: float) -> None:
        self._digest = hashlib.sha256(np.float32(threshold).tobytes())

    def add(self, probability: pa.ChunkedArray) -> None:
        """Add those of the next part; what has none counts as -1."""
        self.add_bytes(self.bytes_of(probability))

    def add_bytes(self, values: bytes) -> None:
        """Add what `bytes_of` gave for the next part."""
        self._digest.update(values)

    @staticmethod
    def bytes_of(probability: pa.ChunkedArray) -> bytes:
        """Return what is hashed of one part."""
        values: np.ndarray = pc.fill_null(probability, -1.0).to_numpy()
        return np.ascontiguousarray(values, dtype="<f4").tobytes()

    @property
    def sha256(self) -> str:
        """Hex digest of what was added."""
        return self._digest.hexdigest()


def flag_mask(probability: pa.ChunkedArray, threshold: float) -> Bool[np.ndarray, "n"]:
    """Return which rows are flagged; compared in float32, as `score` does."""
    values: np.ndarray = pc.fill_null(probability, -1.0).to_numpy()
    return np.asarray(values >= np.float32(threshold))


def verdict_word(verdict: ImageVerdict | None) -> str | None:
    """Return a verdict in one word; None if there is none."""
    return None if verdict is None else {None: "unsure", False: "wanted", True: "unwanted"}[verdict.unwanted]


def assign_flagged(
    run: Run, part_index: int, mask: Bool[np.ndarray, "n"], concepts: ConceptVectors
) -> tuple[Int64[np.ndarray, "m"], Float32[np.ndarray, "m"], Int64[np.ndarray, "m"]]:
    """Return concept, margin and nearest concept of the m flagged images of one part."""
    column = run.read_images(part_index, ["embedding"]).column("embedding")
    return concepts.assign(to_float32(column.filter(pa.array(mask))))


def _rows(
    decider: Decider, part: DecidedPart, mask: Bool[np.ndarray, "n"], start: int, concepts: ConceptVectors | None
) -> Iterator[FlaggedImage]:
    keep = pa.array(mask)
    table = part.images.select(["image_id", "uri", "label", "caption"]).filter(keep)
    ids, uris, labels, captions = (column.to_pylist() for column in table.columns)
    classes = _unwanted_classes(decider, part.index, keep)
    titles, margins = _concepts(decider.run, part.index, mask, concepts)
    said = decider.verdicts.by_image if decider.verdicts else {}
    places, values = (start + np.flatnonzero(mask)).tolist(), part.probability.filter(keep).to_pylist()
    for i, place in enumerate(places):
        yield FlaggedImage(
            index=place,
            image_id=ids[i],
            uri=uris[i],
            label=labels[i],
            caption=captions[i],
            probability=values[i],
            class_name=classes[i][1],
            class_index=classes[i][0],
            concept=titles[i],
            margin=margins[i],
            verdict=verdict_word(said.get(ids[i])),
        )


def _concepts(
    run: Run, part_index: int, mask: Bool[np.ndarray, "n"], concepts: ConceptVectors | None
) -> tuple[list[str | None], list[float | None]]:
    if concepts is None or concepts.vectors is None:
        n = int(mask.sum())
        return [None] * n, [None] * n
    index, margin, _ = assign_flagged(run, part_index, mask, concepts)
    return [concepts.taxonomy.concepts[i].title for i in index.tolist()], margin.tolist()


def _unwanted_classes(decider: Decider, part_index: int, keep: pa.Array) -> list[tuple[int, str]]:
    """Return the unwanted class of each flagged image; only where there are several do the logits decide."""
    unwanted = _unwanted(decider.facts)
    if len(unwanted) == 1:
        return unwanted * int(keep.true_count)
    column = decider.run.read_part(decider.run.score_part(decider.scores_name, part_index), ["logits"]).column(0)
    logits = np.array(column.filter(keep).to_pylist(), dtype=np.float32)[:, [place for place, _ in unwanted]]
    return [unwanted[i] for i in logits.argmax(axis=1).tolist()]


def _unwanted(facts: ScoreFacts) -> list[tuple[int, str]]:
    found = [(place, name) for place, (name, is_unwanted) in enumerate(facts.classes) if is_unwanted]
    return found or [(1, "unwanted")]
