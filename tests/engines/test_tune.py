"""Tuning on a run: where the classifier comes from is written down, and the prompts in words are the beginning."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from clipsieve.classifiers import load_classifier, save_classifier
from clipsieve.engines import Ratings, build_method, load_prior, read_ratings, tune
from clipsieve.engines.context import ContextMethod
from clipsieve.errors import EncoderMismatchError, UsageError
from clipsieve.store import Run, to_float32
from model_folders import WIDTH, make_onnx_folder, make_torch_folder
from rated_runs import CLASSES, THREE, TWO, draw_embeddings, draw_ratings, write_run, write_table

N = 200
RATING = draw_ratings(N)
EMBEDDINGS = draw_embeddings(RATING, WIDTH, signal=0.6)
SOFT = build_method("soft-prompts")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with a model, two prompt sets, a run without image 3 and 5, and ratings, labels and classes."""
    path = tmp_path_factory.mktemp("tune")
    write_run(path / "run", make_onnx_folder(path / "model"), EMBEDDINGS, missing=[3], broken=[5])
    write_table(path / "ratings.csv", rating=RATING)
    write_table(path / "labels.csv", bad=(RATING < 3).astype(int))
    classes = np.where(RATING > 3, "harmless", np.where(np.arange(N) % 2 == 0, "weapons", "gore"))
    write_table(path / "classes.csv", kind=classes)
    (path / "two.toml").write_text(TWO)
    (path / "three.toml").write_text(THREE)
    return path


@pytest.fixture(scope="module")
def run(folder) -> Run:
    return Run.open(folder / "run")


def ratings(folder: Path) -> Ratings:
    return read_ratings(folder / "ratings.csv")


def test_the_classifier_knows_where_it_comes_from(folder, run):
    found = tune(run, ratings(folder), SOFT, prompts=str(folder / "two.toml"))
    kept = [i for i in range(N) if i not in (3, 5) and not 2.5 <= RATING[i] <= 3.5]
    facts = found.classifier.provenance
    assert facts["ratings"] == {
        "file": "ratings.csv",
        "sha256": hashlib.sha256((folder / "ratings.csv").read_bytes()).hexdigest(),
        "image_column": "file",
        "column": "rating",
        "kind": "rating",
        "low": 2.5,
        "high": 3.5,
        "reverse": False,
        "n_images": len(kept),
        "n_unwanted": int((RATING[kept] < 2.5).sum()),
    }
    assert facts["tuned_on"] == sorted(hashlib.sha256(str(i).encode()).hexdigest()[:16] for i in kept)
    assert facts["tuning"]["optimizer"] == "lbfgs"
    assert facts["tuning"]["n_images"] == len(kept)
    tried = dict(map(tuple, facts["tuning"]["held_out_loss"]))
    assert facts["tuning"]["strength"] in tried
    assert "infinite" in tried
    assert facts["calibration"]["method"] == "platt"
    assert found.classifier.calibration is not None
    assert (found.n_images, found.n_unwanted, found.n_held_out) == (len(kept), facts["ratings"]["n_unwanted"], 0)
    assert found.join.unmatched == ("0003.png",)
    assert found.join.failed == (("0005.png", "truncated"),)
    assert found.classifier.encoder_weights_sha256 == run.manifest.encoder.weights_sha256


def test_the_file_holds_the_same_and_tells_new_images_apart(folder, run, tmp_path):
    found = tune(run, ratings(folder), SOFT, prompts=str(folder / "two.toml"))
    save_classifier(found.classifier, tmp_path / "c.safetensors")
    loaded = load_classifier(tmp_path / "c.safetensors")
    assert loaded.provenance == json.loads(json.dumps(found.classifier.provenance))
    fresh = draw_ratings(500, seed=9)
    # The same direction (the seed of the embeddings), other images and noise.
    embeddings = draw_embeddings(np.concatenate([RATING, fresh]), WIDTH, signal=0.6)[N:]
    probability = loaded.predict_proba(embeddings)[:, 1]
    np.testing.assert_array_equal(probability, found.classifier.predict_proba(embeddings)[:, 1])
    assert roc_auc_score(fresh < 3, probability) > 0.85
    again = tune(run, ratings(folder), SOFT, prompts=str(folder / "two.toml"))
    save_classifier(again.classifier, tmp_path / "d.safetensors")
    assert (tmp_path / "c.safetensors").read_bytes() == (tmp_path / "d.safetensors").read_bytes()


