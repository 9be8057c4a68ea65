"""The numbers of a report's summary, each with its name and its words."""

from __future__ import annotations

import numpy as np

from clipsieve.evaluation.intervals import clopper_pearson, wilson
from clipsieve.outputs.report.counts import RunCounts
from clipsieve.outputs.report.estimate import SampleEstimate
from clipsieve.outputs.report.records import ClassFlags, Figure

__all__ = ["CONFIDENCE", "MAX_Q", "build_figures"]

CONFIDENCE = 0.95
MAX_Q = 0.05
_WILSON = "score interval (Wilson 1927)"
_EXACT = "exact interval (Clopper and Pearson 1934), if those with a verdict were drawn at random"
_ON_EVERY_ONE = ": people decided on every one"
_STRATIFIED = (
    "stratified random sample (Cochran 1977, section 5.3); the wider of the intervals by variance recovery (Zou and Donner "
    "2008) and by matched moments (Tiwari, Clegg and Zou 2006)"
)


def build_figures(
    counts: RunCounts, classes: tuple[ClassFlags, ...], estimate: SampleEstimate, *, n_listed: int, n_ignored: int
) -> tuple[Figure, ...]:
    """Return the figures in their order; `docs/guides/report.md` lists the ids and what each counts."""
    n = counts.n
    plain = [
        Figure("n_listed", n_listed, "images listed"),
        Figure("n_scanned", n["scanned"], "images with an embedding"),
        Figure("n_failed", n["failed"], "images without an embedding, those on the block list among them"),
        _share("share_failed", n["failed"], n_listed, "share of the listed images that has no embedding"),
        Figure("n_unreadable", n["failed"] - n["blocked"], "images that could not be read, decoded or encoded"),
        Figure("n_blocked", n["blocked"], "images on the block list, never opened"),
        Figure("n_not_hashed", n["not_hashed"], "images whose content could not be read and has no hash"),
        Figure("n_ignored", n_ignored, "other files in the source, not looked at"),
        Figure("n_with_label", n["with_label"], "images with a class"),
        Figure("n_with_caption", n["with_caption"], "images with a caption"),
        Figure("n_scored", n["scored"], "images with a probability"),
        Figure("n_flagged", n["flagged"], "images flagged"),
        _share("share_flagged", n["flagged"], n["scored"], "share of the scored images that is flagged"),
        Figure("n_review", n["flagged"] - n["remove"], "flagged images that the thresholds leave to people"),
        Figure("n_remove", n["remove"], "flagged images at or above the removal threshold"),
    ]
    n_over = sum(rated.q_value < MAX_Q for rated in classes)
    return (
        *plain,
        *_verdict_figures(counts),
        *_flagged_figures(counts, estimate),
        *_other_figures(counts),
        *_estimates(counts, estimate),
        Figure("n_classes", len(classes), "classes"),
        Figure("n_classes_over", n_over, f"classes flagged clearly more often than the rest (q < {MAX_Q})"),
    )


def _verdict_figures(counts: RunCounts) -> list[Figure]:
    return [
        Figure("n_verdicts", counts.n_of("reviewed"), "scored images with a verdict"),
        Figure("n_verdicts_unwanted", counts.n_of("unwanted"), "scored images judged unwanted"),
        Figure("n_verdicts_unsure", counts.n_of("unsure"), "scored images that people were unsure of or differ about"),
    ]


def _flagged_figures(counts: RunCounts, estimate: SampleEstimate) -> list[Figure]:
    n = counts.n
    n_reviewed, n_confirmed = n["flagged_reviewed"], n["flagged_unwanted"]
    n_decided = n_reviewed - n["flagged_unsure"]
    return [
        Figure("n_flagged_reviewed", n_reviewed, "flagged images with a verdict"),
        Figure("n_flagged_unsure", n["flagged_unsure"], "flagged images that people were unsure of or differ about"),
        Figure("n_flagged_decided", n_decided, "flagged images that were judged unwanted or wanted"),
        Figure("n_flagged_unreviewed", n["flagged"] - n_reviewed, "flagged images that nobody has looked at"),
        Figure("n_flagged_confirmed", n_confirmed, "flagged images judged unwanted"),
        _confirmed(n_confirmed, n_decided, has_interval=not (estimate.is_sample or counts.is_decided("flagged"))),
        _precision(counts, estimate),
    ]


