"""Captions, labels, ids and URLs that no file can hold as they are: they cost nobody else's row, and no memory."""

import gzip
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.classifiers import SoftPrompts
from clipsieve.engines import LocalEngine, adopt_embeddings, scan, score
from clipsieve.errors import SourceError
from clipsieve.outputs import summarize
from clipsieve.sources import Columns, open_source
from clipsieve.store import Run
from image_files import png, tar
from tiny_encoder import TinyEncoder

NO_UTF8 = pa.array([b"caf\xe9", b"good", None], pa.binary()).view(pa.string())


def rows(location, scratch, **options):
    source = open_source(location, **options)
    report = scan(source, scratch / "run", TinyEncoder(), engine=LocalEngine(workers=1))
    found = [row for part in Run.open(scratch / "run").iter_images() for row in part.to_pylist()]
    assert report.n_scanned + report.n_failed == report.n_listed == len(found)
    return found


def test_half_a_surrogate_pair_in_metadata(tmp_path):
    members = [("0.png", png(0)), ("0.json", b'{"caption": "\\ud800 x"}'), ("1.png", png(1)), ("1.txt", b"caf\xe9\0")]
    (tmp_path / "a.tar").write_bytes(tar(members))
    found = rows(tmp_path / "a.tar", tmp_path)
    assert [row["caption"] for row in found] == ["\\ud800 x", "caf\ufffd\0"]


@pytest.mark.parametrize("columns", [None, Columns(id="key")])
def test_bytes_that_are_no_utf8_in_a_csv(tmp_path, columns):
    (tmp_path / "0.png").write_bytes(png(0))
    (tmp_path / "t.csv").write_bytes(b"path,caption,label,key\n0.png,caf\xe9,l\xe9,k\xe9\ngone-\xe9.png,b,c,k2\n")
    found = rows(tmp_path / "t.csv", tmp_path, columns=columns)
    assert (found[0]["caption"], found[0]["label"], found[0]["failure_code"]) == ("caf\\udce9", "l\\udce9", None)
    assert found[1]["failure_code"] == "not_found"


def test_bytes_that_are_no_utf8_in_parquet(tmp_path):
    pq.write_table(pa.table({"image": [png(i) for i in range(3)], "caption": NO_UTF8}), tmp_path / "t.parquet")
    assert [row["caption"] for row in rows(tmp_path / "t.parquet", tmp_path)] == ["caf\\udce9", "good", None]


def test_bytes_that_are_no_utf8_in_the_metadata_of_embeddings(tmp_path):
    import numpy as np

    (tmp_path / "laion").mkdir()
    np.save(tmp_path / "laion" / "a_0.npy", np.eye(3, 4, dtype=np.float32))
    lists = pa.array([["x"], ["y"], []])
    pq.write_table(pa.table({"caption": NO_UTF8, "label": lists}), tmp_path / "laion" / "m_0.parquet")
    adopt_embeddings(tmp_path / "laion", tmp_path / "run", model="some/model")
    head = SoftPrompts(np.eye(2, 4, dtype=np.float32), ("a", "b"), (False, True), "some/model")
    score(Run.open(tmp_path / "run"), head, name="head")
    assert summarize(Run.open(tmp_path / "run")).n_scanned == 3
    captions = [row["caption"] for part in Run.open(tmp_path / "run").iter_images() for row in part.to_pylist()]
    assert captions == ["caf\ufffd", "good", None]


@pytest.mark.parametrize(
    "text",
    ['path,caption\n"a.png,b\n1.png,c\n2.png,d\n', 'path,caption\na.png,"b\n1.png,c"x\n2.png,d\n'],
    ids=["never closed", "closed elsewhere"],
)
def test_a_quote_that_swallows_rows_is_refused_with_its_line(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(SourceError, match=r"as CSV: .* at line \d"):
        open_source(tmp_path / "t.csv").plan(10)


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"path\n" + b"x" * 50_000_000))
    with pytest.raises(SourceError, match="a line has more than"):
        open_source(tmp_path / "t.csv.gz").plan(10)


def test_companions_of_megabytes_are_left_out(tmp_path):
    facts = json.dumps({"caption": "x" * 300_000}).encode()
    members = [
        (f"{i}.{ending}", content)
        for i in range(3)
        for ending, content in (("png", png(i)), ("json", facts), ("txt", bytes(10**6)))
    ]
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(tar(members)))
    found = rows(tmp_path / "a.tar.gz", tmp_path)
    assert [(row["caption"], row["metadata"], row["failure_code"]) for row in found] == [(None, None, None)] * 3


def test_rows_without_an_id_cannot_take_that_of_another(tmp_path):
    (tmp_path / "0.png").write_bytes(png(0))
    (tmp_path / "t.csv").write_text("path,key\n0.png,t.csv:1\nbroken\n")
    ids = [row["image_id"] for row in rows(tmp_path / "t.csv", tmp_path, columns=Columns(id="key"))]
    assert len(set(ids)) == 2


def test_a_file_url_is_the_path_that_it_names(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "secret.png").write_bytes(png(9))
    (tmp_path / "photos" / "link.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(tmp_path / "photos" / "pipe.png")
    (tmp_path / "photos" / os.fsdecode(b"caf\xe9.png")).write_bytes(png(1))
    found = rows(f"file://{tmp_path}/photos", tmp_path)
    assert [row["image_id"] for row in found] == ["caf%E9.png"]
