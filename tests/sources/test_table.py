"""CSV and Parquet tables of paths, URLs and images: each row is an input, whatever is wrong with the others."""

import functools
import gzip
import http.server
import json
import os
import subprocess
import sys
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.engines import LocalEngine, scan
from clipsieve.errors import SourceError, UsageError
from clipsieve.sources import Columns, open_source
from clipsieve.store import Run
from clipsieve.types import Failure, FailureCode
from image_files import png
from tiny_encoder import TinyEncoder


def read(location, part_size=100, **options):
    source = open_source(location, **options)
    return [ref for shard in source.plan(part_size).shards for ref in source.read(shard)]


def codes(refs):
    return [ref.content.code if isinstance(ref.content, Failure) else None for ref in refs]


@pytest.fixture
def images(tmp_path):
    for index in range(5):
        (tmp_path / f"{index}.png").write_bytes(png(index))
    return tmp_path


CSVS = {
    "comma": "path,label,caption\n0.png,a,one\n1.png,b,two\n",
    "semicolon": "path;label;caption\n0.png;a;one\n1.png;b;two\n",
    "tab": "path\tlabel\tcaption\n0.png\ta\tone\n1.png\tb\ttwo\n",
    "windows": "\ufeffpath,label,caption\r\n0.png,a,one\r\n1.png,b,two\r\n",
    "quoted": '"path","label","caption"\n"0.png","a","one"\n"1.png","b","two"\n',
    "empty lines": "path,label,caption\n\n0.png,a,one\n\n\n1.png,b,two",
    "other columns": "x,path,y,label,caption\n1,0.png,2,a,one\n1,1.png,2,b,two\n",
}


@pytest.mark.parametrize("text", CSVS.values(), ids=CSVS.keys())
def test_ways_of_writing_a_csv(images, text):
    (images / "t.csv").write_bytes(text.encode())
    refs = read(images / "t.csv")
    assert [(ref.content, ref.label, ref.caption) for ref in refs] == [(png(0), "a", "one"), (png(1), "b", "two")]
    assert [ref.image_id for ref in refs] == ["t.csv:0", "t.csv:1"]


def test_cells_with_newlines_and_marks_in_them(images):
    (images / "t.csv").write_text('path,caption\n0.png,"a, ""b""\nc"\n1.png,"d;e\tf"\n')
    assert [ref.caption for ref in read(images / "t.csv", 1)] == ['a, "b"\nc', "d;e\tf"]


def test_a_packed_csv(images):
    (images / "t.csv.gz").write_bytes(gzip.compress(CSVS["comma"].encode()))
    assert [ref.caption for ref in read(images / "t.csv.gz", 1)] == ["one", "two"]


def test_a_path_with_bytes_that_are_no_utf8(tmp_path):
    name = os.fsdecode(b"\xff\xfe.png")
    (tmp_path / name).write_bytes(png(1))
    (tmp_path / "t.csv").write_bytes(b"path\n\xff\xfe.png\n")
    (ref,) = read(tmp_path / "t.csv")
    assert (ref.content, ref.image_id) == (png(1), "t.csv:0")
    ref.uri.encode()


def test_a_line_that_breaks_the_rules_costs_itself(images):
    (images / "t.csv").write_text(f"path,label\n0.png,a\nbroken\n1.png,b,c,d\n2.png,{'x' * 200_000}\n3.png,e\n")
    refs = read(images / "t.csv", 2)
    bad = FailureCode.CORRUPT
    assert codes(refs) == [None, bad, bad, None, None]
    assert refs[1].content.detail == "the line has 1 cells and the table 2 columns"
    assert (refs[4].label, refs[4].image_id) == ("e", "t.csv:4")


