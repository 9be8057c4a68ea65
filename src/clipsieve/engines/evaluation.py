"""What an evaluation found, as one record: metrics with intervals, comparisons, counts, and where they came from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float64, Int64

from clipsieve._version import __version__
from clipsieve.engines.evaluate import MethodResult
from clipsieve.evaluation.bootstrap import MetricSummary, summarize_splits
from clipsieve.evaluation.comparison import Comparison, compare_methods
from clipsieve.evaluation.metrics import Confusion, RatingBin, SplitPredictions, accuracy_by_rating, confusion

__all__ = ["Evaluation", "EvaluationRow", "NamedComparison", "RatedScale", "at_largest_fraction", "build_evaluation"]

MAX_COMPARED = 6
BIN_WIDTH = 0.5  # of ratings


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationRow:
    """How good one method is, trained on one fraction of the images, on one test set.

    Attributes
    ----------
    name : str
        The method, and the encoder where there are several.
    fraction : float or None
        Of the training images; None for what is not trained, or where it is not known.
    test_name : str
        Which test set, where there are several.
    n_train : int or None
        Training images, the mean over splits; None if that is not known.
    n_splits, n_predictions, n_images : int
        Splits, test rows in all of them, and how many different images these are.
    metrics : dict of str to MetricSummary
        Mean over splits, sample standard deviation, and interval by image.
    confusion : Confusion
        Over all test rows.
    by_rating : tuple of RatingBin
        Accuracy over all test rows by rating; empty where there are labels alone.
    """

    name: str
    fraction: float | None
    test_name: str
    n_train: int | None
    n_splits: int
    n_predictions: int
    n_images: int
    metrics: Mapping[str, MetricSummary]
    confusion: Confusion
    by_rating: tuple[RatingBin, ...]


T = TypeVar("T", MethodResult, EvaluationRow)


@dataclass(frozen=True, slots=True, eq=False)
class RatedScale:
    """The ratings of all matched images, and how they became labels.

    Attributes
    ----------
    rating : float64 array of shape (n,)
        Of every matched image.
    labels : int64 array of shape (n,)
        1 unwanted, 0 wanted, -1 left out.
    low, high : float
        The cuts.
    """

    rating: Float64[np.ndarray, "n"]
    labels: Int64[np.ndarray, "n"]
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class NamedComparison:
    """Two methods on the same splits, with all the training images."""

    first: str
    second: str
    test_name: str
    comparison: Comparison


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """All that an evaluation found.

    Attributes
    ----------
    rows : tuple of EvaluationRow
        By method, test set and fraction.
    comparisons : tuple of NamedComparison
        Of every two methods, where the images are the same.
    results : tuple of MethodResult
        The predictions behind them.
    facts : dict
        Protocol, files and their hashes, counts, versions: enough to repeat it. JSON.
    notes : tuple of str
        What a person should know before they believe the figures.
    scale : RatedScale or None
        The ratings, for a picture; None where there are labels alone, or others' predictions.
    """

    rows: tuple[EvaluationRow, ...]
    comparisons: tuple[NamedComparison, ...]
    results: tuple[MethodResult, ...]
    facts: dict[str, Any]
    notes: tuple[str, ...]
    scale: RatedScale | None = None

    def to_json(self) -> dict[str, Any]:
        """Return everything but the predictions, as JSON: NaN and infinity become null."""
        return {
            "clipsieve_version": __version__,
            **_plain(self.facts),
            "notes": list(self.notes),
            "results": [_plain({**asdict(row), "metrics": _metrics(row.metrics)}) for row in self.rows],
            "comparisons": [_plain(_comparison(one)) for one in self.comparisons],
        }


def at_largest_fraction(items: Sequence[T]) -> list[T]:
    """Return of each method, on each test set, what it gives with the most training images."""
    last: dict[tuple[str, str], T] = {}
    for item in items:
        before = last.setdefault((item.name, item.test_name), item)
        if (item.fraction or 0) >= (before.fraction or 0):
            last[item.name, item.test_name] = item
    return list(last.values())


def build_evaluation(
    results: Sequence[MethodResult],
    facts: dict[str, Any],
    *,
    notes: Sequence[str] = (),
    can_compare: bool = True,
    scale: RatedScale | None = None,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Evaluation:
    """Compute metrics, intervals and comparisons of predictions.

    Parameters
    ----------
    results : sequence of MethodResult
        What each method said.
    facts : dict
        As in `Evaluation`.
    notes : sequence of str
        As in `Evaluation`.
    can_compare : bool, default=True
        Whether all methods were tested on the same images. At most six methods are compared.
    scale : RatedScale, optional
        As in `Evaluation`.
    n_bootstrap, confidence, seed
        See `clipsieve.evaluation.bootstrap.summarize_splits`.
    """
    options: dict[str, Any] = {"n_bootstrap": n_bootstrap, "confidence": confidence, "seed": seed}
    rows = tuple(_row(result, options) for result in results)
    comparisons = tuple(_compare(results, options)) if can_compare else ()
    known = {**facts, "bootstrap": options}
    return Evaluation(rows, comparisons, tuple(results), known, tuple(notes), scale)


def _row(result: MethodResult, options: Mapping[str, Any]) -> EvaluationRow:
    splits = result.splits
    labels, flagged = (np.concatenate([getattr(s, name) for s in splits]) for name in ("labels", "flagged"))
    n_train = [split.n_train for split in splits]
    return EvaluationRow(
        name=result.name,
        fraction=result.fraction,
        test_name=result.test_name,
        n_train=round(float(np.mean(n_train))) if any(n_train) else None,
        n_splits=len(splits),
        n_predictions=len(labels),
        n_images=len(np.unique(np.concatenate([split.image for split in splits]))),
        metrics=summarize_splits(splits, **options),
        confusion=confusion(labels, flagged),
        by_rating=_by_rating(result),
    )


def _by_rating(result: MethodResult) -> tuple[RatingBin, ...]:
    if any(split.rating is None for split in result.splits):
        return ()
    rating = np.concatenate([split.rating for split in result.splits if split.rating is not None])
    if np.isnan(rating).any():
        return ()
    low = math.floor(float(rating.min()) / BIN_WIDTH)
    high = max(math.floor(float(rating.max()) / BIN_WIDTH + 1e-9) + 1, low + 1)
    if high - low > 40:
        return ()  # no scale from 1 to 5: bins of a half would say nothing
    labels, flagged = (np.concatenate([getattr(s, name) for s in result.splits]) for name in ("labels", "flagged"))
    return accuracy_by_rating(rating, labels, flagged, [BIN_WIDTH * edge for edge in range(low, high + 1)])


def _compare(results: Sequence[MethodResult], options: Mapping[str, Any]) -> list[NamedComparison]:
    """Compare every two methods at their largest fraction, on each test set."""
    last, compared = at_largest_fraction(results), []
    for test_name in dict.fromkeys(result.test_name for result in results):
        here = [result for result in last if result.test_name == test_name][:MAX_COMPARED]
        for first, second in itertools.combinations(here, 2):
            pair = _paired(first, second)
            if pair is not None:
                found = compare_methods(*pair, **options)
                compared.append(NamedComparison(first.name, second.name, test_name, found))
    return compared


def _paired(first: MethodResult, second: MethodResult) -> tuple[list[SplitPredictions], list[SplitPredictions]] | None:
    """Return both methods' predictions of the splits that both have, or None if they are not of the same images.

    What is not trained says the same of a test set in every draw of training images, and stands once in the results.
    """
    numbers = sorted(set(first.numbers) | set(second.numbers))
    named = [dict(zip(result.numbers, result.splits, strict=True)) for result in (first, second)]
    for result, splits in zip((first, second), named, strict=True):
        if result.fraction is None and len(splits) == 1:
            splits.update(dict.fromkeys(numbers, result.splits[0]))
    shared = [number for number in numbers if all(number in splits for splits in named)]
    pair = tuple([splits[number] for number in shared] for splits in named)
    same = all(np.array_equal(one.image, other.image) for one, other in zip(*pair, strict=True))
    return (pair[0], pair[1]) if shared and same else None


def _metrics(metrics: Mapping[str, MetricSummary]) -> dict[str, Any]:
    return {name: asdict(summary) for name, summary in metrics.items()}


def _comparison(named: NamedComparison) -> dict[str, Any]:
    found = named.comparison
    return {
        "first": named.first,
        "second": named.second,
        "test_name": named.test_name,
        "n_splits": found.n_splits,
        "n_images": found.n_images,
        "metrics": {name: asdict(metric) for name, metric in found.metrics.items()},
        "mcnemar": asdict(found.mcnemar),
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
