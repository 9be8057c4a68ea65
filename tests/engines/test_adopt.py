"""Embeddings of others: read in place, joined by file and row, scored as if they had been scanned here."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from embedding_reader import EmbeddingReader

from clipsieve import open_source, write_demo_data
from clipsieve.classifiers import SoftPrompts
from clipsieve.encoders import load_encoder
from clipsieve.engines import MaxFailures, adopt_embeddings, load_classifier_for, scan, score
from clipsieve.errors import (
    EncoderMismatchError,
    RunConflictError,
    RunCorruptError,
    SourceError,
    TooManyFailuresError,
    UsageError,
)
from clipsieve.outputs import summarize
from clipsieve.store import Run

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

OPENAI = "ViT-B-32__openai"
LARGE = (92, 133, 312)


def unit(n: int, d: int = 512, seed: int = 0, large=LARGE) -> np.ndarray:
    """Return random unit vectors; some of their dimensions are large, as in OpenAI's weights."""
    rows = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    rows[:, list(large)] += 8
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write(folder: Path, arrays, *, metadata=True, digits=1, dtype=np.float16) -> Path:
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for number, rows in enumerate(arrays):
        np.save(folder / "img_emb" / f"img_emb_{number:0{digits}d}.npy", rows.astype(dtype))
        if metadata:
            columns = {
                "image_path": [f"{number}/{row}.jpg" for row in range(len(rows))],
                "caption": [f"caption {number} {row}" for row in range(len(rows))],
                "url": [f"https://example.org/{number}/{row}.jpg" for row in range(len(rows))],
            }
            pq.write_table(pa.table(columns), folder / "metadata" / f"metadata_{number:0{digits}d}.parquet")
    return folder


def head(d: int = 512, name: str = OPENAI) -> SoftPrompts:
    return SoftPrompts(unit(2, d, seed=9, large=()), ("wanted", "unwanted"), (False, True), name)


def rows_of(run: Path) -> list[dict[str, object]]:
    return [row for part in Run.open(run).iter_images() for row in part.to_pylist()]


@pytest.mark.parametrize("digits", [1, 4])
def test_rows_are_those_that_the_librarys_reader_gives(tmp_path, digits):
    arrays = [unit(5 + number, seed=number) for number in range(11)]  # 10 comes after 9, and not after 1
    write(tmp_path / "laion", arrays, digits=digits)
    report = adopt_embeddings(tmp_path / "laion", tmp_path / "run", model=OPENAI, part_size=4)
    reader = EmbeddingReader(
        embeddings_folder=str(tmp_path / "laion" / "img_emb"),
        metadata_folder=str(tmp_path / "laion" / "metadata"),
        meta_columns=["url", "caption"],
        file_format="parquet_npy",
    )
    theirs = [
        (row, meta)
        for rows, metas in reader(batch_size=7, show_progress=False)
        for row, meta in zip(rows, metas.itertuples(), strict=True)
    ]
    by_url = {meta.url: (row, meta.caption) for row, meta in theirs}
    ours = rows_of(tmp_path / "run")
    assert report.n_listed == len(ours) == len(by_url) == sum(map(len, arrays))
    for row in ours:
        embedding, caption = by_url[row["uri"]]
        np.testing.assert_array_equal(np.array(row["embedding"], np.float16), embedding)
        assert row["caption"] == caption
    assert [row["uri"].split("/")[3] for row in ours] == [str(n) for n, rows in enumerate(arrays) for _ in rows]
    assert len({row["image_id"] for row in ours}) == len(ours)
    assert report.warnings == ()


