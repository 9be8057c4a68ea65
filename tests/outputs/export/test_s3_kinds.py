"""Whole exports of every kind to places behind a real S3 server: data, marker and manifest."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from datasets import load_from_disk

from clipsieve.engines import LocalEngine, Policy, ScanOptions, adopt_embeddings, scan
from clipsieve.outputs import ExportOptions, ExportReport, export_run
from clipsieve.sources import open_source
from clipsieve.store import Run
from clipsieve.types import EXPORT_MANIFEST, EXPORT_MARKER
from image_files import png
from s3_server import BUCKET, S3Server
from scored_runs import write_scores
from source_kinds import N_IMAGES, parquet_of_structs, saved, webdataset
from tiny_encoder import TinyEncoder

pytestmark = pytest.mark.slow
REMOVED = {1, 4}


def scored(source: Path, path: Path) -> Run:
    """Scan a source; images drawn from a number of `REMOVED` are flagged."""
    options = ScanOptions(part_size=2)
    scan(open_source(source), path, TinyEncoder(), options=options, engine=LocalEngine(workers=1))
    return with_scores(Run.open(path), {png(number) for number in REMOVED})


def with_scores(run: Run, flagged: set[bytes] | set[str]) -> Run:
    known = {each if isinstance(each, str) else hashlib.sha256(each).hexdigest() for each in flagged}
    for index, images in enumerate(run.iter_images()):
        column = "sha256" if run.external is None else "image_id"
        write_scores(run, index, images, [0.9 if each in known else 0.1 for each in images.column(column).to_pylist()])
    run.write_score_facts("test", {"threshold": 0.5, "class_names": ["good", "bad"], "unwanted": [False, True]})
    return run


def exported(server: S3Server, run: Run, name: str, **changes) -> tuple[dict[str, bytes], ExportReport]:
    """Export twice, the second time with all that is there; return what lies there as another client sees it."""
    where = f"s3://{BUCKET}/{name}"
    options = ExportOptions(Policy.FLAGGED, **changes)
    first = export_run(run, where, options)
    found = objects(server, name)
    assert (first.n_problems, first.problems) == (0, ())
    again = export_run(run, where, options)
    assert (again.n_files, again.places) == (first.n_files, first.places)
    assert objects(server, name).keys() == found.keys()
    assert len(json.loads(found.pop(EXPORT_MARKER))["fingerprint"]) == 64
    manifest = pq.read_table(io.BytesIO(found.pop(EXPORT_MANIFEST)))
    assert manifest.num_rows == run.manifest.n_images
    assert json.loads(manifest.schema.metadata[b"clipsieve.export"])["policy"] == "flagged"
    rows = manifest.to_pylist()
    assert [row["decision"] for row in rows].count("remove") == first.places["remove"].n_images == 2
    if changes.get("form") is None:
        assert {unquote(row["file"]) for row in rows if row["decision"] == "keep"} <= found.keys()
    return found, first


def objects(server: S3Server, prefix: str) -> dict[str, bytes]:
    client = server.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
    keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
    return {key.removeprefix(f"{prefix}/"): client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def images_of(tars: dict[str, bytes]) -> set[bytes]:
    found = set()
    for content in tars.values():
        with tarfile.open(fileobj=io.BytesIO(content)) as opened:
            found |= {opened.extractfile(member).read() for member in opened if member.name.endswith(".png")}
    return found


KEPT = {png(number) for number in range(N_IMAGES) if number not in REMOVED}


def test_tars(server, tmp_path):
    source = webdataset(tmp_path / "source")
    found, _ = exported(server, scored(source, tmp_path / "run"), "tars")
    assert found.keys() == {path.name for path in source.iterdir()}
    assert images_of(found) == KEPT


def test_tars_of_which_the_removed_have_a_place_on_another_prefix(server, tmp_path):
    run = scored(webdataset(tmp_path / "source"), tmp_path / "run")
    exported(server, run, "tars-kept", remove_to=f"s3://{BUCKET}/tars-removed")
    removed = objects(server, "tars-removed")
    assert EXPORT_MARKER in removed
    tars = {name: content for name, content in removed.items() if name.endswith(".tar")}
    assert images_of(tars) == {png(number) for number in REMOVED}


def test_a_parquet_table(server, tmp_path):
    found, _ = exported(server, scored(parquet_of_structs(tmp_path / "source"), tmp_path / "run"), "table")
    rows = [row for content in found.values() for row in pq.read_table(io.BytesIO(content)).to_pylist()]
    assert len(rows) == len(KEPT)
    assert all(name.startswith("data/") for name in found)
    assert not any(png(number) in content for number in REMOVED for content in found.values())


def test_a_hugging_face_data_set(server, tmp_path):
    found, _ = exported(server, scored(saved(tmp_path / "source"), tmp_path / "run"), "hf")
    for name, content in found.items():
        path = tmp_path / "fetched" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    opened = load_from_disk(tmp_path / "fetched")
    splits = opened.values() if isinstance(opened, dict) else [opened]
    cells = [cell for split in splits for cell in split.with_format("arrow")[:]["image"].to_pylist()]
    assert {cell["bytes"] if isinstance(cell, dict) else cell for cell in cells} == KEPT


def test_embeddings(server, tmp_path):
    rows = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float16)
    (tmp_path / "laion" / "img_emb").mkdir(parents=True)
    (tmp_path / "laion" / "metadata").mkdir()
    np.save(tmp_path / "laion" / "img_emb" / "img_emb_0.npy", rows)
    pl.DataFrame({"key": list("abcdef")}).write_parquet(tmp_path / "laion" / "metadata" / "metadata_0.parquet")
    adopt_embeddings(tmp_path / "laion", tmp_path / "run", model="somebody/a-model-of-theirs", columns={"id": "key"})
    found, _ = exported(server, with_scores(Run.open(tmp_path / "run"), {"b", "e"}), "embeddings")
    assert found.keys() == {"img_emb/img_emb_0.npy", "metadata/metadata_0.parquet"}
    np.testing.assert_array_equal(np.load(io.BytesIO(found["img_emb/img_emb_0.npy"])), rows[[0, 2, 3, 5]])
    assert pl.read_parquet(found["metadata/metadata_0.parquet"])["key"].to_list() == ["a", "c", "d", "f"]


def test_a_list(server, tmp_path):
    run = scored(parquet_of_structs(tmp_path / "source"), tmp_path / "run")
    found, _ = exported(server, run, "list", form="csv")
    assert list(found) == ["images.csv"]
    table = pl.read_csv(found["images.csv"])
    assert len(table) == len(KEPT)
    assert set(table["decision"]) == {"keep"}


def test_a_server_that_fails_now_and_then_loses_nothing(server, tmp_path):
    run = scored(webdataset(tmp_path / "source"), tmp_path / "run")
    whole, _ = exported(server, run, "steady")
    before = server.counts()["n_failed"]
    server.fail(every=7, status=503)
    shaky, _ = exported(server, run, "shaky")
    assert server.counts()["n_failed"] > before
    assert shaky == whole
