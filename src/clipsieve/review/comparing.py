"""Two classifiers on the same verdicts: the one that made the scores, and one tuned without the images it is tested on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64

from clipsieve.classifiers import Classifier
from clipsieve.engines.labelled_scores import read_probabilities
from clipsieve.engines.rated_images import RatedImages
from clipsieve.evaluation.bootstrap import Difference, paired_bootstrap, summarize_splits
from clipsieve.evaluation.metrics import SplitPredictions
from clipsieve.review.related import Related
from clipsieve.store import Run

__all__ = ["Comparison", "Figure", "Figures", "Held", "compare"]

N_FOLDS = 5
MANY, N_FOLDS_OF_MANY = 5000, 3  # two thirds of so many verdicts teach nearly as much as four fifths, in half the time
FEWEST = 5  # of either verdict among those that the present scores know nothing of, to compare on them alone
FEWEST_GROUPS = 10  # of either verdict, to claim anything: of fewer, resamples vary less than other images would
FEW = 200  # verdicts: the figure of so few depends on how they fall into folds, so they fall twice
N_BOOTSTRAP = 500
MAX_RESAMPLED = 2**22  # images times resamples: more would take longer than the tuning itself


# Calls a function for each value, one after another or side by side, and keeps their order, as `map` does.
Each: TypeAlias = Callable[..., Iterable[Float64[np.ndarray, "_"]]]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, and the ends of its interval of 95 %, all 0-1."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """How good a classifier is on verdicts: accuracy where it flags as many as people removed, and how well it ranks."""

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
    related : Related
        Which of them stand or fall together, and which are near-duplicates that teach nothing more.
    tuned_on : collection of str
        Digests of the images that made the present classifier.
    """

    rated: RatedImages
    related: Related
    tuned_on: Collection[str]


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
    run: Run,
    scores_name: str,
    held: Held,
    fit: Callable[[RatedImages], Classifier],
    *,
    seed: int = 0,
    each: Each = map,
) -> Comparison:
    """Compare the scores of a run with what `fit` makes of the verdicts, each image tested by a fit without it.

    Images that are linked stand or fall together: in one fold, and in or out of a resample, as other verdicts would bring
    other groups. Images that the present classifier was tuned on, or was tuned on one that is linked with them, are trained
    on and not tested, unless too few others are left; a note says so, and then nothing is called worse.

    Accuracy is compared at matched thresholds: in each fold, either classifier flags as many images as the share of unwanted
    ones among the verdicts outside it. A threshold that was set for another purpose, such as a high recall, says nothing of
    what was learned; and one that decides best would flag nothing where unwanted images are rare.

    Parameters
    ----------
    run, scores_name
        A run and the name of its scores.
    held : Held
        The decided images.
    fit : callable
        From some of them to a classifier; for several threads at once if `each` is.
    seed : int, default=0
        Decides the folds.
    each : callable, default=map
        What calls the fits.

    Raises
    ------
    RunCorruptError
        If the scores are damaged.
    """
    rated, group = held.rated, held.related.group
    tested, notes, is_flattered = _tested(rated, group, held.tuned_on)
    kind = _kinds(rated.labels, group)
    n_groups = [len(np.unique(group[tested & has_label])) for has_label in (kind <= 1, kind >= 1)]
    n_folds = min(N_FOLDS if len(group) <= MANY else N_FOLDS_OF_MANY, *n_groups)
    if n_folds < 2:
        reason = "all images to keep, or all to remove, are alike or of one decision: nothing could be held out"
        return Comparison(0, None, None, None, "it cannot be said yet whether this is better", (*notes, reason))
    _, present = read_probabilities(run, scores_name, rated.image_ids)
    n_repeats = 2 if len(rated.labels) <= FEW else 1
    rng = np.random.default_rng(seed)
    before, after = [], []
    for _ in range(n_repeats):
        fold = _folds(group, 3 * tested + kind, n_folds, rng)
        learned = _out_of_fold(held, fold, tested, fit, each)
        luck = rng.random(len(fold))
        after.append(_predictions(rated.labels, group, tested, fold, learned, luck))
        before.append(_predictions(rated.labels, group, tested, fold, present, luck))
    n_tested = int(tested.sum())
    n_bootstrap = max(100, min(N_BOOTSTRAP, MAX_RESAMPLED // (n_tested * n_repeats)))
    gain = paired_bootstrap(after, before, n_bootstrap=n_bootstrap, seed=seed)["accuracy"]
    old, new = (_figures(splits, n_bootstrap, seed) for splits in (before, after))
    ends = _widened(gain, n_folds)
    found = _verdict(*ends[1:], min(n_groups), is_flattered=is_flattered)
    return Comparison(n_tested, old, new, ends, _sentence(n_tested, old, new, found), notes)


def _tested(
    rated: RatedImages, group: Int64[np.ndarray, "n"], tuned_on: Collection[str]
) -> tuple[Bool[np.ndarray, "n"], tuple[str, ...], bool]:
    """Return which images to test on, what to say of those that the present classifier knows, and whether that flatters it."""
    is_tuned_on = np.array([digest in tuned_on for digest in rated.digests], dtype=bool)
    n_known = int(is_tuned_on.sum())
    if not n_known:
        return ~is_tuned_on, (), False
    is_new = ~np.isin(group, group[is_tuned_on])
    known = f"the present classifier was tuned on {n_known:,} of these verdicts"
    if min(np.bincount(rated.labels[is_new], minlength=2)) >= FEWEST:
        n_like = len(group) - int(is_new.sum()) - n_known
        them = f"them, and {n_like:,} like them," if n_like else "them"
        return is_new, (f"{known}; the comparison leaves {them} out",), False
    return np.ones(len(group), dtype=bool), (f"{known}, which flatters it in the comparison",), True


def _kinds(labels: Int64[np.ndarray, "n"], group: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
    """Return for each image whether its group has wanted images alone (0), unwanted ones alone (2), or both (1)."""
    n_unwanted, n_all = np.bincount(group, labels), np.bincount(group)
    return np.asarray(((n_unwanted > 0).astype(np.int64) + (n_unwanted == n_all))[group])


def _folds(
    group: Int64[np.ndarray, "n"], kind: Int64[np.ndarray, "n"], n_folds: int, rng: np.random.Generator
) -> Int64[np.ndarray, "n"]:
    """Return a fold for each image: groups are dealt whole, those of each kind in turn.

    Those with both labels stand between the others: so the groups with either label follow one another, and spread.
    """
    fold_of = np.empty(int(group.max()) + 1, dtype=np.int64)
    dealt = 0
    for each in np.unique(kind)[::-1]:
        members = rng.permutation(np.unique(group[kind == each]))
        fold_of[members] = (dealt + np.arange(len(members))) % n_folds
        dealt += len(members)
    return np.asarray(fold_of[group])


def _out_of_fold(
    held: Held,
    fold: Int64[np.ndarray, "n"],
    tested: Bool[np.ndarray, "n"],
    fit: Callable[[RatedImages], Classifier],
    each: Each,
) -> Float64[np.ndarray, "n"]:
    """Return the probability of each tested image by a classifier that was tuned without its fold; NaN for the others."""

    def predict(number: int) -> Float64[np.ndarray, "_"]:
        classifier = fit(held.rated.take(np.flatnonzero((fold != number) & held.related.teaches)))
        found = classifier.predict_proba(held.rated.embeddings[(fold == number) & tested])
        return found[:, 1].astype(np.float64)

    probability = np.full(len(fold), np.nan)
    numbers = [int(number) for number in np.unique(fold[tested])]
    for number, found in zip(numbers, each(predict, numbers), strict=True):
        probability[(fold == number) & tested] = found
    return probability


def _predictions(
    labels: Int64[np.ndarray, "n"],
    group: Int64[np.ndarray, "n"],
    tested: Bool[np.ndarray, "n"],
    fold: Int64[np.ndarray, "n"],
    probability: Float64[np.ndarray, "n"],
    luck: Float64[np.ndarray, "n"],
) -> SplitPredictions:
    """Return the tested images as the bootstrap takes them: flagged at the matched threshold, and numbered by group.

    `luck` decides which of equal probabilities are flagged.
    """
    flagged = np.zeros(len(labels), dtype=bool)
    for number in np.unique(fold[tested]):
        here = np.flatnonzero((fold == number) & tested)
        n_flagged = round(len(here) * float(labels[(fold != number) & tested].mean()))
        flagged[here[np.lexsort((luck[here], -probability[here]))][:n_flagged]] = True
    # What has one number is resampled as one.
    return SplitPredictions(group[tested], labels[tested], probability[tested], flagged[tested])


def _figures(splits: Sequence[SplitPredictions], n_bootstrap: int, seed: int) -> Figures:
    found = summarize_splits(splits, n_bootstrap=n_bootstrap, seed=seed)
    names = ("accuracy", "roc_auc", "average_precision")
    return Figures(*(Figure(found[name].mean, found[name].low, found[name].high) for name in names))


def _widened(gain: Difference, n_folds: int) -> tuple[float, float, float]:
    """Return a difference and the ends of its interval, wide enough for other verdicts to train on as well.

    Resamples of what was tested leave out that the fits share most of their training images, and err together. The variance
    grows by 1 + folds x tested / trained, which is 1 + k / (k - 1) (Nadeau and Bengio 2003, "Inference for the generalization
    error", Mach. Learn. 52, 239-281, for the t-test). With labels of noise on 24 groups of 15 near-duplicates, 18 % of 150
    comparisons claimed something without this.
    """
    factor = float(np.sqrt(1 + n_folds / (n_folds - 1)))
    low, high = (gain.mean + factor * (end - gain.mean) for end in (gain.low, gain.high))
    return gain.mean, max(low, -1.0), min(high, 1.0)


def _verdict(low: float, high: float, n_groups: int, *, is_flattered: bool) -> str:
    if n_groups >= FEWEST_GROUPS and low > 0:
        return "better"
    if n_groups >= FEWEST_GROUPS and high < 0 and not is_flattered:
        return "worse"
    return "no clear difference yet"


def _sentence(n: int, before: Figures, after: Figures, verdict: str) -> str:
    """Say what the comparison shows, and no more than it shows."""
    return (
        f"on {n:,} held-out verdicts, with as many flagged as people removed, {100 * before.accuracy.value:.1f} % were "
        f"decided rightly before and {100 * after.accuracy.value:.1f} % after learning: {verdict}"
    )
