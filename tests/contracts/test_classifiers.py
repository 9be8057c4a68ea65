"""What every classifier promises, whatever it was made from."""

import pickle

import numpy as np
import pytest

from clipsieve.classifiers import (
    PromptClass,
    PromptSet,
    SoftPrompts,
    ZeroShot,
    build_zero_shot,
    import_q16_prompts,
    load_classifier,
    save_classifier,
)
from clipsieve.classifiers.similarity import normalize, softmax
from clipsieve.errors import EmbeddingError, UsageError
from clipsieve.types import EncoderIdentity, Preprocessing

D = 32
RECIPE = Preprocessing(8, "squash", "bicubic", (0, 0, 0), (1, 1, 1))


def rows(n, seed=0, d=D):
    return normalize(np.random.default_rng(seed).normal(size=(n, d)))


def zero_shot(_):
    classes = tuple(PromptClass(name, (name,), name != "a") for name in "abcd")
    identity = EncoderIdentity("m", "a" * 64, RECIPE, "fp32", D)
    prompt_set = PromptSet("s", "", "", ("{}",), classes)
    return build_zero_shot(prompt_set, lambda texts: rows(len(texts), ord(texts[0])), identity=identity)


def soft_prompts(_):
    return SoftPrompts(rows(2, 5), ("good", "bad"), (False, True), "m", "a" * 64, threshold=0.3)


def unwanted_first(_):
    return SoftPrompts(rows(3, 6), ("bad", "good", "worse"), (True, False, True), "m", logit_scale=10.0)


def imported(folder):
    (folder / "prompts.p").write_bytes(pickle.dumps(13 * rows(2, 7).astype(np.float16), 3))
    return import_q16_prompts(folder / "prompts.p", encoder_name="m")


def reloaded(folder):
    save_classifier(zero_shot(folder), folder / "z.safetensors")
    return load_classifier(folder / "z.safetensors")


@pytest.fixture(params=[zero_shot, soft_prompts, unwanted_first, imported, reloaded], ids=lambda make: make.__name__)
def classifier(request, tmp_path):
    return request.param(tmp_path)


def test_probabilities_are_float32_between_0_and_1_and_rows_sum_to_1(classifier):
    found = classifier.predict_proba(rows(5000))
    assert found.shape == (5000, 2)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_column_1_is_the_sum_over_the_unwanted_classes(classifier):
    x = rows(100)
    by_class = softmax(classifier.logits(x))
    assert by_class.shape == (100, len(classifier.class_names))
    np.testing.assert_allclose(
        classifier.predict_proba(x)[:, 1], by_class[:, list(np.flatnonzero(classifier.unwanted))].sum(axis=1), atol=1e-6
    )


def test_an_unwanted_class_vector_itself_is_unwanted(classifier):
    probabilities = classifier.predict_proba(classifier.class_embeddings)[:, 1]
    assert ((probabilities > 0.5) == np.array(classifier.unwanted)).all()


def test_the_order_of_images_does_not_matter(classifier):
    x, order = rows(100), np.random.default_rng(1).permutation(100)
    np.testing.assert_allclose(classifier.predict_proba(x)[order], classifier.predict_proba(x[order]), atol=1e-5)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_an_image_does_not_depend_on_its_neighbours(classifier, size):
    x = rows(100)
    pieces = [classifier.predict_proba(x[start : start + size]) for start in range(0, 100, size)]
    np.testing.assert_allclose(np.concatenate(pieces), classifier.predict_proba(x), atol=1e-5)


def test_no_images_give_no_rows(classifier):
    assert classifier.predict_proba(np.zeros((0, D), np.float32)).shape == (0, 2)


def test_the_embeddings_are_not_changed(classifier):
    x = rows(10)
    x.flags.writeable = False
    classifier.predict_proba(x)


def test_another_width_is_refused(classifier):
    with pytest.raises(EmbeddingError, match=f"{D} columns"):
        classifier.predict_proba(rows(3, d=D + 1))


@pytest.mark.parametrize("value", [0.5, np.nan])
def test_a_row_off_unit_norm_is_refused_by_number(classifier, value):
    x = rows(5)
    x[3] *= np.float32(value)
    with pytest.raises(EmbeddingError, match="row 3"):
        classifier.predict_proba(x)


def test_saving_and_loading_changes_no_bit(classifier, tmp_path):
    save_classifier(classifier, tmp_path / "c.safetensors")
    found = load_classifier(tmp_path / "c.safetensors")
    assert type(found) is type(classifier)
    x = rows(100)
    assert found.predict_proba(x).tobytes() == classifier.predict_proba(x).tobytes()


def test_classifiers_can_be_compared_and_put_into_sets(classifier):
    assert len({classifier, classifier}) == 1


@pytest.mark.parametrize("kind", [ZeroShot, SoftPrompts])
@pytest.mark.parametrize(
    ("names", "unwanted", "options"),
    [
        (("a",), (True,), {}),
        (("a", "a"), (False, True), {}),
        (("a", "b", "c"), (False, True, True), {}),
        (("a", "b"), (True, True), {}),
        (("a", "b"), (False, False), {}),
        (("a", "b"), (False, True), {"threshold": 1.1}),
        (("a", "b"), (False, True), {"threshold": float("nan")}),
        (("a", "b"), (False, True), {"logit_scale": 0.0}),
        (("a", "b"), (False, True), {"logit_scale": float("nan")}),
    ],
)
def test_a_classifier_that_makes_no_sense_cannot_be_made(kind, names, unwanted, options):
    with pytest.raises(UsageError):
        kind(rows(2), names, unwanted, "m", **options)
