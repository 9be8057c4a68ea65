"""How much of the data set is unwanted, if the verdicts are those on a random sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from clipsieve.engines.prevalence import PrevalenceReport, estimate_from_verdicts
from clipsieve.engines.private_places import without_folders
from clipsieve.engines.verdict_files import ImageVerdicts
from clipsieve.errors import UsageError
from clipsieve.evaluation.prevalence import Prevalence, estimate
from clipsieve.outputs.report.words import count_of
from clipsieve.store import Run

__all__ = ["NOT_ESTIMATED", "SampleEstimate", "estimate_from_sample"]

NOT_ESTIMATED = "how many images are unwanted in all was not estimated"


@dataclass(frozen=True, slots=True)
class SampleEstimate:
    """What a sample says of the whole, or why it says nothing.

    Attributes
    ----------
    found : PrevalenceReport or None
        None if there is no sample, or it cannot be used.
    precision : Prevalence or None
        How much of the flagged is unwanted; None without a sample, or if it was drawn for other flags.
    is_sample : bool
        Whether the verdicts are those of a sample, usable or not: then some images were likelier to be looked at than others.
    is_recall_known : bool
        Whether the sample was drawn for the threshold of the scores: only then its recall is theirs.
    problems : tuple of str
        What a person should know before they believe the numbers, or why there are none; sentences without a full stop.
    """

    found: PrevalenceReport | None = None
    precision: Prevalence | None = None
    is_sample: bool = False
    is_recall_known: bool = False
    problems: tuple[str, ...] = ()


def estimate_from_sample(run: Run, verdicts: ImageVerdicts, is_flagged: Mapping[str, bool]) -> SampleEstimate:
    """Estimate from verdicts, if they are about a sample of `clipsieve prevalence`.

    Parameters
    ----------
    run : Run
        The one that the sample was drawn from.
    verdicts : ImageVerdicts
        Whose sample.
    is_flagged : mapping of str to bool
        By image id, whether an image is flagged by the scores that the report is about; some of the sample's will do.
    """
    lines = verdicts.sample
    if lines is None:
        problem = verdicts.sample_problem
        return (
            SampleEstimate(problems=(f"{NOT_ESTIMATED}: that takes verdicts on a random sample",))
            if problem is None
            else _unusable(verdicts, problem)
        )
    try:
        found = estimate_from_verdicts(run, verdicts.path, list(lines))
    except UsageError as error:
        return _unusable(verdicts, error.what)
    n_other = sum(is_flagged.get(line.image_id, line.flagged) != line.flagged for line in lines)
    if not n_other:
        return SampleEstimate(found, _precision(found), is_sample=True, is_recall_known=True, problems=found.warnings)
    other = (
        f"{count_of(n_other, 'image')} of the sample had another flag when it was drawn: which share of the unwanted images is "
        "flagged, and which share of the flagged is unwanted, was not estimated"
    )
    return SampleEstimate(found, is_sample=True, problems=(*found.warnings, other))


def _unusable(verdicts: ImageVerdicts, what: str) -> SampleEstimate:
    words = without_folders(what.replace(str(verdicts.path), verdicts.path.name))
    return SampleEstimate(is_sample=True, problems=(f"{NOT_ESTIMATED}: {words}",))


def _precision(found: PrevalenceReport) -> Prevalence | None:
    """Return the estimate over the strata that were flagged: each is flagged as a whole, or not at all."""
    strata = [stratum for stratum in found.strata if stratum.flagged]
    if not strata:
        return None
    hits, judged, sizes = (
        np.array([getattr(stratum, name) for stratum in strata], dtype=np.int64)
        for name in ("n_hits", "n_judged", "n_images")
    )
    return estimate(hits, judged, sizes)
