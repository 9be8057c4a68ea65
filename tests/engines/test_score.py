"""From stored embeddings to stored probabilities, without the images."""

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from clipsieve.classifiers import Classifier, Platt, build_zero_shot, builtin_prompt_set
from clipsieve.engines import LocalEngine, ScanOptions, ScoreCalibration, scan, score
from clipsieve.engines.score import _logits
from clipsieve.errors import EncoderMismatchError, RunCorruptError, RunNotFoundError, UsageError
from clipsieve.sources import FolderSource
from clipsieve.store import Run, to_float32
from tiny_encoder import TinyEncoder


def classifier(encoder: TinyEncoder) -> Classifier:
    return build_zero_shot(
        builtin_prompt_set("positive-negative"), encoder.encode_texts, identity=encoder.identity, logit_scale=100.0
    )


def fill(root: Path) -> None:
    root.mkdir()
    for index in range(9):
        noise = np.random.default_rng(index).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / f"{index}.png")
    for index in (2, 3, 4, 5):  # the second part holds failures alone
        (root / f"{index}.png").write_bytes(b"words")


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """Return a folder with images and a run of them, scanned once for all tests."""
    folder = tmp_path_factory.mktemp("score")
    fill(folder / "photos")
    scanned(folder)
    return folder


@pytest.fixture
def run(original, tmp_path) -> Run:
    shutil.copytree(original / "photos", tmp_path / "photos")
    shutil.copytree(original / "run", tmp_path / "run")
    return Run.open(tmp_path / "run")


def scanned(tmp_path: Path) -> Run:
    source = FolderSource(tmp_path / "photos")
    scan(source, tmp_path / "run", TinyEncoder(), options=ScanOptions(part_size=3), engine=LocalEngine(workers=1))
    return Run.open(tmp_path / "run")


def scores(run: Run) -> list[tuple[str, float | None]]:
    tables = [table for _, table in run.iter_scores("words")]
    return [(row["image_id"], row["probability"]) for table in tables for row in table.to_pylist()]


def test_a_score_for_each_row_and_null_where_there_is_no_embedding(run):
    report = score(run, classifier(TinyEncoder()), name="words")
    found = scores(run)
    assert [name for name, _ in found] == [f"{i}.png" for i in range(9)]
    assert [name for name, value in found if value is None] == ["2.png", "3.png", "4.png", "5.png"]
    assert (report.n_scored, run.score_names()) == (5, ["words"])
    assert report.n_flagged == sum(value is not None and value >= report.threshold for _, value in found)


def test_scores_are_those_of_the_classifier(run):
    made = classifier(TinyEncoder())
    score(run, made, name="words")
    stored = np.concatenate([to_float32(t.column("embedding")) for t in run.iter_images(["embedding"])])
    expected = made.predict_proba(stored)[:, 1]
    found = [value for _, value in scores(run) if value is not None]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_scored_is_written_down_beside_the_scores(run):
    made = replace(classifier(TinyEncoder()), calibration=Platt(0.5, 0.1), threshold=0.4, remove_threshold=0.6)
    report = score(run, made, name="words")
    facts = run.score_facts("words")
    values = [np.float32(value) for _, value in scores(run) if value is not None]
    assert report.n_flagged == facts["n_flagged"] == sum(value >= np.float32(0.4) for value in values)
    assert report.n_remove == facts["n_remove"] == sum(value >= np.float32(0.6) for value in values)
    assert (report.remove_threshold, facts["remove_threshold"]) == (0.6, 0.6)
    assert report.calibration == ScoreCalibration("platt", None)
    assert facts["calibration"] == {"method": "platt", "slope": 0.5, "intercept": 0.1}
    assert run.history()[-1]["calibration"] == {"method": "platt", "n_images": None}


def test_the_hash_of_the_arrays_is_as_specified_and_tells_classifiers_apart(run):
    made = classifier(TinyEncoder())
    score(run, made, name="words")
    line = f"class_embeddings <f4 {made.class_embeddings.shape}\n".encode()
    expected = hashlib.sha256(line + made.class_embeddings.tobytes()).hexdigest()
    assert run.score_facts("words")["arrays_sha256"] == expected
    score(run, replace(made, class_embeddings=made.class_embeddings[::-1].copy(), threshold=0.1), name="other")
    assert run.score_facts("other")["arrays_sha256"] != expected


def test_without_a_second_threshold_nothing_is_removed(run):
    report = score(run, classifier(TinyEncoder()), name="words")
    assert (report.n_remove, report.remove_threshold, report.calibration) == (0, None, None)


def test_no_image_is_opened(run, tmp_path):
    shutil.rmtree(tmp_path / "photos")
    assert score(run, classifier(TinyEncoder()), name="words").n_scored == 5


def test_scoring_twice_gives_the_same_bytes(run):
    def parts() -> list[bytes]:
        score(run, classifier(TinyEncoder()), name="words")
        return [path.read_bytes() for path in sorted(run.path.glob("scores/words/*.parquet"))]

    assert parts() == parts()


def test_the_bytes_do_not_depend_on_the_number_of_cores(run, monkeypatch):
    found = []
    for cores in ({0}, {0, 1}, set(range(7))):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _process, cores=cores: cores)
        score(run, classifier(TinyEncoder()), name="words")
        found.append([path.read_bytes() for path in sorted(run.path.glob("scores/words/*.parquet"))])
    assert found[0] == found[1] == found[2]


def test_scores_in_blocks_are_those_of_the_whole_part(tmp_path):
    """5,000 rows are four blocks, 2,048 exactly two."""
    made = classifier(TinyEncoder(dim=64))
    rows = np.random.default_rng(0).standard_normal((7048, 64)).astype(np.float32)
    for stored in (rows[:5000], rows[5000:]):
        half = (stored / np.linalg.norm(stored, axis=1, keepdims=True)).astype(np.float16)
        column = pa.FixedSizeListArray.from_arrays(pa.array(half.reshape(-1)), 64)
        expected = made.logits(to_float32(pa.chunked_array([column])))
        np.testing.assert_allclose(_logits(made, half), expected, rtol=0, atol=1e-4)


def test_another_encoder_is_refused_and_nothing_written(run):
    with pytest.raises(EncoderMismatchError):
        score(run, classifier(TinyEncoder(seed=1)), name="words")
    assert not (run.path / "scores").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../out", "a/b", ".hidden", "x" * 101, "a\n"])
def test_a_name_that_leads_elsewhere_is_refused(run, name):
    with pytest.raises(UsageError, match="cannot be the name"):
        score(run, classifier(TinyEncoder()), name=name)


def test_scores_older_than_the_scan_are_told(tmp_path):
    fill(tmp_path / "photos")
    run = scanned(tmp_path)
    score(run, classifier(TinyEncoder()), name="words")
    Image.new("RGB", (5, 5), "green").save(tmp_path / "photos" / "0.png")
    again = scanned(tmp_path)
    with pytest.raises(RunCorruptError, match="older than the scan"):
        scores(again)


def test_scores_that_broke_off_do_not_exist(run):
    score(run, classifier(TinyEncoder()), name="words")

    def interrupt(_n_done: int, _n_total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(run, classifier(TinyEncoder()), name="words", on_progress=interrupt)
    assert run.score_names() == []
    with pytest.raises(RunNotFoundError, match="no scores named"):
        scores(run)


def test_an_unfinished_scan_cannot_be_scored(run):
    run.image_part(1).unlink()
    with pytest.raises(RunCorruptError, match="part-00001"):
        score(run, classifier(TinyEncoder()), name="words")
    assert run.score_names() == []
