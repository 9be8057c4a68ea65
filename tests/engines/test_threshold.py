"""Thresholds that are chosen by labels, from the stored probabilities to decisions for the whole run."""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binom

from clipsieve.classifiers import Platt, SoftPrompts, describe_classifier, load_classifier, save_classifier
from clipsieve.engines import read_ratings, read_score_facts, score, set_threshold
from clipsieve.errors import ClassifierFileError, RunConflictError, RunCorruptError, RunNotFoundError, UsageError
from clipsieve.outputs import summarize
from clipsieve.store import Run, RunManifest, image_table, locked, score_table
from clipsieve.types import (
    EmbeddedImage,
    EncoderIdentity,
    FailedImage,
    Failure,
    FailureCode,
    FailureStep,
    FileFacts,
    ImageRef,
    Preprocessing,
)

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

D = 4
IDENTITY = EncoderIdentity("tiny", "a" * 64, Preprocessing(8, "squash", "bicubic", (0,) * 3, (1,) * 3), "fp32", D)
PART = 120
N = 300
BROKEN = 7  # the number of an image that could not be read


def digest(number):
    return hashlib.sha256(f"{number}".encode()).hexdigest()


def row(number):
    ref = ImageRef(f"{number}.png", f"file:///{number}.png", None, None, b"")
    if number == BROKEN:
        return FailedImage(ref, None, Failure(FailureStep.DECODE, FailureCode.TRUNCATED, "broken"))
    direction = np.random.default_rng(number).normal(size=D).astype(np.float32)
    facts = FileFacts(digest(number), 1, 1, 1, "PNG")
    return EmbeddedImage(ref, facts, direction / np.linalg.norm(direction))