@pytest.mark.parametrize(("file", "column", "prompts"), [("ratings", None, "two"), ("classes", "kind", "three")])
def test_without_images_it_is_exactly_zero_shot(folder, run, file, column, prompts):
    spec = str(folder / f"{prompts}.toml")
    given = read_ratings(folder / f"{file}.csv", label_column=column)
    found = tune(run, given, SOFT, prompts=spec, n_images=0)
    prior = load_prior(run, spec)
    stored = to_float32(run.read_images(0, ["embedding"]).column("embedding").drop_null())
    np.testing.assert_array_equal(found.classifier.predict_proba(stored), prior.predict_proba(stored))
    np.testing.assert_array_equal(found.classifier.class_embeddings, prior.class_embeddings)
    assert (found.n_images, found.n_unwanted) == (0, 0)
    assert found.classifier.provenance["tuned_on"] == []
    assert found.classifier.calibration is None
    assert "kept" in found.notes[0]


def held_out(folder, run, **options) -> set[str]:
    """Return the digests of the images that all images of the label minus the tuned ones are."""
    report = tune(run, ratings(folder), build_method("zero-shot"), prompts=str(folder / "two.toml"), **options)
    return set(report.classifier.provenance["tuned_on"])


def test_held_out_images_do_not_depend_on_how_many_are_tuned_on(folder, run):
    everything = held_out(folder, run)
    kept = held_out(folder, run, hold_out=0.3, seed=4)
    left = everything - kept
    assert len(left) == pytest.approx(0.3 * len(everything), abs=1)
    for n in (1, 2, 15, 40):
        few = held_out(folder, run, hold_out=0.3, seed=4, n_images=n)
        assert len(few) == n
        assert few <= kept
    assert held_out(folder, run, hold_out=0.3, seed=4, n_images=10**6) == kept
    assert held_out(folder, run, hold_out=0.3, seed=5) != kept
    assert held_out(folder, run, hold_out=0.3, seed=4, n_images=15) < held_out(
        folder, run, hold_out=0.3, seed=4, n_images=40
    )


def test_few_images_are_of_both_labels_in_their_proportion(folder, run):
    share = float((RATING < 2.5).sum() / ((RATING < 2.5) | (RATING > 3.5)).sum())
    for n in (2, 3, 10, 50):
        found = tune(run, ratings(folder), SOFT, prompts=str(folder / "two.toml"), n_images=n)
        assert (found.n_images, found.n_unwanted) == (n, pytest.approx(share * n, abs=1))
        assert 0 < found.n_unwanted < n


@pytest.mark.parametrize("rare", [0, 1])
def test_of_a_rare_label_there_is_one_image_at_least(folder, run, tmp_path, rare):
    labels = [rare if i < 3 else 1 - rare for i in range(N)]
    write_table(tmp_path / "r.csv", bad=labels)
    given = read_ratings(tmp_path / "r.csv", label_column="bad")
    for n in (2, 10, N - 4):
        found = tune(run, given, build_method("zero-shot"), prompts=str(folder / "two.toml"), n_images=n)
        assert found.n_images == n
        assert 1 <= (found.n_unwanted if rare else n - found.n_unwanted) <= 3
    one = tune(run, given, build_method("zero-shot"), prompts=str(folder / "two.toml"), n_images=2, hold_out=0.9)
    assert one.n_images == 2  # of the rare label all were held out


@pytest.mark.parametrize("method", ["soft-prompts", "linear-probe"])
@pytest.mark.parametrize(("file", "column"), [("classes", "kind"), ("labels", "bad")])
def test_three_classes(folder, run, method, file, column):
    given = read_ratings(folder / f"{file}.csv", label_column=column)
    found = tune(run, given, build_method(method), prompts=str(folder / "three.toml"))
    assert found.classifier.class_names == CLASSES
    assert found.classifier.unwanted == (True, True, False)
    known = [i for i in range(N) if i not in (3, 5)]
    assert found.n_images == len(known)
    probability = found.classifier.predict_proba(EMBEDDINGS[known])
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-6)
    assert roc_auc_score(RATING[known] < 3, probability[:, 1]) > 0.85


