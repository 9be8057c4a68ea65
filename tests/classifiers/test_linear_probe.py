"""Linear probes give the probabilities of scikit-learn's logistic regression, and refuse parts that do not fit."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from clipsieve.classifiers import LinearProbe
from clipsieve.classifiers.linear_probe import LARGEST
from clipsieve.classifiers.similarity import normalize
from clipsieve.errors import EmbeddingError, UsageError

rng = np.random.default_rng(0)
WEIGHT, BIAS = rng.normal(size=(3, 6)).astype(np.float32), rng.normal(size=3).astype(np.float32)
COMMON = {"class_names": ("a", "b", "c"), "unwanted": (False, True, True), "encoder_name": "m"}


def rows(n=40, d=6, seed=1):
    return normalize(np.random.default_rng(seed).normal(size=(n, d)))


def probe(**changes):
    return LinearProbe(**({"weight": WEIGHT, "bias": BIAS} | COMMON | changes))


@pytest.mark.parametrize("unwanted", [(False, True, True), (True, False, False), (False, False, True)])
def test_the_probability_is_that_of_a_logistic_regression_with_the_same_weights(unwanted):
    theirs = LogisticRegression().fit(rows(300), np.random.default_rng(2).integers(0, 3, 300))
    head = probe(weight=theirs.coef_.astype(np.float32), bias=theirs.intercept_.astype(np.float32), unwanted=unwanted)
    by_class = theirs.predict_proba(rows())
    np.testing.assert_allclose(head.predict_proba(rows())[:, 1], by_class[:, list(unwanted)].sum(axis=1), atol=1e-6)


def test_logits_are_affine():
    head = probe()
    assert head.logits(rows()).dtype == np.float32
    expected = np.einsum("nd,kd->nk", rows().astype(np.float64), WEIGHT.astype(np.float64)) + BIAS
    np.testing.assert_allclose(head.logits(rows()), expected, atol=1e-5)
    assert (head.method, head.embedding_dim, head.logit_scale) == ("linear-probe", 6, 1.0)


def test_the_largest_weights_give_probabilities_still():
    head = probe(weight=np.float32(LARGEST) * np.sign(WEIGHT), bias=np.full(3, -LARGEST, np.float32))
    found = head.predict_proba(rows())
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"weight": WEIGHT[:, :0]},
        {"weight": WEIGHT * np.float32(np.nan)},
        {"weight": WEIGHT * np.float32(np.inf)},
        {"weight": np.full((3, 6), 2 * LARGEST, np.float32)},
        {"bias": BIAS * np.float32(np.nan)},
        {"bias": np.full(3, -2 * LARGEST, np.float32)},
        {"logit_scale": 100.0},
        {"class_names": ("a", "b")},
        {"unwanted": (True, True, True)},
        {"threshold": 1.5},
        {"threshold": 0.5, "remove_threshold": 0.4},
        {"remove_threshold": float("nan")},
    ],
    ids=", ".join,
)
def test_parts_that_make_no_sense_are_refused(changes):
    with pytest.raises(UsageError):
        probe(**changes)


@pytest.mark.parametrize("changes", [{"bias": BIAS[:2]}, {"weight": WEIGHT[:2]}], ids=", ".join)
def test_another_number_of_biases_than_of_weights_is_refused(changes):
    with pytest.raises((UsageError, TypeError)):  # the second where shapes are checked, as in these tests
        probe(**changes)


def test_embeddings_of_another_width_or_norm_are_refused():
    with pytest.raises(EmbeddingError, match="6 columns"):
        probe().logits(rows(d=7))
    with pytest.raises(EmbeddingError, match="row 2"):
        probe().logits(rows(3) * np.array([[1], [1], [2]], np.float32))


def test_what_it_is_made_of_makes_the_same_again():
    head = probe()
    again = LinearProbe.from_parts(head.arrays(), head.parameters(), COMMON)
    assert again.logits(rows()).tobytes() == head.logits(rows()).tobytes()


@pytest.mark.parametrize(
    ("arrays", "parameters"),
    [
        ({"weight": WEIGHT}, {}),
        ({"weight": WEIGHT, "bias": BIAS, "other": BIAS}, {}),
        ({"weight": WEIGHT.astype(np.float64), "bias": BIAS}, {}),
        ({"weight": WEIGHT, "bias": BIAS.astype(np.float16)}, {}),
        ({"weight": WEIGHT[0], "bias": BIAS}, {}),
        ({"weight": WEIGHT, "bias": BIAS[:, None]}, {}),
        ({"weight": WEIGHT, "bias": BIAS}, {"activations": ["linear"]}),
    ],
    ids=["no bias", "one more", "float64", "float16", "1 axis", "2 axes", "parameters"],
)
def test_other_arrays_are_refused(arrays, parameters):
    with pytest.raises(UsageError):
        LinearProbe.from_parts(arrays, parameters, COMMON)