def make_run(path):
    n_parts = -(-N // PART)
    run = Run.create(path, RunManifest("folder", "/photos", PART, N, n_parts, 0, IDENTITY, "tiny", {}, "0"))
    facts = {"encoder": IDENTITY.fingerprint, "options": run.manifest.options_fingerprint}
    for index in range(n_parts):
        rows = [row(i) for i in range(index * PART, min((index + 1) * PART, N))]
        run.write_part(run.image_part(index), image_table(rows, D, inputs=f"{index}", **facts))
    return run


def write_scores(run, probability, name="words", **facts):
    """Write scores of some probabilities, without a classifier that gives them."""
    for index in range(run.manifest.n_parts):
        here = np.arange(index * PART, min((index + 1) * PART, len(probability)))
        present = here != BROKEN
        ids = pa.array([f"{i}.png" for i in here])
        values = probability[here[present]].astype(np.float32)
        logits = np.zeros((len(values), 2), np.float32)
        run.write_part(run.score_part(name, index), score_table(ids, present, values, logits, inputs=f"{index}"))
    run.write_score_facts(name, {"threshold": 0.5} | facts)


def good_scores(seed=0):
    """Return probabilities that tell labels apart well, and the labels of all images."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(N) < 0.4).astype(np.int64)
    return 1 / (1 + np.exp(-(6 * labels - 3 + 1.5 * rng.normal(size=N)))), labels


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Write a run without scores once, to be copied."""
    return make_run(tmp_path_factory.mktemp("images") / "run").path


@pytest.fixture
def run(images, tmp_path):
    made = Run.open(shutil.copytree(images, tmp_path / "run"))
    write_scores(made, good_scores()[0])
    return made


@pytest.fixture
def rate(tmp_path):
    """Return a function that writes and reads labels of some images, all by default."""

    def made(labels=None, numbers=range(N)):
        values = good_scores()[1] if labels is None else labels
        path = tmp_path / "rated.csv"
        path.write_text("file,label\n" + "".join(f"{i}.png,{values[i]}\n" for i in numbers))
        return read_ratings(path)

    return made


def stored(run, name="words"):
    return np.concatenate([t.column("probability").drop_null().to_numpy() for _, t in run.iter_scores(name)])


def facts_of(run, name="words"):
    return json.loads((run.path / "scores" / name / "classifier.json").read_text())


def test_the_threshold_of_recall_is_the_order_statistic_of_the_binomial(run, rate):
    probability, labels = good_scores()
    numbers = [i for i in range(0, N, 2) if i != BROKEN]
    report = set_threshold(run, None, rate(numbers=numbers), recall=0.9)
    unwanted = np.sort(probability[numbers][labels[numbers] == 1].astype(np.float32))
    k = max(k for k in range(1, len(unwanted)) if binom.cdf(k - 1, len(unwanted), 0.1) <= 0.05)
    assert report.threshold == unwanted[k - 1]
    assert (report.n_labels, report.n_unwanted) == (len(numbers), len(unwanted))
    assert report.n_review == (stored(run) >= unwanted[k - 1]).sum()
    assert (report.remove_threshold, report.n_remove) == (None, 0)
    assert report.n_keep + report.n_review == N - 1
    assert report.is_written


def test_both_promises_make_three_decisions(run, rate):
    report = set_threshold(run, "words", rate(), recall=0.95, precision=0.95)
    assert report.threshold < report.remove_threshold
    assert [point.kind for point in report.promises] == ["recall", "precision"]
    assert [seen.threshold for seen in report.observed] == [report.threshold, report.remove_threshold]
    values = stored(run)
    assert report.n_keep == (values < report.threshold).sum()
    assert report.n_remove == (values >= report.remove_threshold).sum()
    assert report.n_keep + report.n_review + report.n_remove == N - 1
    assert min(report.n_keep, report.n_review, report.n_remove) > 0


def test_the_promised_are_what_was_asked_for_on_labels_that_nobody_saw(run, rate):
    probability, labels = good_scores()
    seen = np.arange(0, N, 2)
    report = set_threshold(run, None, rate(numbers=seen), recall=0.8, precision=0.8)
    other = np.setdiff1d(np.arange(N), seen)
    kept, removed = probability[other] < report.threshold, probability[other] >= report.remove_threshold
    assert labels[other][kept].sum() <= 0.2 * labels[other].sum()
    assert labels[other][removed].mean() >= 0.8


def test_where_precision_needs_the_lower_threshold_all_that_is_flagged_is_removed(run, rate):
    report = set_threshold(run, None, rate(), recall=0.5, precision=0.5)
    recall, precision = report.promises
    assert precision.threshold < recall.threshold
    assert report.threshold == report.remove_threshold == precision.threshold
    assert report.n_review == 0
    assert len(report.observed) == 1
    assert read_score_facts(run, "words").remove_threshold == report.threshold


def test_with_precision_alone_what_is_flagged_is_removed(run, rate):
    report = set_threshold(run, None, rate(), precision=0.9)
    assert report.threshold == report.remove_threshold
    assert report.n_review == 0
    assert report.n_remove == (stored(run) >= report.threshold).sum() > 0


@pytest.mark.parametrize("step", [0.1, 0.05, 1 / 3])
def test_ties_at_the_threshold_are_flagged_alike_in_every_number_format(run, rate, step):
    """0.1 and the like have no float32: a threshold kept in float64 would stand beside its own images."""
    coarse = np.round(good_scores()[0] / step) * step
    write_scores(run, coarse)
    report = set_threshold(run, None, rate(), recall=0.9, precision=0.8)
    values = stored(run)
    for threshold, n_at_least in (
        (report.threshold, report.n_review + report.n_remove),
        (report.remove_threshold, report.n_remove),
    ):
        assert np.float32(threshold) == threshold
        assert (values == np.float32(threshold)).sum() > 1
        assert (values >= np.float32(threshold)).sum() == n_at_least
        assert (values.astype(np.float64) >= threshold).sum() == n_at_least
        assert sum(value >= threshold for value in values.tolist()) == n_at_least
    summary = summarize(run)
    assert (summary.n_flagged, summary.n_remove) == (report.n_review + report.n_remove, report.n_remove)


def test_what_was_chosen_is_written_down_with_where_it_comes_from(run, rate):
    write_scores(run, good_scores()[0], method="zero-shot", n_scored=N - 1)
    ratings = rate()
    report = set_threshold(run, None, ratings, recall=0.9, precision=0.8, confidence=0.9)
    facts = facts_of(run)
    assert (facts["threshold"], facts["remove_threshold"]) == (report.threshold, report.remove_threshold)
    assert (facts["n_flagged"], facts["n_remove"]) == (report.n_review + report.n_remove, report.n_remove)
    assert (facts["method"], facts["n_scored"]) == ("zero-shot", N - 1)
    assert [record["kind"] for record in facts["operating_points"]] == ["recall", "precision"]
    for record, target in zip(facts["operating_points"], (0.9, 0.8), strict=True):
        assert (record["target"], record["confidence"], record["n_labels"]) == (target, 0.9, N - 1)
        assert record["bound"] >= target
        assert record["ratings_sha256"] == hashlib.sha256(ratings.path.read_bytes()).hexdigest()
        assert record["made"].endswith("+00:00")
    assert tuple(promise.point for promise in read_score_facts(run, "words").promises) == report.promises
    entry = run.history()[-1]
    assert (entry["what"], entry["name"], entry["threshold"]) == ("threshold", "words", report.threshold)
    assert not (run.path / ".lock").exists()


def test_every_key_that_is_written_is_on_the_page_of_the_format(scored, rate):
    run, _, labels = scored
    set_threshold(run, None, rate(labels), recall=0.8)
    page = (Path(__file__).parents[2] / "docs/format.md").read_text(encoding="utf-8")
    section = page.split("\n## classifier.json\n")[1].split("\n## ")[0]
    facts = facts_of(run, "clf")
    own = set(facts) - set(describe_classifier(classifier())) | {"threshold", "remove_threshold", "calibration"}
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"(?m)^\| (`.+?) \|", section)))) == own
    for key in facts["operating_points"][0]:
        assert f"`{key}`" in section