def test_one_label_alone_among_the_images_that_were_found(folder, run, tmp_path):
    write_table(tmp_path / "r.csv", file=["0000.png", "0001.png", "elsewhere.png"], bad=[1, 1, 0])
    with pytest.raises(UsageError, match="one label alone") as caught:
        tune(run, read_ratings(tmp_path / "r.csv", label_column="bad"), SOFT, prompts=str(folder / "two.toml"))
    assert "2 unwanted of 2" in caught.value.found


def test_soft_prompts_are_a_beginning_and_a_probe_is_none(folder, run, tmp_path):
    first = tune(run, ratings(folder), build_method("soft-prompts", optimizer="sgd"), prompts=str(folder / "two.toml"))
    save_classifier(first.classifier, tmp_path / "soft.safetensors")
    prior = load_prior(run, str(tmp_path / "soft.safetensors"))
    np.testing.assert_array_equal(prior.class_embeddings, first.classifier.class_embeddings)
    again = tune(run, ratings(folder), SOFT, prompts=str(tmp_path / "soft.safetensors"), n_images=0)
    np.testing.assert_array_equal(again.classifier.class_embeddings, first.classifier.class_embeddings)
    assert again.classifier.provenance["begins_with"]["tuning"]["optimizer"] == "sgd"
    probe = tune(run, ratings(folder), build_method("linear-probe"), prompts=str(folder / "two.toml"))
    save_classifier(probe.classifier, tmp_path / "probe.safetensors")
    with pytest.raises(UsageError, match="no prompts to begin with"):
        tune(run, ratings(folder), SOFT, prompts=str(tmp_path / "probe.safetensors"))


def test_soft_prompts_of_another_encoder_are_refused(folder, run, tmp_path):
    first = tune(run, ratings(folder), SOFT, prompts=str(folder / "two.toml"))
    save_classifier(first.classifier, tmp_path / "soft.safetensors")
    other = write_run(tmp_path / "run", make_onnx_folder(tmp_path / "model", seed=1), EMBEDDINGS)
    with pytest.raises(EncoderMismatchError):
        tune(other, ratings(folder), SOFT, prompts=str(tmp_path / "soft.safetensors"))


def test_an_encoder_that_was_moved_is_named_with_model(folder, tmp_path):
    model = make_onnx_folder(tmp_path / "old")
    moved = write_run(tmp_path / "run", model, EMBEDDINGS)
    model.rename(tmp_path / "new")
    spec = str(folder / "two.toml")
    assert tune(moved, ratings(folder), SOFT, prompts=spec, model=str(tmp_path / "new")).n_images > 0
    with pytest.raises(EncoderMismatchError):
        tune(moved, ratings(folder), SOFT, prompts=spec, model=str(make_onnx_folder(tmp_path / "other", seed=1)))


@pytest.mark.parametrize("options", [{"hold_out": 1.0}, {"hold_out": -0.1}, {"hold_out": np.nan}, {"n_images": -1}])
def test_numbers_outside_their_range(folder, run, options):
    with pytest.raises(UsageError, match="makes no sense"):
        tune(run, ratings(folder), SOFT, prompts=str(folder / "two.toml"), **options)


@pytest.mark.torch
def test_context_vectors_on_a_run_of_onnx_are_refused_in_words(folder, run):
    with pytest.raises(UsageError, match="cannot be differentiated"):
        tune(run, ratings(folder), ContextMethod(), prompts=str(folder / "two.toml"))


@pytest.mark.torch
@pytest.mark.slow
def test_context_vectors_on_a_run_of_torch(folder, tmp_path):
    model = make_torch_folder(tmp_path / "model")
    run = write_run(tmp_path / "run", model, EMBEDDINGS)
    found = tune(run, ratings(folder), ContextMethod(n_context=4, n_epochs=3), prompts=str(folder / "two.toml"))
    assert found.classifier.class_names == ("good", "bad")
    assert found.classifier.provenance["ratings"]["n_images"] == found.n_images
    save_classifier(found.classifier, tmp_path / "c.safetensors")
    np.testing.assert_array_equal(
        load_classifier(tmp_path / "c.safetensors").predict_proba(EMBEDDINGS),
        found.classifier.predict_proba(EMBEDDINGS),
    )
