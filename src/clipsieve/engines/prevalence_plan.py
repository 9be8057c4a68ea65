"""A random sample of a run for people to judge, so that their verdicts say how much of it is unwanted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from clipsieve.engines.score_facts import chosen_scores
from clipsieve.engines.verdicts import SampledImage, write_sample
from clipsieve.errors import UsageError
from clipsieve.evaluation.sampling import choose_strata, plan_sample
from clipsieve.store import Run

__all__ = ["PLANNED", "PlannedStratum", "PrevalencePlan", "plan_prevalence", "write_plan"]


PLANNED = "prevalence plan"  # what the run's history calls it


@dataclass(frozen=True, slots=True)
class PlannedStratum:
    """Images of similar probability, all flagged or none.

    Attributes
    ----------
    number : int
        From 1, the lowest probabilities first.
    n_images, n_sampled : int
        How many images it holds, and how many of them to look at.
    flagged : bool
        Whether they are at or above the classifier's threshold.
    lowest, highest : float
        Their probabilities of being unwanted, 0-1.
    """

    number: int
    n_images: int
    n_sampled: int
    flagged: bool
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class PrevalencePlan:
    """Which images people should look at.

    Attributes
    ----------
    scores_name : str
        Whose scores make the strata.
    width, confidence : float
        What was asked for.
    n_images, n_failed : int
        Images with a score, and those without: they are not part of the estimate.
    strata : tuple of PlannedStratum
        Every image with a score is in exactly one.
    images : tuple of SampledImage
        The sample, in random order: the images that were judged when somebody stops are random, too.
    """

    scores_name: str
    width: float
    confidence: float
    n_images: int
    n_failed: int
    strata: tuple[PlannedStratum, ...]
    images: tuple[SampledImage, ...]


def plan_prevalence(
    run: Run, scores_name: str | None = None, *, width: float, confidence: float = 0.95, seed: int = 0
) -> PrevalencePlan:
    """Draw the images that people should look at.

    Flagged and unflagged images are never in the same stratum, so that the same verdicts give the share of unwanted
    images that was flagged.

    Parameters
    ----------
    run : Run
        With scores.
    scores_name : str, optional
        Which; by default the only ones there are.
    width : float
        Of the whole interval, as a share of all images, 0 < width < 1.
    confidence : float, default=0.95
        Between 0 and 1.
    seed : int, default=0
        The same run, scores and seed give the same sample, and a narrower width the same images and more; >= 0.

    Raises
    ------
    UsageError
        If no scores were named and there is not exactly one, nothing has a score, or a number is outside its range.
    RunNotFoundError
        If there are no scores of that name.
    RunCorruptError
        If a part is missing, damaged, or older than the scan.
    """
    name = chosen_scores(run, scores_name)
    probability, flagged, rows = _read_scores(run, name)
    if not len(probability):
        raise UsageError(f"no image of `{run.path}` has a score", hint="`clipsieve summary` says why they failed")
    _, stratum = np.unique(2 * choose_strata(probability) + flagged, return_inverse=True)
    sizes = np.bincount(stratum)
    rates = np.bincount(stratum, weights=probability) / sizes
    n_sampled = plan_sample(sizes, np.clip(rates, 0, 1), width, confidence)
    drawn = _draw(stratum, n_sampled, seed)
    names = _names(run, name, rows[drawn])
    images = (
        SampledImage(*names[int(rows[i])], int(stratum[i]) + 1, int(sizes[stratum[i]]), bool(flagged[i])) for i in drawn
    )
    return PrevalencePlan(
        scores_name=name,
        width=width,
        confidence=confidence,
        n_images=len(probability),
        n_failed=run.manifest.n_images - len(probability),
        strata=_planned(stratum, n_sampled, probability, flagged),
        images=tuple(images),
    )


def _read_scores(run: Run, name: str) -> tuple[Float64[np.ndarray, "n"], Bool[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
    """Return probability, flag and row in the run of every image with a score."""
    threshold = run.score_facts(name)["threshold"]
    probabilities, rows, n_rows = [np.zeros(0, dtype=np.float32)], [np.zeros(0, dtype=np.int64)], 0
    for _, scores in run.iter_scores(name, ["image_id"]):
        column = scores.column("probability")
        probabilities.append(column.drop_null().to_numpy())
        rows.append(n_rows + np.flatnonzero(column.is_valid().to_numpy()))
        n_rows += scores.num_rows
    probability = np.concatenate(probabilities)
    # Compared in float32, as `score` does.
    return probability.astype(np.float64), np.asarray(probability >= threshold), np.concatenate(rows)


def _draw(stratum: Int64[np.ndarray, "n"], n_sampled: Int64[np.ndarray, "h"], seed: int) -> Int64[np.ndarray, "m"]:
    """Return a random sample of each stratum without replacement, all in one random order."""
    chosen = []
    for h, n in enumerate(n_sampled):
        # Each stratum is shuffled as a whole: with the same seed, a larger sample holds the smaller one.
        shuffled = np.random.default_rng([seed, h]).permutation(np.flatnonzero(stratum == h))
        chosen.append(shuffled[:n])
    return np.random.default_rng(seed).permutation(np.concatenate(chosen))


def _names(run: Run, name: str, rows: Int64[np.ndarray, "m"]) -> dict[int, tuple[str, str]]:
    """Return id and URI of some rows of the run; only these are ever Python objects."""
    found, start, wanted = {}, 0, np.sort(rows)
    for images, _ in run.iter_scores(name, ["image_id", "uri"]):
        here = wanted[(wanted >= start) & (wanted < start + images.num_rows)]
        for row, picked in zip(here, images.take(here - start).to_pylist(), strict=True):
            found[int(row)] = (picked["image_id"], picked["uri"])
        start += images.num_rows
    return found


def _planned(
    stratum: Int64[np.ndarray, "n"],
    n_sampled: Int64[np.ndarray, "h"],
    probability: Float64[np.ndarray, "n"],
    flagged: Bool[np.ndarray, "n"],
) -> tuple[PlannedStratum, ...]:
    strata = []
    for h, n in enumerate(n_sampled):
        here = stratum == h
        values = probability[here]
        flag = bool(flagged[here][0])
        strata.append(PlannedStratum(h + 1, len(values), int(n), flag, float(values.min()), float(values.max())))
    return tuple(strata)


def write_plan(plan: PrevalencePlan, path: str | Path, *, run: Run | None = None) -> None:
    """Write the sample to a CSV file with an empty column `verdict`; errors as for `write_sample`.

    With the run, its history remembers how many images of each stratum were drawn, so that `estimate_prevalence` notices
    lines that were taken out of the file.
    """
    write_sample(path, plan.images)
    if run is not None:
        strata = {str(s.number): [s.n_images, s.n_sampled, s.flagged] for s in plan.strata}
        run.record(what=PLANNED, finished=datetime.now(UTC).isoformat(timespec="seconds"), strata=strata)
