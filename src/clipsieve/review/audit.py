"""The random audit of a run as it is: drawn once, and kept apart from what classifiers learn from."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.engines.lineage import ID_PREFIX, digest_of
from clipsieve.engines.prevalence_plan import plan_prevalence
from clipsieve.engines.verdicts import SampledImage, Verdict
from clipsieve.errors import UsageError

if TYPE_CHECKING:
    from clipsieve.review.catalog import Catalog
    from clipsieve.review.ledger import Ledger
    from clipsieve.store import Run

__all__ = ["Vouching", "check_fits", "draw", "held_back", "vouching"]

_DIGEST = re.compile("[0-9a-fA-F]{64}")
_LOT = "held back "  # before what is hashed to halve a sample: any fixed words do


def draw(run: Run, scores_name: str | None, ledger: Ledger, *, width: float, seed: int) -> tuple[SampledImage, ...]:
    """Return the sample to judge: the newest one that was kept if it is of the run as it is now, else a new one.

    An older sample stays in the ledger. Verdicts on it count for the new one like those of any other queue: as soon as the
    audit of the new one has come as far as their images.

    Parameters
    ----------
    run : Run
        With scores.
    scores_name : str or None
        By which to make the strata; by default the only ones.
    ledger : Ledger
        Of the run; keeps what is drawn.
    width, seed
        As for `plan_prevalence`.

    Raises
    ------
    UsageError, RunNotFoundError, RunCorruptError, LedgerError
        As for `plan_prevalence`, and if the ledger cannot be read or written.
    """
    newest = ledger.samples.newest()
    if newest is not None and newest.images and _compare(run, newest.images).misfit is None:
        return newest.images
    plan = plan_prevalence(run, scores_name, width=width, seed=seed)
    ledger.samples.save(plan.images, plan.scores_name, datetime.now(UTC))
    return plan.images


@dataclass(frozen=True, slots=True)
class _Comparison:
    misfit: str | None
    n_scored: int
    sha256: dict[str, str | None] = field(default_factory=dict)  # of the sampled images, as the run has it


def check_fits(run: Run, sample: Sequence[SampledImage | Verdict], name: str | Path) -> dict[str, str | None]:
    """Return the hashes of the images of a sample by their ids, after checking that it was drawn from the run as it is.

    Parameters
    ----------
    run : Run
        A finished scan.
    sample : sequence of SampledImage or Verdict
        At least one.
    name : str or Path
        What the ledger is called.

    Raises
    ------
    UsageError
        If its strata do not add up to the images with a score, or one of its images has none.
    RunCorruptError
        If the run cannot be read.
    """
    found = _compare(run, sample)
    if found.misfit is not None:
        raise UsageError(
            f"the random sample in `{name}` was drawn from another state of the run `{run.path}`",
            expected=f"strata that add up to its {found.n_scored:,} scored images, and only these",
            found=found.misfit,
            hint=f"`clipsieve review {run.path}` draws a new sample; verdicts on images of it count as its audit goes on",
        )
    return found.sha256


def _compare(run: Run, sample: Sequence[SampledImage | Verdict]) -> _Comparison:
    wanted = pa.array([image.image_id for image in sample], pa.string())
    sha256: dict[str, str | None] = {}
    n_scored = 0
    for images in run.iter_images(["image_id", "sha256", "failure_code"]):
        seen = images.filter(pc.is_null(images.column("failure_code")))
        n_scored += seen.num_rows
        here = seen.filter(pc.is_in(seen.column("image_id"), value_set=wanted))
        sha256.update(zip(here.column("image_id").to_pylist(), here.column("sha256").to_pylist(), strict=True))
    n_in_strata = sum({image.stratum: image.stratum_size for image in sample}.values())
    misfit = None
    if n_in_strata != n_scored:
        misfit = f"strata of {n_in_strata:,} images"
    elif len(sha256) < len(sample):
        misfit = f"{len(sample) - len(sha256):,} of {len(sample):,} sampled images that have no score there"
    return _Comparison(misfit, n_scored, sha256)


def held_back(catalog: Catalog, sample: Sequence[SampledImage]) -> set[str]:
    """Return the ids of the images that no classifier may learn from, so that they can vouch for its thresholds.

    These are all of the sample; of a sample that is more than half of the run, and without which little is left to learn
    from, one half. Which half is decided within each stratum by a hash of the image's content (of its id where the content
    is unknown): the same half whenever one asks, whatever people said, so that it is a random sample as well. Copies of
    these images, by their hashes, are held back with them, inside of the sample and outside.

    Parameters
    ----------
    catalog : Catalog
        Of the run that the sample was drawn from.
    sample : sequence of SampledImage
        The random audit; may be empty.
    """
    ids = {image.image_id for image in sample}
    if 2 * len(sample) > int(catalog.is_seen.sum()):
        names = list(ids)
        places = zip(names, catalog.rows_of(names).tolist(), strict=True)
        ids = _half(sample, {name: catalog.sha256(row) if row >= 0 else None for name, row in places})
    if not ids:
        return set()
    rows = catalog.rows_of(sorted(ids))
    contents = catalog.contents(np.arange(catalog.n, dtype=np.int64))
    theirs = contents[rows[rows >= 0]]
    copies = np.flatnonzero(np.isin(contents, theirs[theirs >= 0]))
    return ids | {catalog.image_id(row) for row in copies.tolist()}


def _half(sample: Sequence[SampledImage | Verdict], sha256: Mapping[str, str | None]) -> set[str]:
    """Return half of each stratum by lot, rounded up, and the copies of these in the sample."""
    by_stratum: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
    for image in sample:
        by_stratum[image.stratum].append((_lot(image.image_id, sha256.get(image.image_id)), image.image_id))
    lots = {lot for group in by_stratum.values() for lot, _ in sorted(group)[: (len(group) + 1) // 2]}
    return {image_id for group in by_stratum.values() for lot, image_id in group if lot in lots}


def _lot(image_id: str, sha256: str | None) -> str:
    is_known = sha256 is not None and _DIGEST.fullmatch(sha256)
    what = _LOT + (sha256.lower() if is_known and sha256 is not None else f"{ID_PREFIX}{image_id}")
    return hashlib.sha256(what.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Vouching:
    """Which images of an audit can vouch for the thresholds of a classifier.

    Attributes
    ----------
    image_ids : frozenset of str
        Of the sample, looked at or not.
    n_tuned_on : int
        Images of the sample that the classifier was tuned on.
    is_random : bool
        Whether these images are known to be a random part of the sample.
    """

    image_ids: frozenset[str]
    n_tuned_on: int = 0
    is_random: bool = True


def vouching(sample: Sequence[Verdict], sha256: Mapping[str, str | None], tuned_on: Collection[str]) -> Vouching:
    """Return the images of a sample that can vouch for a classifier.

    All of them, if it was tuned on none. If it learned from the half that `held_back` leaves to learn from, the other half:
    also without those of the first half that it did not learn from, since these are what was not yet judged then. If it was
    tuned on others, all that it was not tuned on; nobody knows whether chance decided which these are.

    Parameters
    ----------
    sample : sequence of Verdict
        All of it.
    sha256 : mapping of str to str or None
        The hashes of its images, as the run has them.
    tuned_on : collection of str
        Digests, as in `ScoreFacts`.
    """
    ids = frozenset(verdict.image_id for verdict in sample)
    known = frozenset(tuned_on)
    met = {image_id for image_id in ids if digest_of(image_id, sha256.get(image_id)) in known}
    half = _half(sample, sha256) if met else set()
    if met & half:
        return Vouching(ids - met, len(met), is_random=False)
    return Vouching(frozenset(half) if met else ids, len(met))