def test_a_second_call_replaces_all_of_the_first(run, rate):
    set_threshold(run, None, rate(), recall=0.9, precision=0.8)
    report = set_threshold(run, None, rate(), recall=0.8)
    facts = facts_of(run)
    assert (facts["threshold"], facts["remove_threshold"], facts["n_remove"]) == (report.threshold, None, 0)
    assert [record["target"] for record in facts["operating_points"]] == [0.8]


def test_a_dry_run_says_the_same_and_writes_nothing(run, rate):
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with locked(run.path):  # and it does not mind another writer
        dry = set_threshold(run, None, rate(), recall=0.9, dry_run=True)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
    assert not dry.is_written
    assert replace(set_threshold(run, None, rate(), recall=0.9), is_written=False) == dry


def test_while_another_process_writes_nothing_is_changed(run, rate):
    before = facts_of(run)
    with locked(run.path), pytest.raises(RunConflictError):
        set_threshold(run, None, rate(), recall=0.9)
    assert facts_of(run) == before


@pytest.mark.parametrize("nested", [False, True])
def test_images_that_it_was_tuned_on_do_not_count(run, rate, nested):
    """They are ranked perfectly here, as after overfitting; with them, the threshold would be far higher."""
    probability, labels = good_scores()
    tuned = [i for i in range(0, N, 2) if i != BROKEN]
    probability[tuned] = np.where(labels[tuned] == 1, 0.99, 0.01)
    digests = [digest(i)[:16] for i in tuned]
    provenance = {"tuned_on": digests[:9], "begins_with": {"tuned_on": digests}} if nested else {"tuned_on": digests}
    write_scores(run, probability, method="soft-prompts", provenance=provenance)
    report = set_threshold(run, None, rate(), recall=0.9)
    assert (report.n_tuned_on, report.n_labels, report.warnings) == (len(tuned), N - 1 - len(tuned), ())
    write_scores(run, probability)
    others = [i for i in range(1, N, 2) if i != BROKEN]
    assert set_threshold(run, None, rate(numbers=others), recall=0.9).threshold == report.threshold
    assert set_threshold(run, None, rate(), recall=0.9).threshold > report.threshold + 0.05


