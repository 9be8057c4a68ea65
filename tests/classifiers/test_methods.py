"""What each way from rated images to a classifier has of its own: settings, strength, calibration, what it says of itself."""

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from scipy.special import expit

from clipsieve.classifiers import LinearProbe, SoftPrompts, ZeroShot
from clipsieve.classifiers.calibration import margins
from clipsieve.classifiers.methods import (
    METHODS,
    PROMPT_STRENGTHS,
    ProbeMethod,
    SoftPromptMethod,
    ZeroShotMethod,
    build_method,
)
from clipsieve.classifiers.similarity import normalize
from clipsieve.errors import UsageError

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

D = 24


def draw(n, *, k=2, seed=0, prior=0.6):
    """Return a prior whose prompts see part of what matters, images and classes."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(D, D)))[0]
    common, truth, other = axes[0], axes[1 : k + 1], axes[k + 1 : 2 * k + 1]
    prompts = normalize(common + 0.4 * (prior * truth + (1 - prior) * other))
    labels = rng.permutation(np.arange(n) % k)
    images = normalize(common + 0.25 * truth[labels] + rng.normal(size=(n, D)) / 5)
    classes = tuple(f"class {number}" for number in range(k))
    flags = tuple(number == k - 1 for number in range(k))
    return ZeroShot(prompts, classes, flags, "m", provenance={"prompts": ["a"]}), images, one_hot(labels, k)


def one_hot(labels, k=2):
    return labels[:, None] == np.arange(k)


def unwanted_loss(classifier, images, targets):
    probability = classifier.predict_proba(images)[:, 1].astype(np.float64)
    is_unwanted = (targets & np.array(classifier.unwanted)).any(axis=1)
    return -np.log(np.where(is_unwanted, probability, 1 - probability).clip(1e-9)).mean()


def test_methods_are_known_by_name():
    assert {"zero-shot": ZeroShotMethod, "soft-prompts": SoftPromptMethod, "linear-probe": ProbeMethod} == METHODS
    assert build_method("soft-prompts", optimizer="sgd", seed=3) == SoftPromptMethod("sgd", seed=3)
    assert build_method("zero-shot") == ZeroShotMethod()


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("soft", {}, "no method `soft`.*\n.*`zero-shot`, `soft-prompts`, `linear-probe`"),
        ("soft-prompts", {"size": 1}, "no such setting\n.*optimizer, strength, calibrated, seed\n.*size"),
        ("zero-shot", {"seed": 1}, "no such setting\n.*none\n.*seed"),
        ("soft-prompts", {"optimizer": "adam"}, "no optimizer `adam`\n.*lbfgs or sgd"),
        ("soft-prompts", {"strength": -0.1}, "0 or more\n.*-0.1"),
        ("soft-prompts", {"strength": float("nan")}, "0 or more\n.*nan"),
        ("linear-probe", {"strength": 0.0}, "above 0\n.*0.0"),
        ("linear-probe", {"strength": float("inf")}, "above 0\n.*inf"),
        ("linear-probe", {"strength": float("nan")}, "above 0\n.*nan"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name, settings, words):
    with pytest.raises(UsageError, match=words):
        build_method(name, **settings)


def test_a_method_keeps_its_settings():
    with pytest.raises(FrozenInstanceError):
        SoftPromptMethod().strength = 1.0


def test_zero_shot_is_the_prior_itself():
    prior, images, targets = draw(20)
    assert ZeroShotMethod().fit(prior, images, targets) is prior


def test_a_strength_that_is_given_is_used_and_told():
    prior, images, targets = draw(60)
    near, far = (SoftPromptMethod(strength=strength).fit(prior, images, targets) for strength in (30.0, 0.003))
    away = [np.linalg.norm(found.class_embeddings - prior.class_embeddings) for found in (near, far)]
    assert 0 < away[0] < 0.1 * away[1]
    assert [found.provenance["tuning"]["strength"] for found in (near, far)] == [30.0, 0.003]
    assert near.provenance["tuning"]["strength_from"] == "the caller"
    assert "held_out_loss" not in near.provenance["tuning"]


def test_an_endless_strength_keeps_the_vectors_and_still_calibrates():
    prior, images, targets = draw(60)
    found = SoftPromptMethod(strength=float("inf")).fit(prior, images, targets)
    assert found.class_embeddings.tobytes() == prior.class_embeddings.tobytes()
    assert found.provenance["tuning"]["strength"] == "infinite"
    assert found.calibration is not None
    assert unwanted_loss(found, images, targets) < unwanted_loss(prior, images, targets)


def test_strengths_are_chosen_and_told():
    prior, images, targets = draw(150)
    tuning = SoftPromptMethod().fit(prior, images, targets).provenance["tuning"]
    assert (tuning["n_images"], tuning["strength_from"]) == (150, "cross-validation")
    assert tuning["strength"] in PROMPT_STRENGTHS
    tried = [value for value, _ in tuning["held_out_loss"]]
    assert tried == ["infinite", *PROMPT_STRENGTHS[1:]]
    losses = [loss for _, loss in tuning["held_out_loss"]]
    assert losses[tried.index(tuning["strength"])] < losses[0]


@pytest.mark.parametrize("method", [SoftPromptMethod(), SoftPromptMethod("sgd"), ProbeMethod()])
def test_provenance_is_json_and_keeps_the_priors(method):
    prior, images, targets = draw(30)
    found = method.fit(prior, images, targets).provenance
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["prompts"] == ["a"]
    assert prior.provenance == {"prompts": ["a"]}


@pytest.mark.parametrize(("k", "n_each"), [(2, 3), (3, 3)])
def test_soft_prompts_of_fewer_than_4_of_a_label_are_the_prior(k, n_each):
    prior, images, targets = draw(n_each * k, k=k)
    found = SoftPromptMethod().fit(prior, images, targets)
    assert isinstance(found, SoftPrompts)
    assert found.class_embeddings.tobytes() == prior.class_embeddings.tobytes()
    assert found.calibration is None
    assert found.provenance["tuning"]["strength_from"] == "too few images"
    np.testing.assert_array_equal(found.predict_proba(images), prior.predict_proba(images))


@pytest.mark.parametrize(("n_unwanted", "n_wanted"), [(1, 1), (1, 20), (3, 3)])
def test_a_probe_of_a_few_images_takes_a_strength_without_choosing(n_unwanted, n_wanted):
    prior, images, _ = draw(n_unwanted + n_wanted)
    found = ProbeMethod().fit(prior, images, one_hot(np.repeat([1, 0], [n_unwanted, n_wanted])))
    assert isinstance(found, LinearProbe)
    assert found.provenance["tuning"] == {
        "strength": 1.0,
        "n_images": n_unwanted + n_wanted,
        "strength_from": "too few images",
    }
    assert found.calibration is None


@pytest.mark.parametrize("labels", [[], [0, 0, 0], [1, 1]])
def test_a_probe_refuses_images_of_one_label_alone(labels):
    prior, images, _ = draw(len(labels))
    with pytest.raises(UsageError, match=r"both labels\n.*unwanted of .*\n\nhint: soft prompts need none"):
        ProbeMethod().fit(prior, images, one_hot(np.array(labels, dtype=int)))


@pytest.mark.parametrize("method", [SoftPromptMethod, ProbeMethod])
def test_calibration_can_be_left_out(method):
    prior, images, targets = draw(60)
    found = method(calibrated=False).fit(prior, images, targets)
    assert found.calibration is None
    margin = margins(found.logits(images), np.array(prior.unwanted))
    np.testing.assert_allclose(found.predict_proba(images)[:, 1], expit(margin), atol=1e-6)


@pytest.mark.parametrize("method", [SoftPromptMethod(), ProbeMethod()])
def test_calibrated_probabilities_mean_what_they_say_on_other_images(method):
    """One in five images is unwanted, which the prompts do not know."""
    prior, images, targets = draw(6000, seed=1)
    rare = np.flatnonzero(targets[:, 0] | (np.arange(6000) % 4 == 0))
    images, targets = images[rare], targets[rare]
    found = method.fit(prior, images[:300], targets[:300])
    probability = found.predict_proba(images[300:])[:, 1]
    assert found.provenance["calibration"]["n_images"] == 300
    assert abs(probability.mean() - targets[300:, 1].mean()) < 0.04
    for low, high in ((0, 0.2), (0.2, 0.8), (0.8, 1)):
        inside = (probability >= low) & (probability <= high)
        assert abs(probability[inside].mean() - targets[300:][inside, 1].mean()) < 0.12
    assert unwanted_loss(found, images[300:], targets[300:]) < unwanted_loss(prior, images[300:], targets[300:]) / 1.5


def test_sgd_is_the_recipe_alone_without_a_calibration():
    prior, images, targets = draw(30)
    found = SoftPromptMethod("sgd").fit(prior, images, targets)
    assert found.calibration is None
    assert found.provenance["tuning"] == {"optimizer": "sgd", "n_images": 30}
    assert unwanted_loss(found, images, targets) < unwanted_loss(prior, images, targets)


@pytest.mark.parametrize("method", [SoftPromptMethod(), ProbeMethod()])
def test_more_images_tell_other_images_apart_better(method):
    from sklearn.metrics import roc_auc_score

    prior, images, targets = draw(1500, seed=2)
    few, many = (method.fit(prior, images[:n], targets[:n]) for n in (12, 200))
    found = [roc_auc_score(targets[200:, 1], each.predict_proba(images[200:])[:, 1]) for each in (prior, few, many)]
    assert found[2] > max(found[:2]) + 0.01
