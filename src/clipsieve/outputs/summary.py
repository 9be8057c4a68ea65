"""Counts of a run, in the form that a person, a page or a machine asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.engines.score_facts import Promise, ScoreCalibration, ScoreFacts, only_scores, read_score_facts
from clipsieve.evaluation.intervals import wilson_at
from clipsieve.store import Run

__all__ = ["ClassCount", "Summary", "summarize", "wilson_lower_bound"]


@dataclass(frozen=True, slots=True)
class ClassCount:
    """How many images of one class were flagged.

    Attributes
    ----------
    label : str
        The class, as the source names it.
    n_scored, n_flagged : int
        Images of the class with a score, and those at or above the threshold.
    """

    label: str
    n_scored: int
    n_flagged: int

    @property
    def flagged_share(self) -> float:
        """The fraction of the class that was flagged, 0-1."""
        return self.n_flagged / self.n_scored

    @property
    def rank(self) -> float:
        """What classes are ordered by: the lower end of the interval of the flagged share."""
        return wilson_lower_bound(self.n_flagged, self.n_scored)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run holds and what one classifier says of it.

    Attributes
    ----------
    source, kind, encoder : str
        Where the images came from, which kind of source that is, and what encoded them.
    n_listed, n_scanned, n_failed, n_ignored : int
        Inputs, those with an embedding, those without; files that are no images.
    failures : tuple of (str, int)
        Failure codes with their counts, most frequent first.
    elapsed_s : float or None
        Time spent encoding, in all scans of this run; None where it was not recorded.
    n_encoded : int
        Images that were encoded in that time.
    classifier : str or None
        The name of the scores looked at; None if there are none.
    threshold, remove_threshold : float or None
        Flagged means: probability of the unwanted class >= threshold; to be removed: >= remove_threshold.
    n_flagged, n_remove : int or None
        How many images were flagged, and how many of these are to be removed without a person looking.
    calibration : ScoreCalibration or None
        None if the probabilities are not calibrated.
    promises : tuple of Promise
        What the thresholds promise for this run.
    classes : tuple of ClassCount
        Every class with a flagged image, the most flagged first (see `ClassCount.rank`).
    """

    source: str
    kind: str
    encoder: str
    n_listed: int
    n_scanned: int
    n_failed: int
    n_ignored: int
    failures: tuple[tuple[str, int], ...]
    elapsed_s: float | None
    n_encoded: int
    classifier: str | None
    threshold: float | None
    remove_threshold: float | None
    n_flagged: int | None
    n_remove: int | None
    calibration: ScoreCalibration | None
    promises: tuple[Promise, ...]
    classes: tuple[ClassCount, ...]


def wilson_lower_bound(n_hits: int, n: int, *, z: float = 1.96) -> float:
    """Return the lower end of the score interval of a proportion.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference", J. Am. Stat. Assoc. 22.

    Parameters
    ----------
    n_hits, n : int
        Hits among trials, 0 <= n_hits <= n, n >= 1.
    z : float, default=1.96
        Quantile of the normal distribution; 1.96 gives the 95 % interval.

    Returns
    -------
    float
        0-1. Small classes are judged with caution: 3 of 3 gives 0.44, 90 of 100 gives 0.83.

    Examples
    --------
    >>> round(wilson_lower_bound(3, 3), 2), round(wilson_lower_bound(90, 100), 2)
    (0.44, 0.83)
    """
    low, _ = wilson_at(np.array(n_hits), np.array(n), z)
    return float(low)


def summarize(run: Run, classifier: str | None = None) -> Summary:
    """Count what a run holds.

    Parameters
    ----------
    run : Run
        A finished scan.
    classifier : str, optional
        The name of scores; by default the only ones there are, or none.

    Raises
    ------
    UsageError
        If there are several scores and none was named.
    RunNotFoundError
        If there are none of that name.
    RunCorruptError
        If a part is missing or damaged.
    """
    name = classifier or only_scores(run)
    failures: Counter[str | None] = Counter()
    for images in run.iter_images(["failure_code"]):
        failures.update(_counted(images.column("failure_code").drop_null()))
    n_failed = failures.total()
    facts = read_score_facts(run, name) if name else None
    classes, n_remove = _count_classes(run, name, facts) if name and facts else ({}, None)
    scans = [entry for entry in run.history() if entry.get("what") == "scan" and entry.get("n_new")]
    return Summary(
        source=run.manifest.source_location,
        kind=run.manifest.source_kind,
        encoder=run.manifest.encoder.name,
        n_listed=run.manifest.n_images,
        n_scanned=run.manifest.n_images - n_failed,
        n_failed=n_failed,
        n_ignored=run.manifest.n_ignored,
        failures=tuple((str(code), n) for code, n in failures.most_common()),
        elapsed_s=sum(entry["elapsed_s"] for entry in scans) if scans else None,
        n_encoded=sum(entry["n_new"] for entry in scans),
        classifier=name,
        threshold=facts.threshold if facts else None,
        remove_threshold=facts.remove_threshold if facts else None,
        n_flagged=sum(flagged for _, flagged in classes.values()) if facts else None,
        n_remove=n_remove,
        calibration=facts.calibration if facts else None,
        promises=facts.promises if facts else (),
        classes=_ranked(classes),
    )


def _count_classes(run: Run, name: str, facts: ScoreFacts) -> tuple[dict[str | None, tuple[int, int]], int]:
    """Return how many images of each label were scored and flagged, and how many of all are to be removed.

    None stands for the images without a label.
    """
    scored: Counter[str | None] = Counter()
    flagged: Counter[str | None] = Counter()
    n_remove = 0
    for images, scores in run.iter_scores(name, ["label"], ["probability"]):
        column = scores.column("probability")
        probability = column.drop_null().to_numpy()  # compared in float32, as `score` does
        labels = images.column("label").filter(column.is_valid())
        scored.update(_counted(labels))
        flagged.update(_counted(labels.filter(pa.array(probability >= facts.threshold))))
        n_remove += 0 if facts.remove_threshold is None else int((probability >= facts.remove_threshold).sum())
    return {label: (n, flagged[label]) for label, n in scored.items()}, n_remove


def _counted(column: pa.ChunkedArray) -> dict[str | None, int]:
    """Return how often each value occurs, in the order of the first; only different ones become Python objects."""
    found = pc.value_counts(column)
    return dict(zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True))


def _ranked(counts: Mapping[str | None, tuple[int, int]]) -> tuple[ClassCount, ...]:
    classes: Iterable[ClassCount] = (ClassCount(label, *both) for label, both in counts.items() if label is not None)
    found = [count for count in classes if count.n_flagged]
    return tuple(sorted(found, key=lambda count: (-count.rank, count.label)))