def test_too_few_labels_say_how_many_would_do_and_where_they_went(run, rate):
    _, labels = good_scores()
    unwanted, wanted = (np.setdiff1d(np.flatnonzero(labels == label), [BROKEN]) for label in (1, 0))
    write_scores(run, good_scores()[0], provenance={"tuned_on": [digest(i)[:16] for i in unwanted[40:]]})
    before = facts_of(run)
    with pytest.raises(UsageError) as caught:
        set_threshold(run, None, rate(numbers=[*unwanted[:60], *wanted[:50], BROKEN]), recall=0.95)
    assert caught.value.expected == "at least 59 labels of unwanted images"
    lost = "20 that the classifier was tuned on, 1 not found in the run with an embedding"
    assert caught.value.found == f"40; left out: {lost}"
    assert caught.value.state == "nothing was written"
    assert facts_of(run) == before


def test_too_few_labels_for_precision_say_so_as_well(run, rate):
    write_scores(run, good_scores()[0], provenance={"tuned_on": [digest(i)[:16] for i in range(30, N)]})
    with pytest.raises(UsageError, match=r"about .* labels would do") as caught:
        set_threshold(run, None, rate(), precision=0.95)
    assert "left out: 270 that the classifier was tuned on" in str(caught.value.found)


def test_a_wrong_number_is_not_blamed_on_the_labels(run, rate):
    write_scores(run, good_scores()[0], provenance={"tuned_on": [digest(1)[:16]]})
    for wrong in ({"recall": 1.0}, {"precision": 0.0}, {"recall": 0.9, "confidence": 1.5}, {}):
        with pytest.raises(UsageError) as caught:
            set_threshold(run, None, rate(), **wrong)
        assert "tuned" not in str(caught.value)


def test_no_label_left_is_an_error_of_its_own(run, rate):
    write_scores(run, good_scores()[0], provenance={"tuned_on": [digest(i)[:16] for i in range(N)]})
    with pytest.raises(UsageError, match="no label is left") as caught:
        set_threshold(run, None, rate(), recall=0.5)
    assert "299 that it was tuned on" in str(caught.value.found)
    assert "--hold-out" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("facts", "is_known"),
    [
        ({}, True),
        ({"method": "zero-shot", "provenance": {"prompt_set": "mine"}}, True),
        ({"method": "linear-probe", "provenance": {"tuned_on": []}}, True),
        ({"method": "network", "provenance": {"imported_from": "a.zip"}}, False),
        ({"method": "soft-prompts", "provenance": {"tuned_on": [], "begins_with": {"imported_from": "a.p"}}}, False),
        ({"method": "soft-prompts", "provenance": {"tuned_on": "all"}}, False),
        ({"method": "soft-prompts", "provenance": {"tuned_on": [1], "calibration": [5]}}, False),
        ({"method": "soft-prompts", "provenance": None}, False),
    ],
)
def test_a_classifier_whose_training_nobody_knows_gives_a_warning(run, rate, facts, is_known):
    write_scores(run, good_scores()[0], **facts)
    warnings = set_threshold(run, None, rate(), recall=0.9).warnings
    assert any("tuned on" in warning for warning in warnings) == (not is_known)


def test_a_low_confidence_gives_a_warning(run, rate):
    assert set_threshold(run, None, rate(), recall=0.9, confidence=0.8).warnings == ()
    (warning,) = set_threshold(run, None, rate(), recall=0.9, confidence=0.79).warnings
    assert "0.79 is low" in warning


def test_ratings_between_the_cuts_are_left_out_and_told(run, tmp_path):
    _, labels = good_scores()
    rating = np.where(labels == 1, 1.5, 4.5)
    rating[::10] = 3.0
    path = tmp_path / "rated.csv"
    path.write_text("file,rating\n" + "".join(f"{i}.png,{value}\n" for i, value in enumerate(rating)))
    report = set_threshold(run, None, read_ratings(path), recall=0.9, precision=0.8)
    assert (report.n_undecided, report.n_labels) == (30, 269)
    assert any("undecided about 30 " in warning for warning in report.warnings)
    assert set_threshold(run, None, read_ratings(path), recall=0.9).warnings == ()


