"""What a run is summed up to: counts, and classes in an order that luck does not decide."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest

from clipsieve.engines import ScoreCalibration
from clipsieve.errors import RunCorruptError, RunNotFoundError, UsageError
from clipsieve.outputs import summarize
from clipsieve.outputs.summary import wilson_lower_bound
from clipsieve.store import Run, RunManifest, image_table, score_table
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

IDENTITY = EncoderIdentity("tiny", "a" * 64, Preprocessing(8, "squash", "bicubic", (0,) * 3, (1,) * 3), "fp32", 2)
EMBEDDING = np.array([1, 0], dtype=np.float32)


def row(number, label, failure=None):
    ref = ImageRef(f"{number}.png", f"file:///{number}.png", label, None, b"")
    if failure:
        return FailedImage(ref, None, Failure(FailureStep.DECODE, failure, "broken"))
    return EmbeddedImage(ref, FileFacts("0" * 64, 1, 1, 1, "PNG"), EMBEDDING)


@pytest.fixture
def make_run(tmp_path):
    """Return a function that writes a run of one part; each image is a label with a probability or a failure."""

    def make(images):
        manifest = RunManifest("folder", "/photos", 100, len(images), 1, 4, IDENTITY, "tiny", {}, "0")
        run = Run.create(tmp_path / "run", manifest)
        failures = [p if isinstance(p, FailureCode) else None for _, p in images]
        rows = [row(i, label, failure) for i, ((label, _), failure) in enumerate(zip(images, failures, strict=True))]
        table = image_table(rows, 2, inputs="i", encoder=IDENTITY.fingerprint, options=manifest.options_fingerprint)
        run.write_part(run.image_part(0), table)
        present = np.array([failure is None for failure in failures])
        values = np.array([p for _, p in images if not isinstance(p, FailureCode)], dtype=np.float32)
        logits = np.zeros((len(values), 2), dtype=np.float32)
        ids = pa.array([r.ref.image_id for r in rows])
        run.write_part(run.score_part("words", 0), score_table(ids, present, values, logits, inputs="i"))
        run.write_score_facts("words", {"threshold": 0.5})
        return run

    return make


def test_counts_add_up(make_run):
    codes = [FailureCode.TRUNCATED, FailureCode.EMPTY_FILE, FailureCode.TRUNCATED]
    summary = summarize(make_run([("a", 0.9), ("a", 0.1), ("b", 0.5), *(("b", code) for code in codes)]))
    assert (summary.n_listed, summary.n_scanned, summary.n_failed, summary.n_ignored) == (6, 3, 3, 4)
    assert summary.failures == (("truncated", 2), ("empty_file", 1))
    assert (summary.classifier, summary.threshold, summary.n_flagged) == ("words", 0.5, 2)
    assert [(c.label, c.n_flagged, c.n_scored) for c in summary.classes] == [("b", 1, 1), ("a", 1, 2)]


def test_a_large_class_is_not_topped_by_a_small_one_by_luck(make_run):
    images = [("large", 0.9)] * 90 + [("large", 0.1)] * 10 + [("small", 0.9)] * 3 + [("clean", 0.1)] * 50
    summary = summarize(make_run(images))
    assert [c.label for c in summary.classes] == ["large", "small"]
    assert [c.flagged_share for c in summary.classes] == [0.9, 1.0]


def test_images_without_a_label_count_and_make_no_class(make_run):
    summary = summarize(make_run([(None, 0.9), (None, 0.2)]))
    assert summary.n_flagged == 1
    assert summary.classes == ()


def test_images_to_be_removed_are_counted_among_the_flagged(make_run):
    run = make_run([("a", 0.95), ("a", 0.9), ("b", 0.6), ("b", 0.1), ("b", FailureCode.TRUNCATED)])
    assert (summarize(run).remove_threshold, summarize(run).n_remove) == (None, 0)
    run.write_score_facts("words", {"threshold": 0.5, "remove_threshold": 0.8})
    summary = summarize(run)
    assert (summary.remove_threshold, summary.n_flagged, summary.n_remove) == (0.8, 3, 2)


@pytest.mark.parametrize("threshold", [0.9, 0.3, 0.1])
def test_a_probability_that_is_the_threshold_is_flagged_as_scoring_does(make_run, threshold):
    """None of these is a float32 number; the probability beside it is stored as one."""
    run = make_run([("a", threshold), ("a", 0.05)])
    run.write_score_facts("words", {"threshold": threshold, "remove_threshold": threshold})
    summary = summarize(run)
    assert (summary.n_flagged, summary.n_remove, summary.classes[0].n_flagged) == (1, 1, 1)


def test_calibration_is_told_where_it_is_known(make_run):
    run = make_run([("a", 0.9)])
    assert summarize(run).calibration is None
    platt = {"method": "platt", "slope": 1.0, "intercept": 0.0}
    run.write_score_facts("words", {"threshold": 0.5, "calibration": platt})
    assert summarize(run).calibration == ScoreCalibration("platt", None)
    provenance = {"calibration": {"method": "platt", "n_images": 82}}
    run.write_score_facts("words", {"threshold": 0.5, "calibration": platt, "provenance": provenance})
    assert summarize(run).calibration == ScoreCalibration("platt", 82)


def test_without_scores_there_is_nothing_flagged(make_run):
    run = make_run([("a", 0.9)])
    run.drop_score_facts("words")
    summary = summarize(run)
    assert (summary.classifier, summary.threshold, summary.n_flagged, summary.classes) == (None, None, None, ())
    assert (summary.remove_threshold, summary.n_remove, summary.calibration, summary.promises) == (None, None, None, ())


def test_of_several_scores_one_must_be_named(make_run):
    run = make_run([("a", 0.9)])
    run.write_score_facts("other", {"threshold": 0.5})
    with pytest.raises(UsageError, match="several scores"):
        summarize(run)
    assert summarize(run, "words").n_flagged == 1
    with pytest.raises(RunNotFoundError, match="no scores named `third`"):
        summarize(run, "third")


def test_a_missing_part_is_no_empty_part(make_run):
    run = make_run([("a", 0.9)])
    run.score_part("words", 0).unlink()
    with pytest.raises(RunCorruptError, match="is missing"):
        summarize(run)


@pytest.mark.parametrize("damage", ["", "{", "{}", '{"threshold": "high"}', '{"threshold": null}', "[]", "5"])
def test_damaged_facts_of_scores_are_named(make_run, damage):
    run = make_run([("a", 0.9)])
    (run.path / "scores/words/classifier.json").write_text(damage)
    with pytest.raises(RunCorruptError, match=r"classifier\.json` is damaged"):
        summarize(run)


@pytest.mark.parametrize(("n_hits", "n"), [(0, 1), (1, 1), (0, 100), (3, 3), (7, 20), (90, 100), (5000, 100_000)])
def test_the_bound_is_wilsons(n_hits, n):
    expected = binomtest(n_hits, n).proportion_ci(confidence_level=0.95, method="wilson").low
    assert wilson_lower_bound(n_hits, n) == pytest.approx(expected, abs=1e-4)
