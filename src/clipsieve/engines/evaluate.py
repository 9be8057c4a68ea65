"""How good methods are on rated images of one or several runs, all on the same splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from clipsieve.classifiers import Classifier, ZeroShot
from clipsieve.classifiers.methods import Method
from clipsieve.engines.rated_images import RatedImages
from clipsieve.engines.targets import build_targets
from clipsieve.errors import UsageError
from clipsieve.evaluation.metrics import SplitPredictions, flag
from clipsieve.evaluation.protocols import Split, hold_out_splits, kfold_splits, paper_splits

__all__ = ["Contender", "MethodResult", "Protocol", "RatedRun", "common_images", "evaluate_methods"]


@dataclass(frozen=True, slots=True, eq=False)
class RatedRun:
    """The rated images of one run, and the prompts in words for its encoder.

    Attributes
    ----------
    name : str
        The encoder's, or the run's where two have the same encoder.
    rated : RatedImages
        With labels 0 and 1 alone; the same images in every run.
    prior : ZeroShot
        The text prompts.
    """

    name: str
    rated: RatedImages
    prior: ZeroShot


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """One method on one run, or a finished classifier.

    Attributes
    ----------
    name : str
        For tables and pictures.
    run : RatedRun
        Whose embeddings.
    method : Method or Classifier
        What is trained anew on each split, or what is merely asked.
    """

    name: str
    run: RatedRun
    method: Method | Classifier

    @property
    def is_trained(self) -> bool:
        """Whether it learns from the training images; zero-shot and finished classifiers do not."""
        return isinstance(self.method, Method) and self.method.name != "zero-shot"


@dataclass(frozen=True, slots=True)
class Protocol:
    """How images are divided.

    Attributes
    ----------
    name : {"kfold", "paper", "hold-out"}
        See `clipsieve.evaluation.protocols`.
    fractions : tuple of float
        Of the training images, 0-1.
    n_splits : int
        Splits, folds or draws.
    seed : int
        Decides them.
    """

    name: str = "kfold"
    fractions: tuple[float, ...] = (1.0,)
    n_splits: int = 10
    seed: int = 42

    def splits(self, rated: RatedImages) -> list[Split]:
        """Return the divisions of the images; errors as in `clipsieve.evaluation.protocols`."""
        if self.name == "paper":
            return paper_splits(rated.rating, rated.labels, self.fractions, n_splits=self.n_splits, seed=self.seed)
        if self.name == "kfold":
            return kfold_splits(rated.labels, self.fractions, n_folds=self.n_splits, seed=self.seed)
        if self.name != "hold-out":
            raise UsageError(f"there is no protocol `{self.name}`", expected="kfold, paper or hold-out")
        if rated.splits is None:
            raise UsageError(
                "a hold-out evaluation needs to know the parts", hint="name their column with `--split-column`"
            )
        return hold_out_splits(rated.splits, rated.labels, self.fractions, n_draws=self.n_splits, seed=self.seed)


@dataclass(frozen=True, slots=True, eq=False)
class MethodResult:
    """What one contender said of all test images.

    Attributes
    ----------
    name : str
        The contender's.
    fraction : float or None
        Of the training images; None for what is not trained.
    test_name : str
        Which test set, where there are several.
    splits : tuple of SplitPredictions
        One for each split.
    numbers : tuple of int
        The splits' numbers.
    names : tuple of str
        What the ratings call the images that the splits give as numbers; empty if they have no names.
    """

    name: str
    fraction: float | None
    test_name: str
    splits: tuple[SplitPredictions, ...]
    numbers: tuple[int, ...] = field(default=())
    names: tuple[str, ...] = ()


def common_images(rated: Sequence[RatedImages]) -> list[RatedImages]:
    """Return of each run the rated images that all of them have, in the order of the ratings.

    Raises
    ------
    UsageError
        If there is none.
    """
    shared = set(rated[0].names).intersection(*(one.names for one in rated[1:]))
    if not shared:
        raise UsageError("the runs have no rated image in common")
    return [one.take(np.array([i for i, name in enumerate(one.names) if name in shared], np.int64)) for one in rated]


def evaluate_methods(
    contenders: Sequence[Contender],
    protocol: Protocol,
    on_fit: Callable[[int, int], object] = lambda _n_done, _n_total: None,
) -> list[MethodResult]:
    """Train and test every contender on the same splits.

    A finished classifier is only asked; if it was tuned on some of these images, the figures flatter it.

    Parameters
    ----------
    contenders : sequence of Contender
        Of runs with the same images in the same order.
    protocol : Protocol
        How to divide them.
    on_fit : callable
        Called with the number of fits done and planned.

    Returns
    -------
    list of MethodResult
        By contender, then test set, then fraction.

    Raises
    ------
    UsageError
        If the images do not suffice for the protocol or a method.
    """
    splits = protocol.splits(contenders[0].run.rated)
    images = _Images(contenders[0].run.rated, splits)
    plans = [_relevant(splits, contender) for contender in contenders]
    n_total, n_done, results = sum(map(len, plans)), 0, []
    for contender, plan in zip(contenders, plans, strict=True):
        found: dict[tuple[str, float | None], list[tuple[int, SplitPredictions]]] = {}
        fitted = _Fitted(contender, images)
        for split in plan:
            key = (split.test_name, split.fraction if contender.is_trained else None)
            found.setdefault(key, []).append((split.number, fitted.predict(split)))
            n_done += 1
            on_fit(n_done, n_total)
        for (test_name, fraction), numbered in found.items():
            numbers, predictions = zip(*numbered, strict=True)
            results.append(MethodResult(contender.name, fraction, test_name, predictions, numbers, images.names))
    return results


def _relevant(splits: Sequence[Split], contender: Contender) -> list[Split]:
    """Return the splits that a contender is tested on: what is not trained says the same for every fraction."""
    if contender.is_trained:
        return list(splits)
    first: dict[tuple[int, str], Split] = {}
    for split in splits:
        first.setdefault((split.number, split.test_name), split)
    by_test: dict[bytes, Split] = {}
    for split in first.values():
        by_test.setdefault(split.test.tobytes(), split)
    return list(by_test.values())


class _Images:
    """The tested images, numbered in the order in which they are tested, as readers of the predictions number them, too."""

    def __init__(self, rated: RatedImages, splits: Sequence[Split]) -> None:
        order = list(dict.fromkeys(np.concatenate([split.test for split in splits]).tolist()))
        self.number = np.full(len(rated.names), -1, dtype=np.int64)
        self.number[order] = np.arange(len(order))
        self.names = tuple(rated.names[position] for position in order)


class _Fitted:
    """A contender that remembers what it was last fitted on: several test sets share a fit."""

    def __init__(self, contender: Contender, images: _Images) -> None:
        self._contender = contender
        self._images = images
        self._key: bytes | None = None
        self._classifier: Classifier | None = None

    def predict(self, split: Split) -> SplitPredictions:
        rated = self._contender.run.rated
        classifier = self._fit(split)
        probability = classifier.predict_proba(rated.embeddings[split.test])[:, 1]
        return SplitPredictions(
            image=self._images.number[split.test],
            labels=rated.labels[split.test],
            probability=probability.astype(np.float64),
            flagged=flag(probability.astype(np.float64), classifier.threshold),
            n_train=len(split.train) if self._contender.is_trained else 0,
            rating=rated.rating[split.test],
        )

    def _fit(self, split: Split) -> Classifier:
        method = self._contender.method
        if isinstance(method, Classifier):
            return method
        key = split.train.tobytes()
        if self._classifier is None or key != self._key:
            run = self._contender.run
            classes = None if run.rated.classes is None else tuple(run.rated.classes[i] for i in split.train)
            targets = build_targets(run.rated.labels[split.train], classes, run.prior)
            self._classifier = method.fit(run.prior, run.rated.embeddings[split.train], targets)
            self._key = key
        return self._classifier
