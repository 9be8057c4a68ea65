"""Find the rated images in a run, and take their embeddings: what training and evaluation work on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clipsieve.engines.lineage import digest_of
from clipsieve.engines.rated_names import LEVELS, Place, match_ids, match_names
from clipsieve.engines.rating_files import Ratings
from clipsieve.errors import UsageError
from clipsieve.store import Run, to_float32

__all__ = ["JoinReport", "RatedImages", "join_ratings"]


@dataclass(frozen=True, slots=True)
class JoinReport:
    """What became of the names in a table of ratings; n_rated = n_matched + unmatched + ambiguous + failed.

    Attributes
    ----------
    n_rated : int
        Images in the table.
    n_matched : int
        Those found in the run, with an embedding.
    matched_by : dict of str to int
        How many of them by image id, file name and stem.
    unmatched : tuple of str
        Names that no row of the run has.
    ambiguous : tuple of (str, tuple of str)
        Names that several rows have, or that share a row with another name, and the ids of those rows (the first four).
    failed : tuple of (str, str)
        Names of images that have no embedding, and the code of the failure.
    n_left_out : int
        Matched images that people were undecided about.
    """

    n_rated: int
    n_matched: int
    matched_by: dict[str, int]
    unmatched: tuple[str, ...]
    ambiguous: tuple[tuple[str, tuple[str, ...]], ...]
    failed: tuple[tuple[str, str], ...]
    n_left_out: int


@dataclass(frozen=True, slots=True, eq=False)
class RatedImages:
    """Images with an embedding and a rating, in the order of the table of ratings: published splits depend on it.

    Attributes
    ----------
    names : tuple of str
        What the ratings call them.
    image_ids : tuple of str
        As in the run.
    digests : tuple of str
        The first 16 hex digits of the sha256 of the encoded image; where it is not known, `id-` and 13 of that of its id.
    embeddings : float32 array of shape (n, d)
        Unit norm.
    rating, labels, classes, splits
        As in `Ratings`; images that people were undecided about, label -1, are among them.
    report : JoinReport
        Of the whole table, whichever images were taken.
    """

    names: tuple[str, ...]
    image_ids: tuple[str, ...]
    digests: tuple[str, ...]
    embeddings: Float32[np.ndarray, "n d"]
    rating: Float64[np.ndarray, "n"]
    labels: Int64[np.ndarray, "n"]
    classes: tuple[str, ...] | None
    splits: tuple[str, ...] | None
    report: JoinReport

    def take(self, index: Int64[np.ndarray, "m"]) -> RatedImages:
        """Return some of the images, in the order of their positions."""
        return replace(
            self,
            names=_picked(self.names, index),
            image_ids=_picked(self.image_ids, index),
            digests=_picked(self.digests, index),
            embeddings=self.embeddings[index],
            rating=self.rating[index],
            labels=self.labels[index],
            classes=None if self.classes is None else _picked(self.classes, index),
            splits=None if self.splits is None else _picked(self.splits, index),
        )

    def labelled(self) -> RatedImages:
        """Return the images that are unwanted or wanted; all of them if they have class names instead of labels."""
        return self if self.classes is not None else self.take(np.flatnonzero(self.labels >= 0))


def join_ratings(run: Run, ratings: Ratings) -> RatedImages:
    """Find each rated image in a run, and take its embedding.

    A name meets a row by the first of these that any row fulfils: it is the image's id; its last component is that of the
    image's id or URI; the same without the extension of an image. All are compared in Unicode's form NFC, with `/` for
    a backslash and no `./` in front; case counts, but not in the extension. An id or URI with escapes such as `%20` is
    compared as it is and without them. Where the ratings say that their names are ids, nothing but the very id will do.

    A name that several rows fulfil is ambiguous. So are two names that meet the same row in the same way; if one meets it
    in a stronger way, the row is its, and the other one is ambiguous.

    Parameters
    ----------
    run : Run
        A finished scan. It is streamed: the memory needed grows with the ratings, not with the run.
    ratings : Ratings
        Of images some of which are in the run.

    Raises
    ------
    UsageError
        If no rated image is in the run with an embedding.
    RunCorruptError, EncoderMismatchError
        If the run cannot be read.
    """
    if ratings.are_ids:
        matches, unmatched = match_ids(ratings.names, run.iter_images(["image_id"]))
        ambiguous: tuple[tuple[str, tuple[str, ...]], ...] = ()
    else:
        matches, unmatched, ambiguous = match_names(ratings.names, run.iter_images(["image_id", "uri"]))
    positions = sorted(matches)
    embeddings, digests, codes = _read(run, [matches[position].place for position in positions])
    failed = tuple((ratings.names[p], code) for p, code in zip(positions, codes, strict=True) if code is not None)
    kept = np.array([i for i, code in enumerate(codes) if code is None], dtype=np.int64)
    index = np.array(positions, dtype=np.int64)[kept]
    report = JoinReport(
        n_rated=len(ratings.names),
        n_matched=len(kept),
        matched_by={name: sum(matches[p].level == level for p in index) for level, name in enumerate(LEVELS)},
        unmatched=unmatched,
        ambiguous=ambiguous,
        failed=failed,
        n_left_out=int((ratings.labels[index] == -1).sum()) if ratings.classes is None else 0,
    )
    if not report.n_matched:
        raise _no_match(run, ratings, report)
    return RatedImages(
        names=_picked(ratings.names, index),
        image_ids=tuple(matches[p].place.image_id for p in index),
        digests=_picked(digests, kept),
        embeddings=embeddings[kept],
        rating=ratings.rating[index],
        labels=ratings.labels[index],
        classes=None if ratings.classes is None else _picked(ratings.classes, index),
        splits=None if ratings.splits is None else _picked(ratings.splits, index),
        report=report,
    )


def _read(run: Run, places: Sequence[Place]) -> tuple[Float32[np.ndarray, "n d"], list[str], list[str | None]]:
    """Return the embeddings (zeros if there is none), digests and failures of some rows, reading only their parts."""
    embeddings = np.zeros((len(places), run.manifest.encoder.embedding_dim), dtype=np.float32)
    digests: list[str] = [""] * len(places)
    codes: list[str | None] = [None] * len(places)
    by_part: dict[int, list[int]] = defaultdict(list)
    for i, place in enumerate(places):
        by_part[place.part].append(i)
    for part, members in by_part.items():
        table = run.read_images(part, ["sha256", "embedding", "failure_code"]).take([places[i].row for i in members])
        missing = table.column("embedding").is_null().to_pylist()
        present = [i for i, is_missing in zip(members, missing, strict=True) if not is_missing]
        embeddings[present] = to_float32(table.column("embedding"))
        facts = (table.column(name).to_pylist() for name in ("sha256", "failure_code"))
        for i, is_missing, sha256, code in zip(members, missing, *facts, strict=True):
            digests[i] = digest_of(places[i].image_id, sha256)
            codes[i] = (code or "unknown") if is_missing else None
    return embeddings, digests, codes


def _picked(values: Sequence[str], index: Int64[np.ndarray, "m"]) -> tuple[str, ...]:
    return tuple(values[i] for i in index)


def _no_match(run: Run, ratings: Ratings, report: JoinReport) -> UsageError:
    ids = run.read_images(0, ["image_id"]).column("image_id").slice(0, 2).to_pylist() if run.manifest.n_parts else []
    counts = f"{len(report.unmatched):,} not found, {len(report.ambiguous):,} ambiguous, {len(report.failed):,} failed"
    return UsageError(
        f"none of the {report.n_rated:,} images in `{ratings.path}` is in the run `{run.path}` with an embedding",
        expected=f"names such as {', '.join(f'`{name[:100]}`' for name in ids) or 'none: the run is empty'}",
        found=f"{', '.join(f'`{name[:100]}`' for name in ratings.names[:2])} in `{ratings.image_column}` ({counts})",
        hint="name another column with `--image-column`, or another run",
    )