def _confirmed(n_confirmed: int, n_decided: int, *, has_interval: bool) -> Figure:
    """Return a plain share; its interval would be wrong where some images were likelier to be looked at than others."""
    words = "share of the flagged images judged unwanted or wanted that was judged unwanted"
    if not has_interval:
        return Figure("share_confirmed", n_confirmed / n_decided if n_decided else None, words)
    low, high = clopper_pearson(n_confirmed, n_decided, CONFIDENCE)
    return _figure("share_confirmed", n_confirmed / n_decided if n_decided else None, words, low, high, _EXACT)


def _precision(counts: RunCounts, estimate: SampleEstimate) -> Figure:
    words = "estimated share of the flagged images that people would judge unwanted"
    if counts.is_decided("flagged"):
        exact = f"share of the flagged images that is unwanted{_ON_EVERY_ONE}"
        return Figure("precision", counts.n["flagged_unwanted"] / counts.n["flagged"], exact)
    found = estimate.precision
    if found is None:
        return Figure("precision", None, words)
    return _figure("precision", found.share, words, found.low, found.high, _STRATIFIED)


def _other_figures(counts: RunCounts) -> list[Figure]:
    n = counts.n
    return [
        Figure("n_unflagged_reviewed", n["unflagged_reviewed"], "unflagged images with a verdict"),
        Figure("n_unflagged_unwanted", n["unflagged_unwanted"], "unflagged images judged unwanted"),
        Figure("n_unscored_reviewed", n["unscored_reviewed"], "images without a probability that have a verdict"),
        Figure("n_unscored_unwanted", n["unscored_unwanted"], "images without a probability that were judged unwanted"),
    ]


def _estimates(counts: RunCounts, estimate: SampleEstimate) -> list[Figure]:
    prevalence, recall = "prevalence", "recall"
    words = {
        prevalence: "estimated share of the scored images that people would judge unwanted",
        recall: "estimated share of the unwanted images that is flagged",
    }
    if counts.is_decided("flagged", "unflagged"):
        return _counted(counts)
    if estimate.found is None:
        return [Figure(figure_id, None, text) for figure_id, text in words.items()]
    whole, caught = estimate.found.prevalence, estimate.found.recall
    found = _figure(prevalence, whole.share, words[prevalence], whole.low, whole.high, _STRATIFIED)
    if not estimate.is_recall_known:
        return [found, Figure(recall, None, words[recall])]
    both = f"{_STRATIFIED}, of both parts together (Bonferroni's inequality)"
    return [found, _figure(recall, caught.share, words[recall], caught.low, caught.high, both)]


def _counted(counts: RunCounts) -> list[Figure]:
    """Return the shares of a run of which people judged every image: nothing is estimated, so there is no interval."""
    n_unwanted, n_flagged = counts.n_of("unwanted"), counts.n["flagged_unwanted"]
    return [
        Figure(
            "prevalence", n_unwanted / counts.n["scored"], f"share of the scored images that is unwanted{_ON_EVERY_ONE}"
        ),
        Figure(
            "recall",
            n_flagged / n_unwanted if n_unwanted else None,
            f"share of the unwanted images that is flagged{_ON_EVERY_ONE}",
        ),
    ]


def _share(figure_id: str, n_hits: int, n: int, words: str) -> Figure:
    low, high = wilson(np.array(n_hits), np.array(n), CONFIDENCE)
    return _figure(figure_id, n_hits / n if n else None, words, float(low), float(high), _WILSON)


def _figure(figure_id: str, value: float | None, words: str, low: float, high: float, method: str) -> Figure:
    """Return a share with its interval; of 0 of 0, neither is known."""
    if value is None:
        return Figure(figure_id, None, words)
    return Figure(figure_id, value, words, low, high, CONFIDENCE, method)
