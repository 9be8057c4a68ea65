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
_EXACT = "exact interval (Clopper and Pearson 1934)"
_STRATIFIED = (
    "stratified random sample (Cochran 1977, section 5.3); the wider of the intervals by variance recovery (Zou and Donner "
    "2008) and by matched moments (Tiwari, Clegg and Zou 2006)"
)


def build_figures(
    counts: RunCounts, classes: tuple[ClassFlags, ...], estimate: SampleEstimate, *, n_listed: int, n_ignored: int
) -> tuple[Figure, ...]:
    """Return the figures in their order; `docs/guides/report.md` lists the ids."""
    n = counts.n
    plain = [
        Figure("n_listed", n_listed, "images listed"),
        Figure("n_scanned", n["scanned"], "images with an embedding"),
        Figure("n_failed", n["failed"], "images that could not be read, decoded or encoded"),
        _share("share_failed", n["failed"], n_listed, "share of the listed images that failed"),
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
        *_estimates(estimate),
        Figure("n_classes", len(classes), "classes"),
        Figure("n_classes_over", n_over, f"classes flagged more often than the rest (q < {MAX_Q})"),
    )


def _verdict_figures(counts: RunCounts) -> list[Figure]:
    n = counts.n
    n_reviewed, n_confirmed = n["flagged_reviewed"], n["flagged_unwanted"]
    low, high = clopper_pearson(n_confirmed, n_reviewed, CONFIDENCE)
    confirmed = "share of the flagged images with a verdict that was judged unwanted"
    return [
        Figure("n_verdicts", n["verdicts"], "images with a verdict"),
        Figure("n_verdicts_unwanted", n["verdicts_unwanted"], "images judged unwanted"),
        Figure("n_verdicts_unsure", n["verdicts_unsure"], "images that people were unsure of or differ about"),
        Figure("n_flagged_reviewed", n_reviewed, "flagged images with a verdict"),
        Figure("n_flagged_unreviewed", n["flagged"] - n_reviewed, "flagged images that nobody has looked at"),
        Figure("n_flagged_confirmed", n_confirmed, "flagged images judged unwanted"),
        _figure("share_confirmed", n_confirmed / n_reviewed if n_reviewed else None, confirmed, low, high, _EXACT),
        Figure("n_unflagged_reviewed", n["unflagged_reviewed"], "unflagged images with a verdict"),
        Figure("n_unflagged_unwanted", n["unflagged_unwanted"], "unflagged images judged unwanted"),
    ]


def _estimates(estimate: SampleEstimate) -> list[Figure]:
    prevalence, recall = "prevalence", "recall"
    words = {
        prevalence: "estimated share of the scored images that people would judge unwanted",
        recall: "estimated share of the unwanted images that is flagged",
    }
    if estimate.found is None:
        return [Figure(figure_id, None, text) for figure_id, text in words.items()]
    whole, caught = estimate.found.prevalence, estimate.found.recall
    found = _figure(prevalence, whole.share, words[prevalence], whole.low, whole.high, _STRATIFIED)
    if not estimate.is_recall_known:
        return [found, Figure(recall, None, words[recall])]
    both = f"{_STRATIFIED}, of both parts together (Bonferroni's inequality)"
    return [found, _figure(recall, caught.share, words[recall], caught.low, caught.high, both)]


def _share(figure_id: str, n_hits: int, n: int, words: str) -> Figure:
    low, high = wilson(np.array(n_hits), np.array(n), CONFIDENCE)
    return _figure(figure_id, n_hits / n if n else None, words, float(low), float(high), _WILSON)


def _figure(figure_id: str, value: float | None, words: str, low: float, high: float, method: str) -> Figure:
    """Return a share with its interval; of 0 of 0, neither is known."""
    if value is None:
        return Figure(figure_id, None, words)
    return Figure(figure_id, value, words, low, high, CONFIDENCE, method)
