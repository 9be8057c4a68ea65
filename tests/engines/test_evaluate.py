"""Methods trained and tested on the same splits."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from clipsieve.classifiers import ZeroShot
from clipsieve.classifiers.methods import Method, build_method
from clipsieve.engines import Contender, JoinReport, Protocol, RatedImages, evaluate_methods
from clipsieve.engines.evaluate import RatedRun, common_images
from clipsieve.errors import UsageError
from clipsieve.evaluation.protocols import hold_out_splits, kfold_splits, paper_splits
from rated_runs import draw_embeddings, draw_ratings

N, DIM = 90, 8
RATING = draw_ratings(N, seed=2)


def rated(**changes) -> RatedImages:
    names = tuple(f"{i}.png" for i in range(N))
    labels = (RATING < 3).astype(np.int64)
    embeddings = draw_embeddings(RATING, DIM, seed=2)
    report = JoinReport(N, N, {}, (), (), (), 0)
    return replace(RatedImages(names, names, names, embeddings, RATING, labels, None, None, report), **changes)


def prior() -> ZeroShot:
    vectors = np.random.default_rng(3).standard_normal((2, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return ZeroShot(vectors, ("good", "bad"), (False, True), "tiny", None)


@dataclass(frozen=True)
class Recorder(Method):
    """Remembers what it was fitted on, and says zero-shot."""

    name: ClassVar[str] = "recorder"
    seen: list[np.ndarray]

    def fit(self, prior, embeddings, targets):
        self.seen.append(embeddings)
        return prior


def run(**changes) -> RatedRun:
    return RatedRun("tiny", rated(**changes), prior())


def test_each_split_trains_on_its_own_images_alone_and_tests_on_the_others():
    recorder, one = Recorder([]), run()
    protocol = Protocol("kfold", (0.3, 1.0), 3)
    results = evaluate_methods([Contender("r", one, recorder)], protocol)
    splits = kfold_splits(one.rated.labels, (0.3, 1.0), n_folds=3)
    expected = sorted(one.rated.embeddings[split.train].tobytes() for split in splits)
    assert sorted(seen.tobytes() for seen in recorder.seen) == expected  # in whatever order the cores took them
    assert [(result.fraction, result.numbers) for result in results] == [(0.3, (0, 1, 2)), (1.0, (0, 1, 2))]
    for result in results:
        for found, split in zip(result.splits, [s for s in splits if s.fraction == result.fraction], strict=True):
            probability = prior().predict_proba(one.rated.embeddings[split.test])[:, 1]
            np.testing.assert_allclose(found.probability, probability, rtol=1e-6)
            np.testing.assert_array_equal(found.flagged, probability >= 0.5)
            np.testing.assert_array_equal(found.labels, one.rated.labels[split.test])
            np.testing.assert_array_equal(found.rating, RATING[split.test])
            assert [result.names[i] for i in found.image] == [one.rated.names[i] for i in split.test]
            assert found.n_train == len(split.train)


def test_what_is_not_trained_is_asked_once_for_each_test_set():
    one = run()
    finished = build_method("soft-prompts").fit(one.prior, one.rated.embeddings[:0], np.zeros((0, 2), bool))
    contenders = [Contender("words", one, build_method("zero-shot")), Contender("file", one, finished)]
    counted = []
    results = evaluate_methods(contenders, Protocol("kfold", (0.3, 1.0), 3), lambda *counts: counted.append(counts))
    assert counted == [(n, 6) for n in range(1, 7)]
    assert [(result.name, result.fraction) for result in results] == [("words", None), ("file", None)]
    assert all(split.n_train == 0 for result in results for split in result.splits)
    assert sorted(np.concatenate([split.image for split in results[0].splits])) == list(range(N))
    for words, file in zip(results[0].splits, results[1].splits, strict=True):
        np.testing.assert_array_equal(words.probability, file.probability)


def test_several_test_sets_share_a_fit():
    parts = tuple(("train", "test", "unseen")[i % 3] for i in range(N))
    recorder, one = Recorder([]), run(splits=parts)
    results = evaluate_methods([Contender("r", one, recorder)], Protocol("hold-out", (0.5, 1.0), 4))
    assert len(recorder.seen) == 4 + 1
    assert [(r.test_name, r.fraction, len(r.splits)) for r in results] == [
        ("test", 0.5, 4),
        ("unseen", 0.5, 4),
        ("test", 1.0, 1),
        ("unseen", 1.0, 1),
    ]
    splits = hold_out_splits(parts, one.rated.labels, (0.5, 1.0), n_draws=4)
    # Fits run side by side, so what they saw is compared without its order.
    expected = {one.rated.embeddings[split.train].tobytes() for split in splits}
    assert {np.asarray(seen).tobytes() for seen in recorder.seen} == expected


def test_a_threshold_of_a_classifier_decides_what_is_flagged():
    one = run()
    strict = replace(one.prior, threshold=0.9)
    (result,) = evaluate_methods([Contender("strict", one, strict)], Protocol("kfold", n_splits=3))
    for split in result.splits:
        np.testing.assert_array_equal(split.flagged, split.probability.astype(np.float32) >= np.float32(0.9))
    assert {bool(flag) for split in result.splits for flag in split.flagged} == {True, False}


def test_protocols_by_name():
    one = rated(splits=tuple("train" if i % 2 else "test" for i in range(N)))
    reference = {
        "paper": paper_splits(one.rating, one.labels, (0.5,), n_splits=4, seed=3),
        "kfold": kfold_splits(one.labels, (0.5,), n_folds=4, seed=3),
        "hold-out": hold_out_splits(one.splits, one.labels, (0.5,), n_draws=4, seed=3),
    }
    for name, expected in reference.items():
        found = Protocol(name, (0.5,), 4, 3).splits(one)
        for split, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(split.train, other.train)
            np.testing.assert_array_equal(split.test, other.test)
    with pytest.raises(UsageError, match="no protocol `leave-one-out`"):
        Protocol("leave-one-out").splits(one)
    with pytest.raises(UsageError, match="needs to know the parts"):
        Protocol("hold-out").splits(rated())


def test_images_that_one_run_lacks_are_left_out_of_both():
    whole = rated()
    first, second = whole.take(np.arange(0, 60)), whole.take(np.array([80, *range(30, 70)]))
    common = common_images([first, second])
    assert common[0].names == common[1].names == whole.names[30:60]
    np.testing.assert_array_equal(common[0].embeddings, whole.embeddings[30:60])
    np.testing.assert_array_equal(common[1].labels, whole.labels[30:60])
    with pytest.raises(UsageError, match="no rated image in common"):
        common_images([whole.take(np.arange(3)), whole.take(np.arange(5, 9))])


@dataclass(frozen=True)
class Picky(Recorder):
    """Refuses to learn from few images."""

    fewest: int = 0

    def fit(self, prior, embeddings, targets):
        if len(embeddings) < self.fewest:
            raise UsageError("too few images for this method")
        return super().fit(prior, embeddings, targets)


@pytest.mark.parametrize(("fewest", "fractions"), [(0, [0.3, 1.0]), (60, [1.0])])
def test_a_fraction_that_a_method_cannot_learn_from_is_left_out_and_named(fewest, fractions):
    method, why = Picky([], fewest), []
    results = evaluate_methods([Contender("p", run(), method)], Protocol("kfold", (0.3, 1.0), 3), on_skip=why.append)
    assert [result.fraction for result in results] == fractions
    left_out = "`p` was left out at 30 % of the training images: too few images for this method"
    assert why == ([left_out] if fewest else [])


def test_a_method_that_learns_from_nothing_is_an_error():
    method = Picky([], 10_000)
    with pytest.raises(UsageError, match="too few images for this method"):
        evaluate_methods([Contender("p", run(), method)], Protocol("kfold", (0.3, 1.0), 3))
