"""What every classifier promises, whatever it was made from."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from clipsieve.classifiers import (
    Isotonic,
    Layer,
    LinearProbe,
    Network,
    Platt,
    PromptClass,
    PromptSet,
    SoftPrompts,
    ZeroShot,
    build_zero_shot,
    describe_classifier,
    import_q16_prompts,
    load_classifier,
    save_classifier,
)
from clipsieve.classifiers.calibration import margins
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


def linear_probe(_):
    return LinearProbe(10 * rows(3, 8), rows(1, 9, 3)[0], ("bad", "good", "worse"), (True, False, True), "m")


def layer(n_out, n_in, activation, seed=0):
    drawn = np.random.default_rng(seed).normal(size=(n_out, n_in + 1)).astype(np.float32)
    return Layer(np.ascontiguousarray(3 * drawn[:, 1:]), np.ascontiguousarray(drawn[:, 0]), activation)


def one_output(_):
    layers = (layer(16, D, "relu", 1), layer(4, 16, "relu", 2), layer(1, 4, "sigmoid", 3))
    scale = {"input_mean": rows(1, 4)[0], "input_scale": np.full(D, 0.1, np.float32)}
    return Network(layers, ("safe", "nsfw"), (False, True), "m", **scale)


def several_outputs(_):
    layers = (layer(16, D, "relu", 1), layer(3, 16, "softmax", 2))
    return Network(layers, ("bad", "good", "worse"), (True, False, True), "m", "a" * 64)


def score(_):
    layers = (layer(1, D, "linear"),)
    return Network(layers, ("high", "low"), (False, True), "m", threshold=0.2, remove_threshold=1.0, score_midpoint=1.5)


def with_platt(folder):
    return replace(soft_prompts(folder), calibration=Platt(0.125, -1.5), threshold=0.2, remove_threshold=0.9)


def with_isotonic(folder):
    knots = Isotonic((-20.0, -1.0, 0.5, 30.0), (0.01, 0.1, 0.1, 0.97))
    return replace(several_outputs(folder), calibration=knots, remove_threshold=0.5)


def probe_with_platt(folder):
    return replace(linear_probe(folder), calibration=Platt(2.5, 0.25))


OF_VECTORS = (zero_shot, soft_prompts, unwanted_first, imported, reloaded)
UNCALIBRATED = (*OF_VECTORS, linear_probe, one_output, several_outputs, score)
CALIBRATED = (with_platt, with_isotonic, probe_with_platt)


def each_of(makers):
    return [pytest.param(make, id=make.__name__) for make in makers]


@pytest.fixture(params=each_of(UNCALIBRATED + CALIBRATED))
def classifier(request, tmp_path):
    return request.param(tmp_path)


@pytest.fixture(params=each_of(UNCALIBRATED))
def uncalibrated(request, tmp_path):
    return request.param(tmp_path)


@pytest.fixture(params=each_of(CALIBRATED))
def calibrated(request, tmp_path):
    return request.param(tmp_path)


@pytest.fixture(params=each_of(OF_VECTORS))
def of_vectors(request, tmp_path):
    return request.param(tmp_path)


def test_probabilities_are_float32_between_0_and_1_and_rows_sum_to_1(classifier):
    found = classifier.predict_proba(rows(5000))
    assert found.shape == (5000, 2)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_column_1_is_the_sum_over_the_unwanted_classes(uncalibrated):
    x = rows(100)
    by_class = softmax(uncalibrated.logits(x))
    assert by_class.shape == (100, len(uncalibrated.class_names))
    unwanted = list(np.flatnonzero(uncalibrated.unwanted))
    np.testing.assert_allclose(uncalibrated.predict_proba(x)[:, 1], by_class[:, unwanted].sum(axis=1), atol=1e-6)


def test_column_1_is_what_the_calibration_makes_of_the_margin(calibrated):
    x = rows(100)
    expected = calibrated.calibration.probability(margins(calibrated.logits(x), np.array(calibrated.unwanted)))
    np.testing.assert_allclose(calibrated.predict_proba(x)[:, 1], expected, atol=1e-6)
    own = replace(calibrated, calibration=None).predict_proba(x)[:, 1]
    assert np.abs(own - expected).max() > 0.05


def test_a_calibration_never_turns_the_order_around(calibrated):
    x = rows(500)
    margin = margins(calibrated.logits(x), np.array(calibrated.unwanted))
    assert (np.diff(calibrated.predict_proba(x)[np.argsort(margin), 1]) >= 0).all()


def test_the_probability_without_a_calibration_is_the_logistic_function_of_the_margin(uncalibrated):
    x = rows(100)
    margin = margins(uncalibrated.logits(x), np.array(uncalibrated.unwanted))
    np.testing.assert_allclose(uncalibrated.predict_proba(x)[:, 1], expit(margin), atol=1e-6)


def test_logits_given_again_give_the_same_probabilities(classifier):
    x = rows(100)
    assert classifier.proba_from_logits(classifier.logits(x)).tobytes() == classifier.predict_proba(x).tobytes()


def test_logits_are_float32_one_for_each_class(classifier):
    found = classifier.logits(rows(7))
    assert (found.shape, found.dtype) == ((7, len(classifier.class_names)), np.float32)


def test_images_differ(classifier):
    """A classifier that says the same of every image would pass most of what is asked of it here."""
    assert np.ptp(classifier.predict_proba(rows(100))[:, 1]) > 0.05


def test_an_unwanted_class_vector_itself_is_unwanted(of_vectors):
    probabilities = of_vectors.predict_proba(of_vectors.class_embeddings)[:, 1]
    assert ((probabilities > 0.5) == np.array(of_vectors.unwanted)).all()


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
    assert describe_classifier(found) == describe_classifier(classifier)
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
        (("a", "b"), (False, True), {"remove_threshold": 0.4}),
        (("a", "b"), (False, True), {"remove_threshold": 1.1}),
        (("a", "b"), (False, True), {"remove_threshold": float("nan")}),
        (("a", "b"), (False, True), {"logit_scale": 0.0}),
        (("a", "b"), (False, True), {"logit_scale": float("nan")}),
    ],
)
def test_a_classifier_that_makes_no_sense_cannot_be_made(kind, names, unwanted, options):
    with pytest.raises(UsageError):
        kind(rows(2), names, unwanted, "m", **options)


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 1.1},
        {"threshold": float("nan")},
        {"threshold": 0.5, "remove_threshold": 0.4},
        {"threshold": 0.5, "remove_threshold": 1.5},
        {"logit_scale": 0.0},
        {"unwanted": ()},
        {"class_names": ("same", "same", "same")},
    ],
    ids=repr,
)
def test_none_can_be_made_that_makes_no_sense(classifier, change):
    with pytest.raises(UsageError):
        replace(classifier, **change)


def test_the_two_thresholds_may_be_one(classifier):
    assert replace(classifier, threshold=0.5, remove_threshold=0.5).remove_threshold == 0.5