@pytest.mark.parametrize("text", ["", "path,label\n", "\n\n"])
def test_a_csv_without_rows_is_an_error(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(SourceError, match=r"no rows|which column"):
        open_source(tmp_path / "t.csv").plan(10)


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CELLS = {
    "paths": pa.array([f"{i}.png" for i in range(5)]),
    "large strings": pa.array([f"{i}.png" for i in range(5)], pa.large_string()),
    "a dictionary": pa.array([f"{i}.png" for i in range(5)]).dictionary_encode(),
    "bytes": pa.array([png(i) for i in range(5)]),
    "large bytes": pa.array([png(i) for i in range(5)], pa.large_binary()),
    "structs": pa.array([{"bytes": png(i), "path": None} for i in range(5)], IMAGE),
    "structs of paths": pa.array([{"bytes": None, "path": f"{i}.png"} for i in range(5)], IMAGE),
}


@pytest.mark.parametrize("cells", CELLS.values(), ids=CELLS.keys())
@pytest.mark.parametrize("group", [1, 2, 100])
def test_ways_of_holding_an_image_in_parquet(images, cells, group):
    pq.write_table(pa.table({"other": list(range(5)), "image": cells}), images / "t.parquet", row_group_size=group)
    for part_size in (1, 2, 3, 100):
        assert [ref.content for ref in read(images / "t.parquet", part_size)] == [png(i) for i in range(5)]


def test_null_and_empty_cells_are_failures_with_a_reason(images):
    pq.write_table(pa.table({"path": ["0.png", None, "", "  "]}), images / "a.parquet")
    pq.write_table(pa.table({"image": pa.array([None, {"bytes": None, "path": None}], IMAGE)}), images / "b.parquet")
    pq.write_table(pa.table({"path": [1, 2]}), images / "c.parquet")
    assert codes(read(images / "a.parquet")) == [None, *[FailureCode.NOT_FOUND] * 3]
    assert codes(read(images / "b.parquet")) == [FailureCode.NOT_FOUND] * 2
    assert codes(read(images / "c.parquet")) == [FailureCode.NOT_FOUND] * 2


def test_where_paths_may_lead(images, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "x.png").write_bytes(png(9))
    os.mkfifo(images / "pipe.png")
    cells = ["./1.png", str(elsewhere / "x.png"), f"file://{elsewhere}/x.png", "pipe.png", "/dev/zero", "missing.png"]
    cells += [
        "pipe:cat /etc/passwd",
        "pipe://x",
        "simplecache::http://x/y",
        "ssh://host/x",
        "file://::/etc/passwd",
        ".",
    ]
    (images / "t.csv").write_text("\n".join(["path", *cells]))
    refs = read(images / "t.csv")
    assert [ref.content for ref in refs[:3]] == [png(1), png(9), png(9)]
    read_error, not_found, barred = FailureCode.READ_ERROR, FailureCode.NOT_FOUND, FailureCode.NOT_PERMITTED
    assert codes(refs)[3:] == [read_error, read_error, not_found, not_found, *[barred] * 4, read_error]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if "forbidden" in self.path:
            self.send_error(403)
        elif "broken" in self.path:
            self.send_error(500)
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def site(images):
    handler = functools.partial(Quiet, directory=str(images))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.slow
def test_urls_in_a_table(images, site):
    names = ["0.png", "missing.png", "1.png?size=large", "forbidden.png", "broken.png"]
    (images / "t.csv").write_text("\n".join(["url,key", *(f"{site}/{name},k{name}" for name in names)]))
    refs = read(images / "t.csv", columns=Columns(id="key"))
    assert [ref.content for ref in refs if isinstance(ref.content, bytes)] == [png(0), png(1)]
    assert codes(refs) == [None, FailureCode.NOT_FOUND, None, FailureCode.READ_ERROR, FailureCode.READ_ERROR]
    assert "403" in refs[3].content.detail
    assert "5 times" in refs[4].content.detail
    assert (refs[0].uri, refs[0].image_id) == (f"{site}/0.png", "k0.png")
    assert codes(read(images / "t.csv", max_bytes=20))[0] is FailureCode.TOO_MANY_BYTES


@pytest.mark.slow
def test_a_table_and_a_tar_behind_a_url(images, site):
    from image_files import tar

    (images / "t.csv").write_text("path\n0.png\n../../etc/passwd\n")
    assert codes(read(f"{site}/t.csv")) == [None, FailureCode.NOT_PERMITTED]
    (images / "a.tar").write_bytes(tar([("x.png", png(7))]))
    assert [ref.content for ref in read(f"{site}/a.tar")] == [png(7)]


def test_labels_come_with_their_names(images):
    facts = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = pa.table({"image": [png(0), png(1), png(2)], "label": [1, 0, None]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(facts)})
    pq.write_table(table, images / "t.parquet")
    assert [ref.label for ref in read(images / "t.parquet")] == ["dog", "cat", None]


def test_columns_by_name(images):
    pq.write_table(pa.table({"a": ["0.png"], "b": ["1.png"], "c": ["id7"], "d": [5]}), images / "t.parquet")
    with pytest.raises(SourceError, match="cannot tell which column") as caught:
        open_source(images / "t.parquet")
    assert caught.value.found == "`a`, `b`, `c`, `d`"
    (ref,) = read(images / "t.parquet", columns=Columns("b", "c", "d", "a"))
    assert (ref.content, ref.image_id, ref.label, ref.caption) == (png(1), "id7", "5", "0.png")
    with pytest.raises(UsageError, match="no column `zzz` for the label"):
        open_source(images / "t.parquet", columns=Columns(image="b", label="zzz"))
    with pytest.raises(UsageError, match="read as folder"):
        open_source(images, "folder", columns=Columns(image="b"))


@pytest.mark.parametrize(
    ("ids", "words"), [(["a", "b", "a"], "`a` again in row 2"), (["a", None, "b"], "empty cell in row 1")]
)
def test_ids_that_do_not_tell_rows_apart_are_refused(images, ids, words):
    pq.write_table(pa.table({"path": ["0.png", "1.png", "2.png"], "key": ids}), images / "t.parquet")
    with pytest.raises(UsageError, match="does not tell the rows") as caught:
        open_source(images / "t.parquet", columns=Columns(id="key")).plan(10)
    assert words in caught.value.found


def test_a_corrupt_file_among_several_costs_itself(images):
    for number in range(3):
        pq.write_table(pa.table({"path": ["0.png", "1.png"]}), images / f"{number}.parquet")
    (images / "0.parquet").write_bytes(b"PAR1 nonsense")
    source = open_source(images / "*.parquet")
    report = scan(source, images / "run", TinyEncoder(), engine=LocalEngine(workers=1))
    assert (report.n_listed, report.n_scanned, report.n_failed) == (5, 4, 1)
    (images / "0.parquet").unlink()
    (images / "alone.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(SourceError, match="as Parquet"):
        open_source(images / "alone.parquet")


def test_a_damaged_page_costs_the_rows_behind_it(images):
    cells = [png(i) + os.urandom(3000) for i in range(200)]
    path = images / "t.parquet"
    pq.write_table(pa.table({"image": cells}), path, row_group_size=50, compression="zstd", use_dictionary=False)
    column = pq.read_metadata(path).row_group(2).column(0)
    content = bytearray(path.read_bytes())
    for offset in range(column.data_page_offset, column.data_page_offset + column.total_compressed_size):
        content[offset] ^= 0x5A
    path.write_bytes(content)
    refs = read(path, 20)
    assert len(refs) == 200
    assert [ref.content for ref in refs[:100]] == cells[:100]
    assert FailureCode.CORRUPT in codes(refs[100:150])
    assert [ref.content for ref in refs[150:]] == cells[150:]


def test_a_file_that_shrank_after_the_listing_leaves_no_gap(images):
    path = images / "t.csv"
    path.write_text("path\n" + "0.png\n" * 10)
    source = open_source(path)
    plan = source.plan(4)
    path.write_text("path\n" + "0.png\n" * 5)
    refs = [ref for shard in plan.shards for ref in source.read(shard)]
    assert codes(refs) == [None] * 5 + [FailureCode.CORRUPT] * 5
    assert refs[-1].content.detail == "the file has fewer rows than when it was listed"


def test_scores_join_to_the_table_by_id(images):
    (images / "t.csv").write_text("path,key\n0.png,k0\n1.png,k1\nmissing.png,k2\n")
    source = open_source(images / "t.csv", columns=Columns(id="key"))
    report = scan(source, images / "run", TinyEncoder(), engine=LocalEngine(workers=1))
    assert (report.n_listed, report.n_scanned) == (3, 2)
    rows = [row for part in Run.open(images / "run").iter_images() for row in part.to_pylist()]
    assert [(row["image_id"], row["failure_code"]) for row in rows] == [("k0", None), ("k1", None), ("k2", "not_found")]


STREAM = """
import resource, sys
from clipsieve.sources import open_source
source = open_source(sys.argv[1])
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
n = sum(1 for shard in source.plan(1000).shards for _ in source.read(shard))
print(n, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one large group", "many rows"])
def test_a_table_is_streamed(tmp_path, kind):
    if kind == "many rows":
        path, n_rows = tmp_path / "t.csv", 200_000
        path.write_text("path,caption\n" + "missing.png,some words of some length for each\n" * n_rows)
    else:
        path, n_rows = tmp_path / "t.parquet", 1500
        table = pa.table({"image": [os.urandom(200_000) for _ in range(n_rows)]})
        pq.write_table(table, path, row_group_size=n_rows, compression="none", use_dictionary=False)
    done = subprocess.run([sys.executable, "-c", STREAM, str(path)], capture_output=True, text=True, check=True)
    n, grown_mib = done.stdout.split()
    assert int(n) == n_rows
    assert float(grown_mib) < 120  # of 300 MB of images, and of 200,000 rows
