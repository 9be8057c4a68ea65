"""How much of the data set is unwanted, if the verdicts are those on a random sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clipsieve.engines.prevalence import PrevalenceReport, estimate_prevalence
from clipsieve.engines.rating_tables import RatingTable
from clipsieve.engines.verdicts import COLUMNS, read_verdicts
from clipsieve.errors import UsageError
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
    is_recall_known : bool
        Whether the sample was drawn for the threshold of the scores: only then its recall is theirs.
    problems : tuple of str
        What a person should know before they believe the numbers, or why there are none; sentences without a full stop.
    """

    found: PrevalenceReport | None = None
    is_recall_known: bool = False
    problems: tuple[str, ...] = ()


def estimate_from_sample(
    run: Run, path: Path, is_flagged: Mapping[str, bool], *, must_be_one: bool = False
) -> SampleEstimate:
    """Estimate from a file of verdicts, if it is a sample of `clipsieve prevalence`.

    Parameters
    ----------
    run : Run
        The one that the sample was drawn from.
    path : Path
        The file.
    is_flagged : mapping of str to bool
        By image id, whether an image is flagged by the scores that the report is about; some of the sample's will do.
    must_be_one : bool, default=False
        Whether a file that is no sample, or none that can be used, is an error (UsageError) and not a problem.
    """
    try:
        if not must_be_one and not _is_sample(path):
            return SampleEstimate(problems=(f"{NOT_ESTIMATED}: that takes verdicts on a random sample",))
        found = estimate_prevalence(run, path)
        n_other = sum(is_flagged.get(line.image_id, line.flagged) != line.flagged for line in read_verdicts(path))
    except UsageError as error:
        if must_be_one:
            raise
        return SampleEstimate(problems=(f"{NOT_ESTIMATED}: {error.what}",))
    problems = list(found.warnings)
    if n_other:
        problems.append(
            f"{count_of(n_other, 'image')} of the sample had another flag when it was drawn: which share of the unwanted images "
            "is flagged was not estimated"
        )
    return SampleEstimate(found, not n_other, tuple(problems))


def _is_sample(path: Path) -> bool:
    """Return whether a table has the columns of a sample, of which `uri` is only for people, and is CSV."""
    table = RatingTable.open(path)
    return table.unit == "line" and set(COLUMNS) - {"uri"} <= set(table.names)