def test_scores_are_those_of_the_same_embeddings_scanned_here(tmp_path):
    write_demo_data(tmp_path / "photos", n_images=40)
    with load_encoder("pictogram") as encoder:
        scan(open_source(tmp_path / "photos"), tmp_path / "own", encoder)
    own = [row for row in rows_of(tmp_path / "own") if row["embedding"] is not None]
    write(tmp_path / "laion", [np.array([row["embedding"] for row in own], np.float16)], metadata=False)
    report = adopt_embeddings(tmp_path / "laion", tmp_path / "run", model="pictogram")
    assert (report.n_scanned, report.warnings) == (len(own), ())
    probabilities = []
    for name in ("own", "run"):
        run = Run.open(tmp_path / name)
        score(run, load_classifier_for(run, "positive-negative").classifier, name="words")
        parts = [part for _, part in run.iter_scores("words")]
        probabilities.append([p for part in parts for p in part.column("probability").to_pylist() if p is not None])
    assert probabilities[0] == probabilities[1]
    assert summarize(Run.open(tmp_path / "run")).n_flagged == sum(p >= 0.5 for p in probabilities[1])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("length", [1, 0.01, 30])
def test_a_classifier_sees_unit_norm_whatever_lies_there(tmp_path, dtype, length):
    rows = (unit(30) * length).astype(dtype)
    write(tmp_path / "laion", [rows[:20], rows[20:]], dtype=dtype)
    adopt_embeddings(tmp_path / "laion", tmp_path / "run", model=OPENAI, part_size=7)
    score(Run.open(tmp_path / "run"), head(), name="head")
    parts = [part for _, part in Run.open(tmp_path / "run").iter_scores("head")]
    exact = rows.astype(np.float32)
    wanted = head().predict_proba(exact / np.linalg.norm(exact, axis=1, keepdims=True))[:, 1]
    found = np.concatenate([part.column("probability").to_numpy() for part in parts])
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_rows_without_a_direction_are_failures(tmp_path):
    rows = unit(10)
    rows[2], rows[5, 3], rows[7, 0] = 0, np.nan, np.inf
    write(tmp_path / "laion", [rows])
    report = adopt_embeddings(tmp_path / "laion", tmp_path / "run", model=OPENAI, part_size=4)
    assert (report.n_listed, report.n_scanned, report.n_failed) == (10, 7, 3)
    codes = [row["failure_code"] for row in rows_of(tmp_path / "run")]
    assert [i for i, code in enumerate(codes) if code == "not_finite"] == [2, 5, 7]
    assert score(Run.open(tmp_path / "run"), head(), name="head").n_scored == 7


def test_ids_by_name(tmp_path):
    write(tmp_path / "laion", [unit(3), unit(3)])
    adopt_embeddings(tmp_path / "laion", tmp_path / "run", model=OPENAI, columns={"id": "image_path"})
    assert [row["image_id"] for row in rows_of(tmp_path / "run")][:4] == ["0/0.jpg", "0/1.jpg", "0/2.jpg", "1/0.jpg"]
    with pytest.raises(UsageError, match="no column `nope` for the image_id"):
        adopt_embeddings(tmp_path / "laion", tmp_path / "other", model=OPENAI, columns={"id": "nope"})
    pq.write_table(pa.table({"k": ["a", "b", "a"]}), tmp_path / "laion/metadata/metadata_1.parquet")
    pq.write_table(pa.table({"k": ["x", "y", "z"]}), tmp_path / "laion/metadata/metadata_0.parquet")
    with pytest.raises(UsageError, match="does not tell the rows"):
        adopt_embeddings(tmp_path / "laion", tmp_path / "other", model=OPENAI, columns={"id": "k"})
    assert not (tmp_path / "other").exists()


def test_metadata_of_another_length_is_refused(tmp_path):
    write(tmp_path / "laion", [unit(3), unit(4)])
    pq.write_table(pa.table({"url": ["a", "b"]}), tmp_path / "laion/metadata/metadata_1.parquet")
    with pytest.raises(SourceError, match="does not belong to") as caught:
        adopt_embeddings(tmp_path / "laion", tmp_path / "run", model=OPENAI)
    assert (caught.value.expected, caught.value.found) == ("4 rows, one for each embedding", "2")
    (tmp_path / "laion/metadata/metadata_1.parquet").unlink()
    with pytest.raises(SourceError, match="have no metadata"):
        adopt_embeddings(tmp_path / "laion", tmp_path / "run", model=OPENAI)
    assert not (tmp_path / "run").exists()


