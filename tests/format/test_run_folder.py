"""The run folder is what `docs/format.md` says it is, to this package and to others."""

import json
import re
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipsieve.classifiers import build_zero_shot, builtin_prompt_set
from clipsieve.engines import LocalEngine, ScanOptions, scan, score
from clipsieve.sources import FolderSource
from clipsieve.store import Run
from clipsieve.types import FailureCode
from tiny_encoder import TinyEncoder

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
DIM = 6


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("format")
    for index in range(5):
        path = root / "photos" / f"class{index % 2}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 7), (50 * index, 9, 9)).save(path)
    (root / "photos" / "empty.png").touch()
    encoder = TinyEncoder(dim=DIM)
    source, engine = FolderSource(root / "photos"), LocalEngine(workers=1)
    scan(source, root / "run", encoder, options=ScanOptions(part_size=4), engine=engine)
    made = build_zero_shot(
        builtin_prompt_set("positive-negative"), encoder.encode_texts, identity=encoder.identity, logit_scale=100.0
    )
    score(Run.open(root / "run"), made, name="words")
    return root / "run"


def documented(heading: str) -> list[str]:
    """Return the first cells of the table below a heading of the page."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return [
        name
        for line in section.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([^`]+)`", line.split("|")[1])
    ]


def test_the_files_are_those_of_the_page(run):
    found = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    parts = {f"{folder}/part-0000{i}.parquet" for folder in ("images", "scores/words") for i in (0, 1)}
    assert found == parts | {"run.json", "history.jsonl", "scores/words/classifier.json"}


def test_the_keys_of_run_json_are_those_of_the_page(run):
    facts = json.loads((run / "run.json").read_text())
    nested = [f"{key}.{inner}" for key, value in facts.items() if isinstance(value, dict) for inner in value]
    assert sorted(documented("run.json")) == sorted(nested + [k for k, v in facts.items() if not isinstance(v, dict)])


def test_the_columns_are_those_of_the_page(run):
    schema = pq.read_schema(run / "images" / "part-00000.parquet")
    assert schema.names == documented("images/part-*.parquet")
    assert schema.field("embedding").type == pa.list_(pa.float16(), DIM)
    assert {name: schema.metadata[name] for name in schema.metadata if name.startswith(b"clipsieve.")}.keys() == {
        b"clipsieve.format",
        b"clipsieve.inputs",
        b"clipsieve.encoder",
        b"clipsieve.options",
    }
    assert schema.metadata[b"clipsieve.format"] == b"1"
    scores = pq.read_schema(run / "scores" / "words" / "part-00000.parquet")
    assert scores.names == documented("scores/NAME")
    assert scores.metadata[b"clipsieve.inputs"] == schema.metadata[b"clipsieve.inputs"]


def test_the_failure_codes_are_those_of_the_page():
    assert set(documented("Failure codes")) == {code.value for code in FailureCode}


def test_a_row_has_an_embedding_or_a_failure(run):
    rows = pq.read_table(run / "images").to_pylist()
    assert len(rows) == 6
    for row in rows:
        failure = [row["failure_step"], row["failure_code"], row["failure_detail"]]
        assert all(failure) != bool(row["embedding"])
        assert any(failure) != bool(row["embedding"])
    assert (rows[-1]["image_id"], rows[-1]["failure_code"], rows[-1]["bytes"]) == ("empty.png", "empty_file", 0)


def test_embeddings_are_unit_norm_within_a_thousandth(run):
    rows = pq.read_table(run / "images", columns=["embedding"]).column("embedding").drop_null().to_pylist()
    np.testing.assert_allclose(np.linalg.norm(np.array(rows, np.float64), axis=1), 1, atol=1e-3)


def test_duckdb_reads_it(run):
    images, scores = (duckdb.read_parquet(f"{run}/{folder}/*.parquet") for folder in ("images", "scores/words"))
    rows = images.join(scores, "image_id").project("image_id, probability").order("image_id").fetchall()
    assert [name for name, _ in rows][-1] == "empty.png"
    assert [value is None for _, value in rows] == [False] * 5 + [True]


def test_polars_reads_it(run):
    table = pl.read_parquet(run / "images" / "*.parquet")
    assert table["label"].to_list() == ["class0"] * 3 + ["class1"] * 2 + [None]
    assert table["embedding"].null_count() == 1


def test_history_has_a_line_for_each_command(run):
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [line["what"] for line in lines] == ["scan", "score"]
    assert all({"finished", "elapsed_s"} <= line.keys() for line in lines)