def test_class_names_become_labels_by_what_the_classifier_says_of_them(run, rate, tmp_path):
    probability, labels = good_scores()
    names = np.where(labels == 1, np.where(np.arange(N) % 2, "rude", "violent"), "calm")
    path = tmp_path / "classes.csv"
    path.write_text("file,label\n" + "".join(f"{i}.png,{name}\n" for i, name in enumerate(names)))
    ratings = read_ratings(path, label_column="label")
    classes = {"class_names": ["rude", "calm", "violent"], "unwanted": [True, False, True]}
    write_scores(run, probability, **classes)
    found = set_threshold(run, None, ratings, recall=0.9).threshold
    assert found == set_threshold(run, None, rate(), recall=0.9).threshold
    write_scores(run, probability, class_names=["rude", "calm"], unwanted=[True, False])
    with pytest.raises(UsageError, match="name classes that the classifier does not have") as caught:
        set_threshold(run, None, ratings, recall=0.9)
    assert caught.value.found == "`violent`"


def test_scores_must_be_there_and_chosen_where_there_is_a_choice(run, rate):
    write_scores(run, good_scores()[0], name="other")
    with pytest.raises(UsageError, match="several scores"):
        set_threshold(run, None, rate(), recall=0.9)
    set_threshold(run, "other", rate(), recall=0.9)
    assert "operating_points" not in facts_of(run)
    with pytest.raises(RunNotFoundError, match="no scores named `third`"):
        set_threshold(run, "third", rate(), recall=0.9)
    run.drop_scores()
    with pytest.raises(UsageError, match="has no scores"):
        set_threshold(run, None, rate(), recall=0.9)


@pytest.mark.parametrize(
    "damage",
    [
        {"threshold": 2},
        {"remove_threshold": "high"},
        {"remove_threshold": -1},
        {"operating_points": [{}]},
        {"operating_points": ["all"]},
        {"operating_points": 5},
        {"calibration": {}},
        {"calibration": 5},
        {"class_names": ["a"], "unwanted": []},
    ],
    ids=repr,
)
def test_damaged_facts_are_named(run, damage):
    write_scores(run, good_scores()[0], **damage)
    with pytest.raises(RunCorruptError, match=r"words/classifier\.json` is damaged"):
        read_score_facts(run, "words")


@pytest.mark.parametrize("change", [{"kind": "accuracy"}, {"target": "all"}, {"threshold": None}, {"confidence": 2}])
def test_a_damaged_promise_is_named(run, rate, change):
    set_threshold(run, None, rate(), recall=0.9)
    facts = facts_of(run)
    facts["operating_points"][0] |= change
    run.write_score_facts("words", facts)
    with pytest.raises(RunCorruptError, match="is damaged"):
        summarize(run)


# With the classifier's file


def classifier(**settings):
    vectors = np.eye(D, dtype=np.float32)[:2]
    return SoftPrompts(vectors, ("good", "bad"), (False, True), "tiny", "a" * 64, logit_scale=5.0, **settings)


@pytest.fixture
def scored(images, tmp_path):
    """Return a run that a classifier file has scored, the file, and labels that its probabilities are good for."""
    made, path = Run.open(shutil.copytree(images, tmp_path / "scored")), tmp_path / "clf.safetensors"
    save_classifier(classifier(provenance={"tuned_on": []}, calibration=Platt(1.5, 0.25)), path)
    score(made, load_classifier(path), name="clf")
    probability = np.insert(stored(made, "clf").astype(np.float64), BROKEN, 0.5)
    labels = (np.random.default_rng(1).random(N) < probability).astype(np.int64)
    return made, path, labels


