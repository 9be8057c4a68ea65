"""What people's verdicts on a random sample say of the whole data set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from clipsieve.engines.prevalence_plan import PLANNED
from clipsieve.engines.verdicts import Verdict, read_verdicts
from clipsieve.errors import UsageError
from clipsieve.evaluation.prevalence import Prevalence, Recall, estimate, estimate_recall
from clipsieve.store import Run

__all__ = ["JudgedStratum", "PrevalenceReport", "estimate_from_verdicts", "estimate_prevalence"]


@dataclass(frozen=True, slots=True)
class JudgedStratum:
    """What people said of one stratum.

    Attributes
    ----------
    number : int
        As in the plan.
    flagged : bool
        Whether its images were flagged when the plan was made.
    n_images, n_sampled, n_judged, n_hits : int
        Images in the stratum, in the file, with a verdict, and judged unwanted.
    prevalence : Prevalence
        How much of this stratum alone is unwanted.
    """

    number: int
    flagged: bool
    n_images: int
    n_sampled: int
    n_judged: int
    n_hits: int
    prevalence: Prevalence


@dataclass(frozen=True, slots=True)
class PrevalenceReport:
    """How much of a run is unwanted.

    Attributes
    ----------
    prevalence : Prevalence
        Of all images that could be read.
    recall : Recall
        Which fraction of the unwanted images was flagged.
    strata : tuple of JudgedStratum
        In the order of their numbers.
    n_judged, n_open, n_unsure : int
        Images judged unwanted or wanted, images in the file that still wait for a verdict, and those that somebody was unsure of.
    n_failed : int
        Images that could not be read: nothing is said of them.
    warnings : tuple of str
        What a person should know before they believe the numbers.
    """

    prevalence: Prevalence
    recall: Recall
    strata: tuple[JudgedStratum, ...]
    n_judged: int
    n_open: int
    n_failed: int
    warnings: tuple[str, ...] = ()
    n_unsure: int = 0


def estimate_prevalence(run: Run, path: str | Path, *, confidence: float = 0.95) -> PrevalenceReport:
    """Estimate how much of a run is unwanted from a file with verdicts.

    Parameters
    ----------
    run : Run
        The one that the sample was drawn from.
    path : str or Path
        The file; an empty verdict means that nobody has judged the image yet.
    confidence : float, default=0.95
        Between 0 and 1.

    Raises
    ------
    UsageError
        If the file cannot be read, contradicts itself or the run, or a stratum has no verdict yet; names the line.
    RunCorruptError
        If a part of the run is missing or damaged.
    """
    return estimate_from_verdicts(run, path, read_verdicts(path), confidence=confidence)


def estimate_from_verdicts(
    run: Run, path: str | Path, verdicts: list[Verdict], *, confidence: float = 0.95
) -> PrevalenceReport:
    """Do the same with the lines of a file that was read before; errors as for `estimate_prevalence`."""
    groups = _group(path, verdicts)
    n_images = _check_ids(run, path, verdicts)
    n_in_strata = sum(group[0].stratum_size for group in groups)
    if n_in_strata != n_images:
        raise UsageError(
            f"the strata in `{path}` are not those of the run `{run.path}`",
            expected=f"sizes that add up to its {n_images:,} scored images",
            found=f"{n_in_strata:,} in {len(groups):,} strata",
            hint="lines were removed, or the run was scanned again: make a new sample with `--plan`",
        )
    strata = tuple(_judge(path, group, confidence) for group in groups)
    hits, judged, sizes = (_integers(getattr(s, name) for s in strata) for name in ("n_hits", "n_judged", "n_images"))
    flagged = np.array([s.flagged for s in strata])
    n_unsure = sum(verdict.is_unsure for verdict in verdicts)
    n_judged = sum(stratum.n_judged for stratum in strata)
    return PrevalenceReport(
        prevalence=estimate(hits, judged, sizes, confidence),
        recall=estimate_recall(hits, judged, sizes, flagged, confidence),
        strata=strata,
        n_judged=n_judged,
        n_open=len(verdicts) - n_judged - n_unsure,
        n_failed=run.manifest.n_images - n_images,
        warnings=(*_warnings(verdicts), *_compare_with_plan(run, strata)),
        n_unsure=n_unsure,
    )


def _group(path: str | Path, verdicts: list[Verdict]) -> list[list[Verdict]]:
    """Return the lines of each stratum, in the order of their numbers, after checking that no two contradict."""
    seen: dict[str, Verdict] = {}
    groups: defaultdict[int, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        where = f"`{path}`, line {verdict.line:,}"
        earlier = seen.setdefault(verdict.image_id, verdict)
        if earlier is not verdict:
            raise UsageError(f"{where}: the image stands in line {earlier.line:,} already", found=_shown(verdict))
        group = groups[verdict.stratum]
        group.append(verdict)
        for column in ("stratum_size", "flagged"):
            here, before = getattr(verdict, column), getattr(group[0], column)
            if here != before:
                raise UsageError(
                    f"{where}: `{column}` contradicts line {group[0].line:,} of the same stratum",
                    expected=_as_written(before),
                    found=_as_written(here),
                )
    if not groups:
        raise UsageError(f"`{path}` holds no images", hint="make a sample with `--plan`")
    return [groups[number] for number in sorted(groups)]


def _check_ids(run: Run, path: str | Path, verdicts: list[Verdict]) -> int:
    """Return how many images of the run could be read; every image of the file must be one of them."""
    wanted = pa.array([verdict.image_id for verdict in verdicts], pa.string())
    known: set[str] = set()
    n_images = 0
    for images in run.iter_images(["image_id", "failure_code"]):
        ids = images.column("image_id").filter(pc.is_null(images.column("failure_code")))
        n_images += len(ids)
        known.update(ids.filter(pc.is_in(ids, value_set=wanted)).to_pylist())
    for verdict in verdicts:
        if verdict.image_id not in known:
            raise UsageError(
                f"`{path}`, line {verdict.line:,}: no image with a score has this id",
                expected=f"an id of the run `{run.path}`, letter by letter",
                found=_shown(verdict),
                hint="was the file made from another run, or did a spreadsheet change the ids?",
            )
    return n_images


def _judge(path: str | Path, group: list[Verdict], confidence: float) -> JudgedStratum:
    judged = [verdict.unwanted for verdict in group if verdict.unwanted is not None]
    first = group[0]
    if not judged:
        raise UsageError(
            f"no image of stratum {first.stratum} in `{path}` has a verdict",
            expected="at least one verdict in every stratum",
            found=f"{len(group):,} lines without",
            hint="judge more images from the top of the file: the strata are mixed, and `unsure` is no verdict here",
        )
    if len(group) > first.stratum_size:
        raise UsageError(
            f"stratum {first.stratum} in `{path}` has more lines than images",
            expected=f"at most {first.stratum_size:,}",
            found=f"{len(group):,}",
        )
    n_hits, n_judged, size = _integers([sum(judged)]), _integers([len(judged)]), _integers([first.stratum_size])
    return JudgedStratum(
        number=first.stratum,
        flagged=first.flagged,
        n_sampled=len(group),
        n_judged=len(judged),
        n_hits=sum(judged),
        n_images=first.stratum_size,
        prevalence=estimate(n_hits, n_judged, size, confidence),
    )


def _compare_with_plan(run: Run, strata: tuple[JudgedStratum, ...]) -> tuple[str, ...]:
    """Return what speaks against the file being the sample that was drawn last with these strata, if that was written down."""
    drawn = [entry.get("strata") for entry in run.history() if entry.get("what") == PLANNED]
    sizes = {str(s.number): s.n_images for s in strata}
    for plan in reversed(drawn):
        if isinstance(plan, dict) and {number: facts[0] for number, facts in plan.items()} == sizes:
            break
    else:
        return ()
    n_missing = sum(max(0, plan[str(s.number)][1] - s.n_sampled) for s in strata)
    doubts = []
    if n_missing:
        doubts.append(
            f"{n_missing:,} images of the sample are no longer in the file: the interval holds only if they were taken out at "
            "random, and not because they were hard"
        )
    if any(plan[str(s.number)][2] != s.flagged for s in strata):
        doubts.append(
            "the column `flagged` is not as it was written: the share of the unwanted that was flagged is wrong"
        )
    return tuple(doubts)


def _warnings(verdicts: list[Verdict]) -> tuple[str, ...]:
    n_unsure = sum(verdict.is_unsure for verdict in verdicts)
    n_open = sum(verdict.unwanted is None for verdict in verdicts) - n_unsure
    doubts = []
    if n_open:
        doubts.append(
            f"{n_open:,} of {len(verdicts):,} images have no verdict yet; the interval holds only if the judged ones are a "
            "random part: judge from the top, and leave out none because it is hard"
        )
    if n_unsure:
        doubts.append(
            f"people were unsure of {n_unsure:,} of {len(verdicts):,} images of the sample, which count as not judged; the "
            "interval holds only if those are like the others"
        )
    return tuple(doubts)


def _integers(values: Iterable[int]) -> Int64[np.ndarray, "h"]:
    return np.array(list(values), dtype=np.int64)


def _as_written(value: int | bool) -> str:  # noqa: FBT001
    return ("`yes`" if value else "`no`") if isinstance(value, bool) else f"{value}"


def _shown(verdict: Verdict) -> str:
    """Return an id in a form that cannot steer a terminal."""
    return f"`{verdict.image_id}`" if verdict.image_id.isprintable() else repr(verdict.image_id)
