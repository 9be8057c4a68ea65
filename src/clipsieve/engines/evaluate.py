"""How good methods are on rated images of one or several runs, all on the same splits."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from clipsieve.classifiers import Classifier, ZeroShot
from clipsieve.classifiers.methods import Method
from clipsieve.cores import one_core_each
from clipsieve.engines.rated_images import RatedImages
from clipsieve.engines.targets import build_targets
from clipsieve.errors import UsageError
from clipsieve.evaluation.metrics import SplitPredictions
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
    on_skip: Callable[[str], object] = lambda _why: None,
) -> list[MethodResult]:
    """Train and test every contender on the same splits.

    A finished classifier is only asked; if it was tuned on some of these images, the figures flatter it. Fits run side by side,
    each on one core, so that the number of cores changes no digit.

    Parameters
    ----------
    contenders : sequence of Contender
        Of runs with the same images in the same order.
    protocol : Protocol
        How to divide them.
    on_fit : callable
        Called with the number of fits done and planned.
    on_skip : callable
        Called with a sentence where a method cannot be trained on a fraction, which is left out.

    Returns
    -------
    list of MethodResult
        By contender, then test set, then fraction.

    Raises
    ------
    UsageError
        If the images do not suffice for the protocol, or for any fraction with any method.
    """
    splits = protocol.splits(contenders[0].run.rated)
    images = _Images(contenders[0].run.rated, splits)
    jobs = [job for contender in contenders for job in _jobs(contender, splits)]
    results: dict[tuple[str, str, float | None], list[tuple[int, SplitPredictions]]] = {}
    failed: dict[tuple[str, float], UsageError] = {}
    with one_core_each() as pool:
        for n_done, (job, outcome) in enumerate(zip(jobs, pool.map(lambda job: job.run(images), jobs), strict=True), 1):
            on_fit(n_done, len(jobs))
            if isinstance(outcome, UsageError):
                failed.setdefault((job.contender.name, job.splits[0].fraction), outcome)
                continue
            for split, predictions in zip(job.splits, outcome, strict=True):
                key = (job.contender.name, split.test_name, split.fraction if job.contender.is_trained else None)
                results.setdefault(key, []).append((split.number, predictions))
    for (name, fraction), error in failed.items():
        on_skip(f"`{name}` was left out at {100 * fraction:g} % of the training images: {error.what}")
        for key in [key for key in results if (key[0], key[2]) == (name, fraction)]:
            del results[key]
    if not results:
        raise next(iter(failed.values()))
    return [
        MethodResult(name, fraction, test_name, *_unzipped(numbered), images.names)
        for (name, test_name, fraction), numbered in results.items()
    ]


def _unzipped(
    numbered: Sequence[tuple[int, SplitPredictions]],
) -> tuple[tuple[SplitPredictions, ...], tuple[int, ...]]:
    return tuple(predictions for _, predictions in numbered), tuple(number for number, _ in numbered)


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


_WHOLE_MACHINE = threading.Lock()


class _Images:
    """The tested images, numbered in the order in which they are tested, as readers of the predictions number them, too."""

    def __init__(self, rated: RatedImages, splits: Sequence[Split]) -> None:
        order = list(dict.fromkeys(np.concatenate([split.test for split in splits]).tolist()))
        self.number = np.full(len(rated.names), -1, dtype=np.int64)
        self.number[order] = np.arange(len(order))
        self.names = tuple(rated.names[position] for position in order)


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """One fit, and the test sets that it serves."""

    contender: Contender
    splits: tuple[Split, ...]

    def run(self, images: _Images) -> list[SplitPredictions] | UsageError:
        try:
            classifier = self._fit()
        except UsageError as error:
            return error
        return [self._predict(classifier, split, images) for split in self.splits]

    def _fit(self) -> Classifier:
        method, run, train = self.contender.method, self.contender.run, self.splits[0].train
        if isinstance(method, Classifier):
            return method
        classes = None if run.rated.classes is None else tuple(run.rated.classes[i] for i in train)
        targets = build_targets(run.rated.labels[train], classes, run.prior)
        with _WHOLE_MACHINE if method.takes_all else contextlib.nullcontext():
            return method.fit(run.prior, run.rated.embeddings[train], targets)

    def _predict(self, classifier: Classifier, split: Split, images: _Images) -> SplitPredictions:
        rated = self.contender.run.rated
        probability = classifier.predict_proba(rated.embeddings[split.test])[:, 1]
        return SplitPredictions(
            image=images.number[split.test],
            labels=rated.labels[split.test],
            probability=probability.astype(np.float64),
            flagged=probability >= np.float32(classifier.threshold),  # in float32, as scores are compared
            n_train=len(split.train) if self.contender.is_trained else 0,
            rating=rated.rating[split.test],
        )


def _jobs(contender: Contender, splits: Sequence[Split]) -> list[_Job]:
    """Return the fits that a contender needs: splits with the same training images share one."""
    by_training: dict[tuple[int, float, bytes], list[Split]] = {}
    for split in _relevant(splits, contender):
        by_training.setdefault((split.number, split.fraction, split.train.tobytes()), []).append(split)
    return [_Job(contender, tuple(group)) for group in by_training.values()]