def test_the_file_is_written_with_the_thresholds_and_decides_alike(scored, rate, tmp_path):
    run, path, labels = scored
    before, output = path.read_bytes(), tmp_path / "new.safetensors"
    files = {"classifier_path": path, "output": output}
    report = set_threshold(run, None, rate(labels), recall=0.8, precision=0.8, **files)
    assert path.read_bytes() == before
    old, new = load_classifier(path), load_classifier(output)
    assert (new.threshold, new.remove_threshold) == (report.threshold, report.remove_threshold)
    assert [record["kind"] for record in new.provenance["operating_points"]] == ["recall", "precision"]
    restored = replace(new, threshold=old.threshold, remove_threshold=None, provenance=old.provenance)
    save_classifier(restored, tmp_path / "restored.safetensors")
    assert (tmp_path / "restored.safetensors").read_bytes() == before
    again = score(run, new, name="again")
    assert (again.n_flagged, again.n_remove) == (report.n_review + report.n_remove, report.n_remove)
    assert summarize(run, "again").promises == ()
    assert summarize(run, "clf").n_remove == report.n_remove > 0


def test_the_file_may_be_replaced_in_place_and_then_fits_the_scores_still(scored, rate):
    run, path, labels = scored
    first = set_threshold(run, None, rate(labels), recall=0.8, classifier_path=path, output=path)
    assert load_classifier(path).threshold == first.threshold
    second = set_threshold(run, None, rate(labels), recall=0.9, classifier_path=path, output=path)
    assert load_classifier(path).threshold == second.threshold < first.threshold


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"class_embeddings": np.eye(D, dtype=np.float32)[1:3]}, "arrays_sha256"),
        ({"calibration": Platt(1.5, 0.5)}, "calibration"),
        ({"calibration": None}, "calibration"),
        ({"class_names": ("fine", "bad")}, "class_names"),
        ({"encoder_weights_sha256": "b" * 64}, "encoder_weights_sha256"),
        ({"logit_scale": 6.0}, "logit_scale"),
    ],
)
def test_another_classifier_is_refused_and_nothing_written(scored, rate, tmp_path, change, key):
    run, path, labels = scored
    save_classifier(replace(load_classifier(path), **change), path)
    before = facts_of(run, "clf")
    with pytest.raises(UsageError, match="is not the classifier that made the scores") as caught:
        set_threshold(run, None, rate(labels), recall=0.8, classifier_path=path, output=tmp_path / "new.safetensors")
    assert caught.value.found == f"a difference in `{key}`"
    assert not (tmp_path / "new.safetensors").exists()
    assert facts_of(run, "clf") == before


def test_scores_that_do_not_say_what_made_them_are_refused(scored, rate, tmp_path):
    run, path, labels = scored
    facts = facts_of(run, "clf")
    del facts["arrays_sha256"]
    run.write_score_facts("clf", facts)
    with pytest.raises(UsageError, match="do not say exactly"):
        set_threshold(run, None, rate(labels), recall=0.8, classifier_path=path, output=tmp_path / "new.safetensors")


def test_a_file_that_cannot_be_written_leaves_the_scores_as_they_were(scored, rate, tmp_path):
    run, path, labels = scored
    before = facts_of(run, "clf")
    with pytest.raises(ClassifierFileError, match="cannot write"):
        set_threshold(run, None, rate(labels), recall=0.8, classifier_path=path, output=tmp_path / "no/new.safetensors")
    assert facts_of(run, "clf") == before


@pytest.mark.parametrize(
    ("files", "options"),
    [
        ({"classifier_path": "a.safetensors"}, {}),
        ({"output": "a.safetensors"}, {}),
        ({"classifier_path": "a.safetensors", "output": "b.pt"}, {}),
        ({"classifier_path": "a.safetensors", "output": "b.safetensors"}, {"dry_run": True}),
    ],
)
def test_files_that_make_no_sense_together_are_refused(run, rate, files, options):
    with pytest.raises(UsageError):
        set_threshold(run, None, rate(), recall=0.9, **files, **options)