def test_what_does_not_belong_together_is_refused(tmp_path):
    write(tmp_path / "laion", [unit(3), unit(4), unit(5)])
    (tmp_path / "laion/img_emb/img_emb_1.npy").unlink()
    with pytest.raises(SourceError, match=r"1 files of metadata .* have no array"):
        adopt_embeddings(tmp_path / "laion", tmp_path / "run", model=OPENAI)
    (tmp_path / "stray").mkdir()
    np.save(tmp_path / "stray" / "train.npy", unit(2))
    pq.write_table(pa.table({"caption": ["of val", "of val"]}), tmp_path / "stray" / "val.parquet")
    adopt_embeddings(tmp_path / "stray" / "train.npy", tmp_path / "run", model=OPENAI)
    assert [row["caption"] for row in rows_of(tmp_path / "run")] == [None, None]
    np.save(tmp_path / "stray" / "train.npy", unit(0))
    with pytest.raises(SourceError, match="no rows"):
        adopt_embeddings(tmp_path / "stray" / "train.npy", tmp_path / "other", model=OPENAI)


def test_too_many_rows_without_a_direction_are_refused(tmp_path):
    rows = unit(10)
    rows[:3] = 0
    write(tmp_path / "laion", [rows])
    allowed = MaxFailures.parse("20%")
    with pytest.raises(TooManyFailuresError, match="3 of 10"):
        adopt_embeddings(tmp_path / "laion", tmp_path / "run", model=OPENAI, max_failures=allowed)


def test_a_name_that_nobody_knows_is_taken_on_trust_and_that_is_said(tmp_path):
    write(tmp_path / "laion", [unit(20, large=())])
    report = adopt_embeddings(tmp_path / "laion", tmp_path / "run", model="immich-app/ViT-B-32_openai")
    assert report.warnings == ("nothing is known of `immich-app/ViT-B-32_openai`: the name is taken on trust",)


def test_another_width_than_the_models_is_refused(tmp_path):
    write(tmp_path / "laion", [unit(3, 768, large=())])
    with pytest.raises(EncoderMismatchError, match="were not made by") as caught:
        adopt_embeddings(tmp_path / "laion", tmp_path / "run", model=OPENAI)
    assert (caught.value.expected, caught.value.found) == ("512 wide", "768 wide")


def test_a_classifier_of_other_weights_is_refused_by_name(tmp_path):
    write(tmp_path / "laion", [unit(20, large=())])
    adopt_embeddings(tmp_path / "laion", tmp_path / "run", model="somebody/other-model")
    with pytest.raises(EncoderMismatchError):
        score(Run.open(tmp_path / "run"), head(), name="head")
    report = score(Run.open(tmp_path / "run"), head(name="somebody/other-model"), name="head")
    assert report.warnings == ()


def test_what_the_numbers_say_against_a_name_is_a_warning(tmp_path):
    write(tmp_path / "plain", [unit(50, large=())])
    write(tmp_path / "openai", [unit(50)])
    report = adopt_embeddings(tmp_path / "plain", tmp_path / "a", model="openai/clip-vit-base-patch32")
    assert "are not those of ViT-B-32__openai" in report.warnings[0]
    assert "92, 133, 312" in report.warnings[0]
    assert "not those of" in score(Run.open(tmp_path / "a"), head(), name="head").warnings[0]
    report = adopt_embeddings(tmp_path / "openai", tmp_path / "b", model="laion/CLIP-ViT-B-32-laion2B")
    assert "look like those of ViT-B-32__openai" in report.warnings[0]


