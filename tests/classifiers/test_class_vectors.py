"""Classifiers of one vector for each class: what they compute, and what they refuse to be."""

import numpy as np
import pytest

from clipsieve.classifiers import SoftPrompts, ZeroShot, zero_shot_probabilities
from clipsieve.errors import EmbeddingError, UsageError


def unit_rows(n, d, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def make(kind=ZeroShot, k=2, **changes):
    facts = {
        "class_embeddings": unit_rows(k, 8),
        "class_names": tuple("abcdefg"[:k]),
        "unwanted": (False,) * (k - 1) + (True,),
        "encoder_name": "pictogram",
    }
    return kind(**facts | changes)


def test_logits_are_the_scaled_cosine():
    classifier, images = make(k=3, logit_scale=14.0), unit_rows(4, 8, seed=1)
    expected = 14 * images.astype(np.float64) @ classifier.class_embeddings.astype(np.float64).T
    found = classifier.logits(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_probability_of_the_unwanted_class_is_the_softmax():
    classifier, images = make(), unit_rows(50, 8, seed=1)
    expected = zero_shot_probabilities(images, classifier.class_embeddings)
    np.testing.assert_allclose(classifier.predict_proba(images), expected, atol=1e-6)


def test_the_probabilities_of_several_unwanted_classes_add_up():
    classifier, images = make(k=4, unwanted=(True, False, True, False), logit_scale=5.0), unit_rows(50, 8, seed=1)
    by_class = zero_shot_probabilities(images, classifier.class_embeddings, logit_scale=5.0)
    found = classifier.predict_proba(images)
    np.testing.assert_allclose(found[:, 1], by_class[:, 0] + by_class[:, 2], atol=1e-6)
    np.testing.assert_allclose(found[:, 0], by_class[:, 1] + by_class[:, 3], atol=1e-6)


def test_probabilities_stay_between_0_and_1_however_sure():
    classifier = make(k=7, unwanted=(True,) * 6 + (False,))
    found = classifier.predict_proba(np.concatenate([unit_rows(500, 8, seed=2), classifier.class_embeddings]))
    assert found.min() >= 0
    assert found.max() <= 1


def test_soft_prompts_and_words_compute_alike_and_know_their_names():
    images = unit_rows(3, 8, seed=1)
    np.testing.assert_array_equal(make(ZeroShot).predict_proba(images), make(SoftPrompts).predict_proba(images))
    assert (ZeroShot.method, SoftPrompts.method) == ("zero-shot", "soft-prompts")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_names": ("a", "a")}, "distinct classes"),
        ({"class_names": ("a",)}, "two or more"),
        ({"class_names": ("a", "b", "c")}, "one vector and one flag"),
        ({"unwanted": (True,)}, "one vector and one flag"),
        ({"unwanted": (True, True)}, "one that is not"),
        ({"unwanted": (False, False)}, "a class that is unwanted"),
        ({"threshold": -0.01}, "between 0 and 1"),
        ({"threshold": 1.01}, "between 0 and 1"),
        ({"threshold": float("nan")}, "between 0 and 1"),
        ({"logit_scale": 0.0}, "above 0"),
        ({"logit_scale": -1.0}, "above 0"),
        ({"logit_scale": float("inf")}, "above 0"),
        ({"logit_scale": float("nan")}, "above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        make(**changes)


def test_vectors_that_are_not_unit_norm_are_refused():
    with pytest.raises(EmbeddingError, match="row 1 of the class embeddings"):
        make(class_embeddings=unit_rows(2, 8) * np.array([[1], [2]], np.float32))


def test_embeddings_of_another_width_are_refused():
    with pytest.raises(EmbeddingError, match="another width"):
        make().logits(unit_rows(2, 9))


def test_a_classifier_cannot_be_changed():
    with pytest.raises(AttributeError):
        make().threshold = 0.7


def test_two_classifiers_can_be_compared_and_kept_in_a_set():
    first, second = make(), make()
    assert first == first
    assert first != second
    assert len({first, second}) == 2
