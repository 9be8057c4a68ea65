"""Two classifiers on the same verdicts: the one that made the scores, and one tuned without the images it is tested on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from clipsieve.classifiers import Classifier
from clipsieve.engines.labelled_scores import read_probabilities
from clipsieve.engines.rated_images import RatedImages
from clipsieve.evaluation.bootstrap import paired_bootstrap, summarize_splits
from clipsieve.evaluation.metrics import SplitPredictions, flag
from clipsieve.store import Run

__all__ = ["Comparison", "Figure", "Figures", "Held", "compare"]

N_FOLDS = 5
FEWEST = 5  # of either verdict among those that the present scores know nothing of, to compare on them alone
FEW = 200  # verdicts: the figure of so few depends on how they fall into folds, so they fall twice
N_BOOTSTRAP = 500
MAX_RESAMPLED = 2**22  # images times resamples: more would take longer than the tuning itself


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, and the ends of its interval of 95 %, all 0-1."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """How good a classifier is on verdicts: accuracy at its threshold, and how well it ranks."""

    accuracy: Figure
    roc_auc: Figure
    average_precision: Figure


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """What is known of the decided images.

    Attributes
    ----------
    rated : RatedImages
        With labels 0 and 1.
    groups : sequence of str or None
        For each image, the decision about a group that it belongs to.
    tuned_on : collection of str
        Digests of the images that made the present classifier.
    threshold : float
        Of the present scores.
    """

    rated: RatedImages
    groups: Sequence[str | None]
    tuned_on: Collection[str]
    threshold: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the comparison gave; `n` images were tested, none if nothing could be held out."""

    n: int
    before: Figures | None
    after: Figures | None
    accuracy_gain: tuple[float, float, float] | None
    sentence: str
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the figures alone."""
        return {name: value for name, value in asdict(self).items() if name not in ("sentence", "notes")}


def compare(
    run: Run, scores_name: str, held: Held, fit: Callable[[RatedImages], Classifier], *, seed: int = 0
) -> Comparison:
    """Compare the scores of a run with what `fit` makes of the verdicts, each image tested by a fit without it.

    Images with the same content, and those that one decision was about, stand or fall together. Images that the present
    classifier was tuned on are trained on and not tested, unless too few others are left; a note says so.

    Parameters
    ----------
    run, scores_name
        A run and the name of its scores.
    held : Held
        The decided images.
    fit : callable
        From some of them to a classifier.
    seed : int, default=0
        Decides the folds.

    Raises
    ------
    RunCorruptError
        If the scores are damaged.
    """
    rated = held.rated
    group = _groups(rated, held.groups)
    tested, notes = _tested(rated, held.tuned_on)
    n_folds = min(N_FOLDS, *(len(np.unique(group[tested & (rated.labels == label)])) for label in (0, 1)))
    if n_folds < 2:
        reason = "all images to keep, or all to remove, are copies or of one decision: nothing could be held out"
        return Comparison(0, None, None, None, "it cannot be said yet whether this is better", (*notes, reason))
    _, present = read_probabilities(run, scores_name, rated.image_ids)
    n_repeats = 2 if len(rated.labels) <= FEW else 1
    rng = np.random.default_rng(seed)
    index = np.flatnonzero(tested)
    before, after = [], []
    for _ in range(n_repeats):
        fold = _folds(rated.labels, group, n_folds, rng)
        probability, flagged = _out_of_fold(rated, fold, tested, fit)
        after.append(SplitPredictions(index, rated.labels[index], probability[index], flagged[index]))
        # Compared in float32, as `score` does: a threshold is one of these numbers.
        decided = flag(present[index], float(np.float32(held.threshold)))
        before.append(SplitPredictions(index, rated.labels[index], present[index], decided))
    n_bootstrap = max(100, min(N_BOOTSTRAP, MAX_RESAMPLED // (len(index) * n_repeats)))
    gain = paired_bootstrap(after, before, n_bootstrap=n_bootstrap, seed=seed)["accuracy"]
    # All splits of the present scores are alike: one says all.
    old, new = _figures(before[:1], n_bootstrap, seed), _figures(after, n_bootstrap, seed)
    ends = (gain.mean, gain.low, gain.high)
    return Comparison(len(index), old, new, ends, _sentence(len(index), old, new, ends), notes)


def _groups(rated: RatedImages, decisions: Sequence[str | None]) -> Int64[np.ndarray, "n"]:
    """Return a number for each image, the same for those that are linked by content or by one decision."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(rated.digests)
    keys = [("content", digest) for digest in rated.digests]
    links = [(i, ("decision", name)) for i, name in enumerate(decisions) if name is not None]
    number = {key: n + i for i, key in enumerate(dict.fromkeys([*keys, *(key for _, key in links)]))}
    edges = np.array([*((i, number[key]) for i, key in enumerate(keys)), *((i, number[key]) for i, key in links)])
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n + len(number),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1][:n], dtype=np.int64)


