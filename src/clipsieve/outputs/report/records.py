"""What a report says, as records: the page, `report.json`, the tables and the datasheet all say the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "ClassFlags",
    "Concept",
    "Example",
    "Failure",
    "Figure",
    "HistogramBin",
    "Report",
    "TaxonomySection",
    "Term",
    "TermSection",
]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, so that prose can name where it comes from.

    Attributes
    ----------
    id : str
        Unique in the report, such as "n_flagged"; what the datasheet refers to.
    value : int, float or None
        Shares are 0-1. None where it is not known, or 0 of 0.
    words : str
        What it is, as a sentence without a full stop.
    low, high : float or None
        Ends of the interval; None for a plain count.
    confidence : float or None
        Of the interval.
    method : str or None
        What kind of interval, with its source.
    """

    id: str
    value: int | float | None
    words: str
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    method: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """How many images failed for one reason (`docs/format.md`)."""

    code: str
    n: int


@dataclass(frozen=True, slots=True)
class HistogramBin:
    """How many images have a probability from `low` to below `high`; the last bin holds 1 too."""

    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class ClassFlags:
    """How much of one class is flagged, against the rest of the data set.

    Attributes
    ----------
    label : str
        The class, as the source names it.
    n_scored, n_flagged : int
        Images of the class with a probability, and those that are flagged; n_scored >= 1.
    share, low, high : float
        Flagged share and its 95 % interval, 0-1.
    p_value : float
        Of the test that the class is flagged as often as the rest, one-sided: more often.
    q_value : float
        The same, corrected for the number of classes; classes are ordered by it, then by `low`, the highest first.
    """

    label: str
    n_scored: int
    n_flagged: int
    share: float
    low: float
    high: float
    p_value: float
    q_value: float


@dataclass(frozen=True, slots=True)
class Concept:
    """How many flagged images were assigned to one concept.

    Attributes
    ----------
    name, title : str
        As in the taxonomy's file.
    n : int
        Images assigned to it.
    share : float
        Of the flagged images, 0-1.
    median_margin : float or None
        Of the images assigned to it; None for none. See `TaxonomySection.min_margin`.
    prompts : tuple of str
        The words that stand for it.
    is_other : bool
        Whether it is what is left over.
    n_too_close : int
        Of the images in "other": those that were nearest to another concept, but by less than `min_margin`; else 0.
    """

    name: str
    title: str
    n: int
    share: float
    median_margin: float | None
    prompts: tuple[str, ...]
    is_other: bool = False
    n_too_close: int = 0


@dataclass(frozen=True, slots=True)
class TaxonomySection:
    """What the flagged images show, as far as words can tell.

    Attributes
    ----------
    name, source : str
        Of the taxonomy, and where its words come from.
    sha256 : str
        Of its file.
    min_margin : float
        An image is assigned to the concept of the highest probability if that exceeds the next one's by at least this, 0-1; else
        to "other".
    concepts : tuple of Concept
        In the order of the file.
    problem : str or None
        Why nothing could be assigned, in words; then there are no concepts.
    """

    name: str
    source: str
    sha256: str
    min_margin: float
    concepts: tuple[Concept, ...]
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Term:
    """One term, among the flagged and among the rest.

    Attributes
    ----------
    term : str
        Lower case.
    n_flagged, n_rest : int
        How often it stands among the flagged, and among all others.
    log_odds : float
        Difference of the log-odds with an informative Dirichlet prior; > 0: more among the flagged.
    z_score : float
        The same in its standard deviations; what terms are ordered by.
    """

    term: str
    n_flagged: int
    n_rest: int
    log_odds: float
    z_score: float


@dataclass(frozen=True, slots=True)
class TermSection:
    """Terms of one field.

    Attributes
    ----------
    field : str
        "class names" or "captions".
    n_flagged, n_rest : int
        Terms counted among the flagged, and among all others.
    terms : tuple of Term
        Over-represented ones, the highest z-score first.
    frequent : tuple of Term
        The most frequent among the flagged, by plain count.
    """

    field: str
    n_flagged: int
    n_rest: int
    terms: tuple[Term, ...]
    frequent: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """One flagged image, shown.

    Attributes
    ----------
    image_id, uri : str
        As in the run.
    label, caption : str or None
        What the source says of it.
    probability : float
        Of the unwanted class, 0-1.
    concept : str or None
        The title of the one that it was assigned to.
    margin : float or None
        See `TaxonomySection.min_margin`.
    verdict : str or None
        "unwanted", "wanted" or "unsure" if people have looked at it.
    thumbnail : bytes or None
        A small image as WebP; None if there is none.
    width, height : int or None
        Of the thumbnail, in pixels.
    """

    image_id: str
    uri: str
    label: str | None
    caption: str | None
    probability: float
    concept: str | None
    margin: float | None
    verdict: str | None
    thumbnail: bytes | None
    width: int | None
    height: int | None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a report says of one run and the scores of one classifier.

    Attributes
    ----------
    title : str
        The name of the data set.
    made : str
        When, UTC, ISO 8601.
    source_location, source_kind : str
        Where the images came from.
    figures : tuple of Figure
        Every number of the summary; see `docs/guides/report.md` for the ids.
    failures : tuple of Failure
        Most frequent first.
    histogram : tuple of HistogramBin
        Of the probabilities, from 0 to 1.
    threshold, remove_threshold : float, float or None
        Flagged means at or above the first; the machine removes at or above the second.
    calibration : str
        Whether the probabilities are calibrated, and how, in words.
    promises : tuple of str
        What the thresholds promise, a sentence each.
    classes : tuple of ClassFlags
        All with an image that has a probability, in order; empty if the source has no classes.
    taxonomy : TaxonomySection or None
        None if it was not asked for.
    terms : tuple of TermSection
        For class names and for captions, where the source has them.
    examples : tuple of Example
        Of every concept the most probable ones.
    has_thumbnails : bool
        Whether they were asked for.
    method : mapping of str to anything that JSON takes
        What another person needs to repeat it: encoder, classifier, prompts, options, versions, hashes.
    limits : tuple of str
        What was not looked at, a sentence each.
    """

    title: str
    made: str
    source_location: str
    source_kind: str
    figures: tuple[Figure, ...]
    failures: tuple[Failure, ...]
    histogram: tuple[HistogramBin, ...]
    threshold: float
    remove_threshold: float | None
    calibration: str
    promises: tuple[str, ...]
    classes: tuple[ClassFlags, ...]
    taxonomy: TaxonomySection | None
    terms: tuple[TermSection, ...]
    examples: tuple[Example, ...]
    has_thumbnails: bool
    method: Mapping[str, Any]
    limits: tuple[str, ...]

    def figure(self, figure_id: str) -> Figure:
        """Return one of the figures; KeyError if there is none of that id."""
        return {figure.id: figure for figure in self.figures}[figure_id]
