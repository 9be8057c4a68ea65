"""What every method that makes a classifier of rated images promises, whatever it does inside."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from clipsieve.classifiers import SoftPrompts, ZeroShot, load_classifier, save_classifier
from clipsieve.classifiers.methods import Method, ProbeMethod, SoftPromptMethod, ZeroShotMethod
from clipsieve.classifiers.similarity import normalize
from clipsieve.errors import EmbeddingError, UsageError

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

D, N = 16, 100
METHODS = {
    "zero-shot": ZeroShotMethod(),
    "soft-prompts": SoftPromptMethod(),
    "soft-prompts of one strength": SoftPromptMethod(strength=0.1, calibrated=False),
    "soft-prompts by sgd": SoftPromptMethod("sgd"),
    "linear-probe": ProbeMethod(),
}
TASKS = {  # which classes are unwanted, and whether half of the ratings tell the label alone
    "unwanted last": ((False, True), False),
    "unwanted first": ((True, False), False),
    "three, first unwanted": ((True, False, False), False),
    "three, two unwanted, in groups": ((True, False, True), True),
    "three, last unwanted": ((False, False, True), False),
    "three, first unwanted, in groups": ((True, False, False), True),
    "three, two unwanted": ((True, False, True), False),
}
LATER = {"three, first unwanted", "three, last unwanted", "three, first unwanted, in groups", "three, two unwanted"}


@dataclass
class Task:
    """A prior and rated images of its classes."""

    prior: ZeroShot
    images: np.ndarray
    targets: np.ndarray
    name: str

    def fit(self, method, rows=slice(None)):
        return method.fit(self.prior, self.images[rows], self.targets[rows])


def draw(unwanted, *, grouped=False, n=N, name=""):
    """Return a task where images lie around what the prompts see half of; grouped, half of the ratings tell the label alone."""
    k, rng = len(unwanted), np.random.default_rng(0)
    centres, others = rng.normal(size=(2, k, D))
    labels = rng.permutation(np.arange(n) % k)
    targets = labels[:, None] == np.arange(k)
    if grouped:
        alike = np.array(unwanted)[labels][:, None] == np.array(unwanted)
        targets = np.where(np.arange(n)[:, None] % 2, alike, targets)
    images = normalize(centres[labels] + 1.5 * rng.normal(size=(n, D)))
    names = tuple("abc"[:k])
    prior = ZeroShot(normalize(centres + others), names, unwanted, "some/encoder", "a" * 64, logit_scale=30.0)
    for given in (images, targets, prior.class_embeddings):
        given.setflags(write=False)  # what a method is given it does not change
    return Task(prior, images, targets, name)


def each_task():
    return [pytest.param(name, marks=pytest.mark.slow) if name in LATER else name for name in TASKS]


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]


@pytest.fixture(params=each_task())
def task(request):
    return draw_once(request.param)


@pytest.fixture
def fitted(method, task):
    return fit_once(method, task.name)


@cache
def draw_once(name):
    unwanted, grouped = TASKS[name]
    return draw(unwanted, grouped=grouped, name=name)


@cache
def fit_once(method, name):
    return draw_once(name).fit(method)


def same(one, other):
    """Return whether two classifiers are the same to the last bit."""
    facts = [(c.class_names, c.unwanted, c.calibration, c.provenance, c.logit_scale, c.threshold) for c in (one, other)]
    arrays = [{name: array.tobytes() for name, array in c.arrays().items()} for c in (one, other)]
    return type(one) is type(other) and facts[0] == facts[1] and arrays[0] == arrays[1]


def test_classes_order_and_encoder_are_the_priors(fitted, task):
    for name in ("class_names", "unwanted", "encoder_name", "encoder_weights_sha256", "embedding_dim"):
        assert getattr(fitted, name) == getattr(task.prior, name)
    assert fitted.arrays()
    assert all(array.dtype == np.float32 for array in fitted.arrays().values())
    if isinstance(fitted, SoftPrompts):
        assert fitted.logit_scale == task.prior.logit_scale


def test_probabilities_are_float32_between_0_and_1_and_rows_sum_to_1(fitted, task):
    found = fitted.predict_proba(task.images)
    assert (found.shape, found.dtype) == ((N, 2), np.float32)
    assert found.min() >= 0
    assert found.max() <= 1
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert np.ptp(found[:, 1]) > 0.05


def test_unwanted_images_are_more_often_called_unwanted(fitted, task):
    """Column 1 is that of the unwanted classes, wherever they stand."""
    is_unwanted = (task.targets & np.array(task.prior.unwanted)).any(axis=1)
    probability = fitted.predict_proba(task.images)[:, 1]
    assert probability[is_unwanted].mean() > probability[~is_unwanted].mean() + 0.1


def test_neither_a_second_fit_nor_the_order_of_images_changes_a_bit(fitted, method, task):
    """Folds and batches are drawn from the images, not from the order in which they came."""
    settings = repr(method)
    assert same(fitted, task.fit(method, np.random.default_rng(1).permutation(N)))
    assert repr(method) == settings
    assert task.prior.provenance == {}


def test_copies_of_the_same_images_are_no_obstacle(method):
    task = draw((False, True))
    found = task.fit(method, np.tile(np.arange(25), 4)).predict_proba(task.images)
    assert np.isfinite(found).all()


def test_saved_and_loaded_it_is_the_same(fitted, task, tmp_path):
    save_classifier(fitted, tmp_path / "c.safetensors")
    loaded = load_classifier(tmp_path / "c.safetensors")
    assert same(fitted, loaded)
    assert loaded.predict_proba(task.images).tobytes() == fitted.predict_proba(task.images).tobytes()


@pytest.mark.parametrize(
    "method",
    [
        ZeroShotMethod(),
        SoftPromptMethod(),
        SoftPromptMethod(strength=0.0),
        SoftPromptMethod(strength=1.0),
        SoftPromptMethod("sgd"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("d", [3, 512])
@pytest.mark.parametrize("unwanted", [(False, True), (True, False), (True, False, True)])
def test_no_images_give_the_priors_vectors_bit_for_bit(method, d, unwanted):
    rows = normalize(np.random.default_rng(0).normal(size=(len(unwanted), d))) * np.float32(1.0003)
    prior = ZeroShot(rows, tuple("abc"[: len(unwanted)]), unwanted, "m")
    images = np.zeros((0, d), dtype=np.float32)
    found = method.fit(prior, images, np.zeros((0, len(unwanted)), dtype=bool))
    if method == SoftPromptMethod("sgd"):
        np.testing.assert_allclose(found.class_embeddings, rows, rtol=1e-6)
    assert found.class_embeddings.tobytes() == prior.class_embeddings.tobytes()
    assert found.calibration is None


def test_every_class_can_be_missing_if_both_labels_are_there(method):
    """Three classes, of which the second unwanted one has no image."""
    task = draw((True, False, True))
    rows = np.flatnonzero(~task.targets[:, 2])
    found = task.fit(method, rows).predict_proba(task.images[rows])
    assert np.isfinite(found).all()


def test_targets_of_another_shape_are_refused(method):
    task = draw((False, True))
    for targets in (task.targets[:, :1], np.tile(task.targets, 2)):
        with pytest.raises(UsageError, match=r"targets do not fit\n.*\(100, 2\)\n.*\(100, "):
            method.fit(task.prior, task.images, targets)


@pytest.mark.parametrize("target", [(False, False, False), (True, True, False), (True, True, True)])
def test_targets_of_no_class_or_both_labels_are_refused_and_named(method, target):
    task = draw((True, False, False))
    targets = task.targets.copy()
    targets[17] = target
    with pytest.raises(UsageError, match="image 17 allows no class, or both wanted and unwanted"):
        method.fit(task.prior, task.images, targets)


@pytest.mark.parametrize("broken", [2.0, 0.0, np.nan, np.inf])
def test_rows_that_are_not_unit_norm_are_refused_and_named(method, broken):
    task = draw((False, True))
    images = task.images.copy()
    images[5] *= np.float32(broken)
    with pytest.raises(EmbeddingError, match="row 5 of the embeddings of the rated images is not unit norm"):
        method.fit(task.prior, images, task.targets)


def test_embeddings_of_another_width_are_refused(method):
    task = draw((False, True))
    with pytest.raises(EmbeddingError, match=r"another width\n.*16 columns\n.*8"):
        method.fit(task.prior, normalize(task.images[:, :8]), task.targets)


def test_methods_are_methods(method):
    assert isinstance(method, Method)
    assert method.name in {"zero-shot", "soft-prompts", "linear-probe"}