def _tested(rated: RatedImages, tuned_on: Collection[str]) -> tuple[Bool[np.ndarray, "n"], tuple[str, ...]]:
    """Return which images to test on, and what to say of those that the present classifier was tuned on."""
    is_new = np.array([digest not in tuned_on for digest in rated.digests], dtype=bool)
    n_known = int((~is_new).sum())
    if not n_known:
        return is_new, ()
    if min(np.bincount(rated.labels[is_new], minlength=2)) >= FEWEST:
        why = f"the present classifier was tuned on {n_known:,} of these verdicts; the comparison leaves them out"
        return is_new, (why,)
    why = f"the present classifier was tuned on {n_known:,} of these verdicts, which flatters it in the comparison"
    return np.ones(len(is_new), dtype=bool), (why,)


def _folds(
    labels: Int64[np.ndarray, "n"], group: Int64[np.ndarray, "n"], n_folds: int, rng: np.random.Generator
) -> Int64[np.ndarray, "n"]:
    """Return a fold for each image: groups are dealt whole, those of either label in turn."""
    names, first = np.unique(group, return_index=True)
    fold_of = np.empty(int(group.max()) + 1, dtype=np.int64)
    dealt = 0
    for label in (1, 0):
        members = rng.permutation(names[labels[first] == label])
        fold_of[members] = (dealt + np.arange(len(members))) % n_folds
        dealt += len(members)
    return np.asarray(fold_of[group])


def _out_of_fold(
    rated: RatedImages,
    fold: Int64[np.ndarray, "n"],
    tested: Bool[np.ndarray, "n"],
    fit: Callable[[RatedImages], Classifier],
) -> tuple[Float64[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """Return the probability of each tested image by a classifier that was tuned without its fold, and what it decides."""
    probability, flagged = np.zeros(len(fold)), np.zeros(len(fold), dtype=bool)
    for number in np.unique(fold[tested]):
        here = np.flatnonzero((fold == number) & tested)
        classifier = fit(rated.take(np.flatnonzero(fold != number)))
        found = classifier.predict_proba(rated.embeddings[here])[:, 1].astype(np.float64)
        probability[here], flagged[here] = found, flag(found, float(np.float32(classifier.threshold)))
    return probability, flagged


def _figures(splits: Sequence[SplitPredictions], n_bootstrap: int, seed: int) -> Figures:
    found = summarize_splits(splits, n_bootstrap=n_bootstrap, seed=seed)
    names = ("accuracy", "roc_auc", "average_precision")
    return Figures(*(Figure(found[name].mean, found[name].low, found[name].high) for name in names))


def _sentence(n: int, before: Figures, after: Figures, gain: tuple[float, float, float]) -> str:
    """Say what the comparison shows, and no more than it shows."""
    _, low, high = gain
    verdict = "better" if low > 0 else "worse" if high < 0 else "no clear difference yet"
    return (
        f"on {n:,} held-out verdicts, {100 * before.accuracy.value:.1f} % were decided rightly before and "
        f"{100 * after.accuracy.value:.1f} % after learning: {verdict}"
    )
