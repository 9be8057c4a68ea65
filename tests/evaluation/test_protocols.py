"""Splits: the paper's to the letter, folds that are disjoint, and parts that somebody made beforehand."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedShuffleSplit

from clipsieve.errors import UsageError
from clipsieve.evaluation.protocols import hold_out_splits, kfold_splits, paper_splits

FRACTIONS = (0.01, 0.02, 0.04, 0.1, 0.2, 0.4, 0.8, 1.0)


def smid_like(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return ratings and labels of as many images as the paper kept: 962 above 3.5 and 712 below 2.5."""
    rng = np.random.default_rng(seed)
    rating = np.concatenate([rng.uniform(3.51, 4.9, 962), rng.uniform(1.1, 2.49, 712)])
    rating = rng.permutation(rating)
    return rating, (rating < 2.5).astype(np.int64)


def published(rating: np.ndarray, fractions: tuple[float, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return training and test images as `numbers.md` tells how the authors drew them."""
    strata = np.array([round(value) for value in rating])
    found = []
    outer = StratifiedShuffleSplit(test_size=0.1, n_splits=10, random_state=42)
    for rest, test in outer.split(np.zeros((len(rating), 2)), strata):
        for fraction in fractions:
            train = rest
            if fraction < 1:
                inner = StratifiedShuffleSplit(train_size=fraction, n_splits=1, random_state=42)
                train = rest[next(inner.split(np.zeros((len(rest), 2)), strata[rest]))[0]]
            found.append((train, test))
    return found


def test_the_papers_splits_to_the_letter():
    rating, labels = smid_like()
    found = paper_splits(rating, labels, FRACTIONS)
    reference = published(rating, FRACTIONS)
    assert len(found) == len(reference) == 80
    for split, (train, test) in zip(found, reference, strict=True):
        np.testing.assert_array_equal(split.train, train)
        np.testing.assert_array_equal(split.test, test)
    assert [split.number for split in found] == [n for n in range(10) for _ in FRACTIONS]


def test_the_papers_sizes():
    splits = paper_splits(*smid_like(), FRACTIONS)
    assert [len(split.train) for split in splits[:8]] == [15, 30, 60, 150, 301, 602, 1204, 1506]
    assert {len(split.test) for split in splits} == {168}
    n_tested = len(np.unique(np.concatenate([split.test for split in splits])))
    assert n_tested == pytest.approx(1090, abs=40)  # 1674 (1 - 0.9^10) = 1,090 with other images; they overlap


def test_the_papers_splits_of_labels_alone_are_stratified_by_label():
    labels = smid_like()[1]
    found = paper_splits(np.full(len(labels), np.nan), labels, (0.1,))
    reference = StratifiedShuffleSplit(test_size=0.1, n_splits=10, random_state=42).split(labels, labels)
    for split, (_, test) in zip(found, reference, strict=True):
        np.testing.assert_array_equal(split.test, test)
        assert labels[split.train].mean() == pytest.approx(labels.mean(), abs=0.01)


def test_no_image_is_trained_on_and_tested():
    rating, labels = smid_like()
    parts = np.where(np.arange(len(labels)) % 3 == 0, "test", "train").tolist()
    for splits in (
        paper_splits(rating, labels, FRACTIONS),
        kfold_splits(labels, FRACTIONS),
        hold_out_splits(parts, labels, FRACTIONS),
    ):
        for split in splits:
            assert not set(split.train) & set(split.test)
            assert len(np.unique(split.train)) == len(split.train)
            assert {0, 1} == set(labels[split.train])


def test_every_image_is_tested_in_exactly_one_fold():
    labels = smid_like()[1]
    splits = kfold_splits(labels, (0.1, 1.0), n_folds=7)
    whole = [split for split in splits if split.fraction == 1]
    assert len(whole) == 7
    np.testing.assert_array_equal(np.sort(np.concatenate([split.test for split in whole])), np.arange(len(labels)))
    for split in whole:
        assert labels[split.test].sum() == pytest.approx(labels.sum() / 7, abs=1)
        np.testing.assert_array_equal(np.sort(np.concatenate([split.train, split.test])), np.arange(len(labels)))
    for part, all_of_it in zip(splits[::2], splits[1::2], strict=True):
        assert part.number == all_of_it.number
        assert set(part.train) < set(all_of_it.train)
        np.testing.assert_array_equal(part.test, all_of_it.test)
        assert len(part.train) == len(all_of_it.train) // 10


def test_the_seed_decides_the_folds():
    labels = smid_like()[1]
    one, same, other = (kfold_splits(labels, (0.1,), seed=seed) for seed in (1, 1, 2))
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a.train, b.train)
        np.testing.assert_array_equal(a.test, b.test)
    assert not np.array_equal(one[0].test, other[0].test)


def test_a_part_of_the_hold_out_training_images_is_drawn_anew_and_all_of_them_once():
    labels = np.arange(100) % 2
    parts = ["train"] * 60 + ["test"] * 20 + [""] * 10 + ["unseen"] * 10
    splits = hold_out_splits(parts, labels, (0.5, 1.0), n_draws=3)
    assert [(s.fraction, s.number, s.test_name) for s in splits] == [
        *((0.5, number, name) for number in range(3) for name in ("test", "unseen")),
        (1.0, 0, "test"),
        (1.0, 0, "unseen"),
    ]
    tests = {"test": np.arange(60, 80), "unseen": np.arange(90, 100)}
    for split in splits:
        np.testing.assert_array_equal(split.test, tests[split.test_name])
        assert labels[split.train].mean() == 0.5
        assert split.train.max() < 60
    drawn = [set(split.train) for split in splits[:6:2]]
    assert all(len(images) == 30 for images in drawn)
    assert drawn[0] != drawn[1] != drawn[2]
    np.testing.assert_array_equal(splits[0].train, splits[1].train)  # both test sets, one training set
    np.testing.assert_array_equal(splits[-1].train, np.arange(60))


TEN = np.arange(10) % 2
NAN = np.full(10, np.nan)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kfold_splits(np.ones(9, np.int64)), "only one label"),
        (lambda: paper_splits(NAN, np.zeros(10, np.int64)), "only one label"),
        (lambda: hold_out_splits(["train", "test"], np.ones(2, np.int64)), "only one label"),
        (lambda: hold_out_splits(["train"] * 5 + ["test"] * 5, np.repeat([0, 1], 5)), "only one label among the train"),
        (lambda: kfold_splits(TEN), "fewer images of one label than folds"),
        (lambda: kfold_splits(TEN, n_folds=1), "too few splits"),
        (lambda: paper_splits(NAN, TEN, n_splits=1), "too few splits"),
        (lambda: hold_out_splits(["train", "train", "test"], np.array([0, 1, 1]), n_draws=0), "too few splits"),
        (lambda: kfold_splits(TEN, (0.5, 0.0), n_folds=2), "makes no sense"),
        (lambda: kfold_splits(TEN, (1.2,), n_folds=2), "makes no sense"),
        (lambda: kfold_splits(TEN, (float("nan"),), n_folds=2), "makes no sense"),
        (lambda: kfold_splits(TEN, (), n_folds=2), "makes no sense"),
        (lambda: kfold_splits(TEN, (0.1,), n_folds=2), "cannot divide"),
        (lambda: kfold_splits(TEN, (0.99,), n_folds=2), "cannot divide"),
        (lambda: paper_splits(NAN, TEN, (0.1,)), "cannot divide"),
        (lambda: paper_splits(np.array([1.0, 4, 4, 4, 4, 4, 4, 4, 4, 4]), (np.arange(10) == 0) * 1), "cannot divide"),
        (lambda: hold_out_splits(["train"] * 4 + ["test"] * 6, TEN, (0.1,)), "cannot divide"),
        (lambda: hold_out_splits(["a"] * 5 + ["test"] * 5, TEN), "does not say what to train"),
        (lambda: hold_out_splits(["train"] * 10, TEN), "does not say what to train"),
        (lambda: hold_out_splits(["train"] * 5 + [""] * 5, TEN), "does not say what to train"),
        (lambda: hold_out_splits(["Train"] * 5 + ["test"] * 5, TEN), "does not say what to train"),
    ],
)
def test_what_cannot_be_divided_is_said_in_words(make, message):
    with pytest.raises(UsageError, match=message) as caught:
        make()
    assert caught.value.found or caught.value.expected


def test_too_few_images_for_the_folds_says_how_many_folds_would_do():
    with pytest.raises(UsageError) as caught:
        kfold_splits(np.array([1] * 4 + [0] * 50), n_folds=5)
    assert "4 unwanted and 50 wanted" in str(caught.value)
    assert "--folds 4" in caught.value.hint
    assert len(kfold_splits(np.array([1] * 4 + [0] * 50), n_folds=4)) == 4