def test_files_that_changed_since_are_not_scored(tmp_path):
    write(tmp_path / "laion", [unit(10)])
    adopt_embeddings(tmp_path / "laion", tmp_path / "run", model=OPENAI)
    score(Run.open(tmp_path / "run"), head(), name="head")
    np.save(tmp_path / "laion/img_emb/img_emb_0.npy", unit(10, seed=5).astype(np.float16))
    with pytest.raises(RunCorruptError, match="not what was scanned"):
        score(Run.open(tmp_path / "run"), head(), name="head")
    adopt_embeddings(tmp_path / "laion", tmp_path / "run", model=OPENAI)
    assert Run.open(tmp_path / "run").score_names() == []
    score(Run.open(tmp_path / "run"), head(), name="head")
    (tmp_path / "laion/img_emb/img_emb_0.npy").unlink()
    with pytest.raises(RunCorruptError, match="not what was scanned"):
        list(Run.open(tmp_path / "run").iter_images())


def test_the_same_command_again_keeps_the_scores(tmp_path):
    write(tmp_path / "laion", [unit(10)])
    for _ in range(2):
        adopt_embeddings(tmp_path / "laion", tmp_path / "run", model=OPENAI)
        names = Run.open(tmp_path / "run").score_names()
        score(Run.open(tmp_path / "run"), head(), name="head")
    assert names == ["head"]
    with pytest.raises(RunConflictError, match="encoder"):
        adopt_embeddings(tmp_path / "laion", tmp_path / "run", model="somebody/else")


def test_nothing_is_copied_and_nothing_touched(tmp_path):
    write(tmp_path / "laion", [unit(2000)])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "laion").rglob("*")}
    adopt_embeddings(tmp_path / "laion", tmp_path / "run", model=OPENAI)
    assert sum(path.stat().st_size for path in (tmp_path / "run").rglob("*") if path.is_file()) < 10_000
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "laion").rglob("*")} == before


@pytest.mark.slow
def test_the_commands(tmp_path):
    write(tmp_path / "laion", [unit(20, large=())])

    def run(*words):
        command = [sys.executable, "-m", "clipsieve", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    assert run("scan", "laion", "-o", "run").returncode == 2
    for option in (["--hash-list", "list.txt"], ["--workers", "2"], ["--max-pixels", "5"]):
        done = run("scan", "laion", "-o", "run", "--model", OPENAI, *option)
        assert (done.returncode, f"take no `{option[0]}`" in done.stderr) == (2, True)
    assert not (tmp_path / "run").exists()
    done = run("scan", "laion", "-o", "run", "--model", OPENAI, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["n_scanned"] == 20
    assert "warning: these embeddings are not those of" in done.stderr
    assert "Traceback" not in done.stderr


MEMORY = """
import sys, clipsieve
from clipsieve.engines import load_classifier_for
run = clipsieve.Run.open(sys.argv[1])
report = clipsieve.score(run, load_classifier_for(run, sys.argv[2]).classifier, name="head")
print(report.n_scored, next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.slow
def test_more_than_the_memory_can_be_scored(tmp_path):
    from clipsieve.classifiers import save_classifier

    (tmp_path / "laion").mkdir()
    shape = (600_000, 512)
    rows = np.lib.format.open_memmap(tmp_path / "laion/img_emb_0.npy", "w+", np.float16, shape)
    for start in range(0, shape[0], 50_000):
        rows[start : start + 50_000] = unit(50_000, seed=start)
    rows.flush()
    del rows
    adopt_embeddings(tmp_path / "laion", tmp_path / "run", model=OPENAI)
    save_classifier(head(), tmp_path / "head.safetensors")
    words = [sys.executable, "-c", MEMORY, str(tmp_path / "run"), str(tmp_path / "head.safetensors")]
    n, peak_kib = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert int(n) == shape[0]
    assert int(peak_kib) / 1024 < 450  # the array has 586 MiB
