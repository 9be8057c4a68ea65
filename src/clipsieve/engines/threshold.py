"""Choose thresholds for the stored scores of a run so that they keep a promise, and write them down."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from clipsieve._version import __version__
from clipsieve.classifiers import Classifier, save_classifier
from clipsieve.engines.labelled_scores import LabelledScores, read_labelled_scores
from clipsieve.engines.rated_images import JoinReport
from clipsieve.engines.rating_files import Ratings
from clipsieve.engines.score_facts import Promise, ScoreFacts, chosen_scores, load_scorer, read_score_facts
from clipsieve.errors import UsageError
from clipsieve.evaluation.operating_points import check_fraction
from clipsieve.evaluation.thresholds import (
    Decision,
    Observation,
    OperatingPoint,
    decide,
    observe,
    promise_precision,
    promise_recall,
)
from clipsieve.store import Run, locked

__all__ = ["ThresholdReport", "set_threshold"]

SURE_WITHOUT_REPLACEMENT = 0.8  # from this confidence on, see `clipsieve.evaluation.thresholds`


@dataclass(frozen=True, slots=True)
class ThresholdReport:
    """Thresholds, what is promised of them, and what they do to a run.

    Attributes
    ----------
    name : str
        Of the scores.
    threshold, remove_threshold : float, float or None
        An image is flagged at or above the first, and of those removed at or above the second; both are float32 numbers, like the
        stored probabilities. None if nothing is removed.
    n_keep, n_review, n_remove : int
        What becomes of the images with a score.
    promises : tuple of OperatingPoint
        That of recall, that of precision, or both.
    observed : tuple of Observation
        For each distinct threshold, on the labels that it was chosen by.
    join : JoinReport
        What became of the rated names.
    n_labels, n_unwanted : int
        Images that the thresholds were chosen by.
    n_tuned_on, n_undecided : int
        Rated images that were left out: the classifier was tuned on them; people were undecided about them.
    is_written : bool
        Whether the scores have the thresholds now.
    warnings : tuple of str
        What a person should know before they rely on it.
    """

    name: str
    threshold: float
    remove_threshold: float | None
    n_keep: int
    n_review: int
    n_remove: int
    promises: tuple[OperatingPoint, ...]
    observed: tuple[Observation, ...]
    join: JoinReport
    n_labels: int
    n_unwanted: int
    n_tuned_on: int
    n_undecided: int
    is_written: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Targets:
    recall: float | None
    precision: float | None
    confidence: float

    def __post_init__(self) -> None:
        if self.recall is None and self.precision is None:
            raise UsageError("nothing is to be promised", expected="a recall, a precision, or both")
        for name in ("recall", "precision", "confidence"):
            value = getattr(self, name)
            if value is not None:
                check_fraction(name, value)


def set_threshold(
    run: Run,
    scores_name: str | None,
    ratings: Ratings,
    *,
    recall: float | None = None,
    precision: float | None = None,
    confidence: float = 0.95,
    dry_run: bool = False,
    classifier_path: str | Path | None = None,
    output: str | Path | None = None,
) -> ThresholdReport:
    """Choose thresholds by rated images so that they keep a promise, and give them to the scores.

    The promises are those of `promise_recall` and `promise_precision`, on the stored probabilities; candidates for the
    second are the probabilities of all images in the run. Images that the classifier was tuned on are left out: on them it
    looks better than it is.

    =================== ================== ====================
    promised            `threshold`        `remove_threshold`
    =================== ================== ====================
    recall              of recall          None: none is removed
    precision           of precision       the same: nothing is left to review
    both                the lower one      of precision
    =================== ================== ====================

    Whatever thresholds and promises the scores had before are replaced; a later `score` of that name replaces these.

    Parameters
    ----------
    run : Run
        With scores.
    scores_name : str or None
        Which; None for the only ones there are.
    ratings : Ratings
        Labels, or ratings that have become labels, of a random sample of the run's images.
    recall, precision : float, optional
        What is promised at least, between 0 and 1; one of them or both.
    confidence : float, default=0.95
        Of each promise by itself, between 0 and 1.
    dry_run : bool, default=False
        Whether to write nothing.
    classifier_path, output : str or Path, optional
        The classifier file that made the scores, and where to write it with the new thresholds; both or neither.

    Raises
    ------
    UsageError
        If a number or combination makes no sense, too few labels are left for a promise (says how many would do), or the
        classifier file is not the one that made the scores.
    RunNotFoundError, RunCorruptError
        If there are no scores of that name, or they are damaged or older than the scan.
    ClassifierFileError
        If the classifier cannot be read or written.
    RunConflictError
        If another process is writing to the run.
    """
    targets = _Targets(recall, precision, confidence)
    _check_files(classifier_path, output, dry_run=dry_run)
    name = chosen_scores(run, scores_name)
    with contextlib.nullcontext() if dry_run else locked(run.path):
        started = time.monotonic()
        classifier = None if classifier_path is None else load_scorer(run, name, Path(classifier_path))
        report = _choose(run, name, ratings, targets)
        if dry_run:
            return report
        promises = _promises(report, ratings)
        if classifier is not None and output is not None:
            _save(classifier, Path(output), report, promises)
        _write(run, report, promises, elapsed_s=time.monotonic() - started)
    return replace(report, is_written=True)


def _check_files(classifier_path: str | Path | None, output: str | Path | None, *, dry_run: bool) -> None:
    if (classifier_path is None) != (output is None):
        raise UsageError("a classifier file is written with both a file to read and a file to write, or not at all")
    if output is not None and Path(output).suffix != ".safetensors":
        raise UsageError(f"`{output}` is no name for a classifier", expected="a name that ends in .safetensors")
    if output is not None and dry_run:
        raise UsageError("a dry run writes no classifier file", hint="leave out one of the two")


def _choose(run: Run, name: str, ratings: Ratings, targets: _Targets) -> ThresholdReport:
    facts = read_score_facts(run, name)
    scores = read_labelled_scores(run, name, facts, ratings)
    promises = _promise(scores, targets)
    threshold = min(point.threshold for point in promises)
    remove_threshold = next((point.threshold for point in promises if point.kind == "precision"), None)
    counts = np.bincount(decide(scores.everything, threshold, remove_threshold), minlength=len(Decision)).tolist()
    distinct = sorted({threshold, threshold if remove_threshold is None else remove_threshold})
    confidence = targets.confidence
    return ThresholdReport(
        name=name,
        threshold=threshold,
        remove_threshold=remove_threshold,
        n_keep=counts[Decision.KEEP],
        n_review=counts[Decision.REVIEW],
        n_remove=counts[Decision.REMOVE],
        promises=promises,
        observed=tuple(observe(scores.probability, scores.labels, t, confidence=confidence) for t in distinct),
        join=scores.join,
        n_labels=len(scores.labels),
        n_unwanted=int(scores.labels.sum()),
        n_tuned_on=scores.n_tuned_on,
        n_undecided=scores.join.n_left_out,
        is_written=False,
        warnings=_warnings(name, facts, scores, targets),
    )


def _promise(scores: LabelledScores, targets: _Targets) -> tuple[OperatingPoint, ...]:
    points, confidence = [], targets.confidence
    try:
        if targets.recall is not None:
            given = (scores.probability, scores.labels)
            points.append(promise_recall(*given, recall=targets.recall, confidence=confidence))
        if targets.precision is not None:
            # Every threshold tried is a stored probability, so that it compares in float32 as in float64.
            points.append(
                promise_precision(
                    scores.probability,
                    scores.labels,
                    precision=targets.precision,
                    confidence=confidence,
                    candidates=scores.everything,
                )
            )
    except UsageError as error:
        found, state = f"{error.found}{_missing(scores)}", "nothing was written"
        raise UsageError(error.what, expected=error.expected, found=found, state=state, hint=error.hint) from error
    return tuple(points)


def _missing(scores: LabelledScores) -> str:
    """Return why there are fewer labels than the file of ratings holds."""
    reasons = [
        (scores.n_tuned_on, "that the classifier was tuned on"),
        (scores.join.n_rated - scores.join.n_matched, "not found in the run with an embedding"),
    ]
    words = ", ".join(f"{n:,} {why}" for n, why in reasons if n)
    return f"; left out: {words}" if words else ""


def _warnings(name: str, facts: ScoreFacts, scores: LabelledScores, targets: _Targets) -> tuple[str, ...]:
    warnings = []
    if targets.confidence < SURE_WITHOUT_REPLACEMENT:
        warnings.append(
            f"a confidence of {targets.confidence:g} is low: where nearly all images of a small run are labelled, the promise "
            f"may be broken slightly more often than it says; with {SURE_WITHOUT_REPLACEMENT:g} or more it is not"
        )
    if not (facts.is_origin_known and scores.is_comparable):
        warnings.append(
            f"it cannot be told which images the classifier of `{name}` was tuned on: the promise holds only if none of the "
            "rated images is among them"
        )
    if targets.precision is not None and scores.join.n_left_out:
        warnings.append(
            f"people were undecided about {scores.join.n_left_out:,} rated images; the promise of precision does not count "
            "such images, but the threshold removes some of them, too"
        )
    return tuple(warnings)


def _promises(report: ThresholdReport, ratings: Ratings) -> list[Promise]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return [Promise(point, ratings.sha256, now, __version__) for point in report.promises]


def _save(classifier: Classifier, output: Path, report: ThresholdReport, promises: list[Promise]) -> None:
    provenance = classifier.provenance | {"operating_points": [promise.to_json() for promise in promises]}
    thresholds = {"threshold": report.threshold, "remove_threshold": report.remove_threshold}
    save_classifier(replace(classifier, **thresholds, provenance=provenance), output)  # type: ignore[type-var]


def _write(run: Run, report: ThresholdReport, promises: list[Promise], *, elapsed_s: float) -> None:
    thresholds = {"threshold": report.threshold, "remove_threshold": report.remove_threshold}
    counts = {"n_flagged": report.n_review + report.n_remove, "n_remove": report.n_remove}
    points = {"operating_points": [promise.to_json() for promise in promises]}
    run.write_score_facts(report.name, {**run.score_facts(report.name), **thresholds, **counts, **points})
    now = datetime.now(UTC).isoformat(timespec="seconds")
    facts = {"name": report.name, **thresholds, **counts, "n_labels": report.n_labels, "elapsed_s": elapsed_s}
    run.record(what="threshold", finished=now, **facts)
