"""Tables again: what pyarrow, polars, duckdb and the csv module read is the source minus the removed rows."""

import csv
import datetime
import gzip
import io
import os
import sys
import tempfile
import uuid

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.errors import SourceError
from clipsieve.outputs.export import parquet_copy, parquet_rows
from clipsieve.outputs.export.base import Unit
from clipsieve.outputs.export.destination import Destination
from clipsieve.outputs.export.table import TableWriter
from clipsieve.sources import Columns, open_source
from clipsieve.sources.rows import TableError, TableFile
from clipsieve.sources.storage import Storage, StoredFile
from clipsieve.types import Failure
from export_units import KEEP, REMOVE, REVIEW, export, places, units, write_all
from image_files import png

N = 12
FATE = np.random.default_rng(3).integers(3, size=N).tolist()


def by_number(image_id: str) -> int:
    return FATE[int(image_id.rpartition(":")[2])]


def opened(folder, **columns):
    source = open_source(folder, "table", columns=Columns(**columns) if columns else None)
    return source, TableWriter(source)


def odd_columns() -> dict[str, pa.Array]:
    rng = np.random.default_rng(0)
    when = datetime.datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=datetime.UTC)
    return {
        "image": pa.array([{"bytes": png(i), "path": f"{i}.png"} for i in range(N)]),
        "label": pa.array([i % 3 for i in range(N)], pa.int64()),
        "caption": pa.array([None if i % 5 == 0 else f"words {i}\n\u202e" for i in range(N)]),
        "kind": pa.array(["a", "b", None] * (N // 3)).dictionary_encode(),
        "few": pa.DictionaryArray.from_arrays(pa.array([0, 1, None] * (N // 3), pa.int8()), pa.array(["x", "y"])),
        "tags": pa.array([[f"t{i}"] * (i % 3) if i % 4 else None for i in range(N)]),
        "more": pa.array([[{"a": [i, None], "b": None}] for i in range(N)]),
        "by name": pa.array([[("k", i)] for i in range(N)], pa.map_(pa.string(), pa.int32())),
        "when": pa.array([when] * N, pa.timestamp("ns", "Europe/Berlin")),
        "price": pa.array(range(N), pa.decimal128(20, 3)),
        "half": pa.array(rng.normal(size=N).astype(np.float16)),
        "vector": pa.FixedShapeTensorArray.from_numpy_ndarray(rng.normal(size=(N, 2, 3)).astype(np.float32)),
        "uid": pa.array([uuid.UUID(int=i).bytes for i in range(N)], pa.uuid()),
        "view": pa.array([f"a long text, longer than its place {i}" for i in range(N)], pa.string_view()),
        "nothing": pa.nulls(N),
        "large": pa.array([f"{i}" for i in range(N)], pa.large_string()),
    }


def odd_table() -> pa.Table:
    fields = [pa.field(name, column.type, metadata={"of": name}) for name, column in odd_columns().items()]
    facts = {"huggingface": '{"info": {"features": {}}}', "pandas": '{"index_columns": []}', "mine": "ü"}
    return pa.table(list(odd_columns().values()), schema=pa.schema(fields, metadata=facts))


def test_all_columns_types_and_metadata_of_parquet_are_kept(tmp_path):
    (tmp_path / "in").mkdir()
    pq.write_table(odd_table(), tmp_path / "in" / "a.parquet", row_group_size=5, compression={"image.bytes": "zstd"})
    before = pq.read_table(tmp_path / "in" / "a.parquet")
    source, writer = opened(tmp_path / "in")
    (written,) = export(source, writer, tmp_path / "out", by_number)
    for decision in (KEEP, REVIEW, REMOVE):
        path = tmp_path / "out" / decision.name.lower() / "data" / "a.parquet"
        after = pq.read_table(path)
        wanted = [i for i in range(N) if FATE[i] == decision]
        assert len(wanted) > 1
        assert after.schema.equals(before.schema, check_metadata=True)
        for name in before.schema.names:
            assert after.column(name).to_pylist() == [before.column(name)[i].as_py() for i in wanted]
    assert written.places == dict.fromkeys(range(N), "data/a.parquet")
    assert (written.n_files, written.problems) == (3, {})


def plain_table(n: int = N) -> pa.Table:
    return pa.table({
        "image": pa.array([png(i) for i in range(n)]),
        "n": pa.array(range(n), pa.int32()),
        "tags": pa.array([[i, i + 1] for i in range(n)]),
        "caption": pa.array([None if i % 3 == 0 else f"words {i}" for i in range(n)]),
    })  # fmt: skip


@pytest.mark.parametrize("codec", ["snappy", "zstd", "gzip", "brotli", "lz4", "none"])
def test_other_libraries_read_it_and_groups_and_codecs_stay(tmp_path, codec):
    (tmp_path / "in" / "x").mkdir(parents=True)
    codecs = {"image": codec, "n": "gzip", "tags.list.element": codec, "caption": "none"}
    pq.write_table(plain_table(), tmp_path / "in" / "x" / "a.parquet", row_group_size=5, compression=codecs)
    pq.write_table(plain_table(5), tmp_path / "in" / "b.parquet")
    source, writer = opened(tmp_path / "in")
    export(source, writer, tmp_path / "out", by_number, KEEP)
    kept = tmp_path / "out" / "keep" / "data"
    wanted = pl.from_arrow(plain_table()).filter(pl.Series([code == KEEP for code in FATE]))
    assert pl.read_parquet(kept / "x" / "a.parquet").equals(wanted)
    with duckdb.connect() as db:
        rows = db.execute("select * from read_parquet(?)", [str(kept / "x" / "a.parquet")]).fetchall()
        both = db.execute("select count(*) from read_parquet(?)", [str(kept / "**" / "*.parquet")]).fetchone()
    assert rows == wanted.rows()
    assert both == (FATE.count(KEEP) + FATE[:5].count(KEEP),)
    facts, before = (pq.read_metadata(path) for path in (kept / "x" / "a.parquet", tmp_path / "in" / "x" / "a.parquet"))
    sizes = [FATE[i : i + 5].count(KEEP) for i in range(0, N, 5)]
    assert [facts.row_group(i).num_rows for i in range(facts.num_row_groups)] == [size for size in sizes if size]
    for place in range(4):
        assert facts.row_group(0).column(place).compression == before.row_group(0).column(place).compression


def test_files_of_other_writers_keep_their_schema(tmp_path):
    (tmp_path / "in").mkdir()
    frame = pl.DataFrame({
        "path": [f"https://example.org/{i}.png" for i in range(N)],
        "kind": pl.Series(["a", "b"] * (N // 2), dtype=pl.Categorical),
        "one": pl.Series(["a", "b"] * (N // 2), dtype=pl.Enum(["a", "b"])),
        "tags": [[i] for i in range(N)],
    })  # fmt: skip
    frame.write_parquet(tmp_path / "in" / "polars.parquet")
    with duckdb.connect() as db:
        query = "select 'https://example.org/' || i as path, [i] as tags, {'a': [i]} as s, now()::timestamp as t"
        db.sql(f"{query} from range({N}) r(i)").write_parquet(str(tmp_path / "in" / "duckdb.parquet"))
    spark = pa.table({
        "path": [f"https://example.org/{i}" for i in range(N)],
        "t": pa.array([i * 10**18 // 7 for i in range(N)], pa.timestamp("ns")),
        "tags": pa.array([[i] for i in range(N)], pa.list_(pa.field("array", pa.int64()))),
    })  # fmt: skip
    pq.write_table(
        spark,
        tmp_path / "in" / "spark.parquet",
        use_deprecated_int96_timestamps=True,
        store_schema=False,
        use_compliant_nested_type=False,
    )
    for name in ("polars", "duckdb", "spark"):
        source = open_source(tmp_path / "in" / f"{name}.parquet")
        # The rows need not be fetched: they are not hashed either.
        (shard,) = source.plan(100).shards
        unit = unit_without_hashes(shard)
        TableWriter(source).write(unit, places(tmp_path / "out", KEEP))
        before, after = (pq.ParquetFile(path) for path in (tmp_path / "in" / f"{name}.parquet", kept(tmp_path, name)))
        assert after.schema_arrow.equals(before.schema_arrow, check_metadata=True)
        assert physical(after) == physical(before)
        assert after.read().equals(before.read().filter([code == KEEP for code in FATE]))
    wanted = frame.filter(pl.Series([code == KEEP for code in FATE]))
    assert pl.read_parquet(kept(tmp_path, "polars")).equals(wanted)
    assert pl.read_parquet_schema(kept(tmp_path, "polars")) == frame.schema


def physical(parquet):
    columns = [parquet.schema.column(place) for place in range(len(parquet.schema))]
    return [(each.path, each.physical_type, each.max_definition_level) for each in columns]


def kept(folder, name):
    return folder / "out" / "keep" / "data" / f"{name}.parquet"


def unit_without_hashes(shard):
    return Unit(shard.members[0], (shard,), [str(i) for i in range(N)], [None] * N, np.array(FATE, dtype=np.uint8))


def test_large_groups_are_streamed_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_rows, "MAX_GROUP_BYTES", 20_000)
    monkeypatch.setattr(parquet_copy, "_BATCH_BYTES", 20_000)
    rng = np.random.default_rng(0)
    images = [png(i) + rng.bytes(3000) for i in range(200)]
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"image": images, "n": range(200)}), tmp_path / "in" / "a.parquet")
    source, writer = opened(tmp_path / "in")
    export(source, writer, tmp_path / "out", lambda name: REMOVE if int(name.rpartition(":")[2]) % 3 else KEEP, KEEP)
    facts = pq.read_metadata(kept(tmp_path, "a"))
    assert facts.num_row_groups > 2
    after = pq.read_table(kept(tmp_path, "a"))
    assert after.column("n").to_pylist() == list(range(0, 200, 3))
    assert after.column("image").to_pylist() == images[::3]


def test_a_table_of_which_nothing_is_kept_has_its_schema_and_no_rows(tmp_path):
    (tmp_path / "in").mkdir()
    pq.write_table(odd_table(), tmp_path / "in" / "a.parquet")
    pq.write_table(plain_table(), tmp_path / "in" / "b.parquet")
    source = open_source(tmp_path / "in", columns=Columns(image="image"))
    export(source, TableWriter(source), tmp_path / "out", lambda _: REVIEW)
    assert pq.read_table(kept(tmp_path, "a")).schema.equals(
        pq.read_schema(tmp_path / "in" / "a.parquet"), check_metadata=True
    )
    assert pl.read_parquet(kept(tmp_path, "b")).shape == (0, 4)
    with duckdb.connect() as db:
        assert db.execute("select * from read_parquet(?)", [str(kept(tmp_path, "b"))]).fetchall() == []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["keep", "review"]


LINES = [
    b"path,label,note\r\n",
    b"0.png,a,plain\r\n",
    b'"1.png","b, with a comma","a ""quoted"" word"\n',
    b"\r\n",
    b'2.png,c,"over\r\nseveral\n\nlines"\r\n',
    b"3.png,d,\xff\xfe no UTF-8\r\n",
    b"\n",
    b"4.png,e\r\n",
    b"5.png,f,g,h\n",
    b"6.png,\xf0\x9f\x98\x80,emoji\r",
    b"7.png,,",
]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("delimiter", [b",", b";", b"\t"])
@pytest.mark.parametrize("removed", [(), (0,), (1, 3), (2, 4, 5), (7,), tuple(range(8))])
def test_records_of_csv_are_kept_byte_by_byte(tmp_path, mark, pack, delimiter, removed):
    lines = [line.replace(b",", delimiter) for line in LINES]
    (tmp_path / "in").mkdir()
    name = "a.csv.gz" if pack is gzip.compress else "a.csv"
    (tmp_path / "in" / name).write_bytes(pack(mark + b"".join(lines)))
    for number in range(8):
        (tmp_path / "in" / f"{number}.png").write_bytes(png(number))
    source = open_source(tmp_path / "in" / name)
    export(
        source,
        TableWriter(source),
        tmp_path / "out",
        lambda i: REMOVE if int(i.rpartition(":")[2]) in removed else KEEP,
    )
    rows = [number for number, line in enumerate(LINES) if line.strip() and number]
    gone = {rows[number] for number in removed}
    unpack = gzip.decompress if pack is gzip.compress else bytes
    found = unpack((tmp_path / "out" / "keep" / "data" / name).read_bytes())
    assert found == mark + b"".join(line for number, line in enumerate(lines) if number not in gone)
    if removed:
        found = unpack((tmp_path / "out" / "remove" / "data" / name).read_bytes())
        assert found == mark + lines[0] + b"".join(line for number, line in enumerate(lines) if number in gone)


@settings(max_examples=100)
@given(
    st.lists(
        st.sampled_from([b"a", b",", b'"', b'""', b"\r", b"\n", b"\r\n", b"\xff", b"\0", "é".encode()]), max_size=25
    )
)
def test_records_joined_are_the_file_and_rows_are_numbered_as_in_a_scan(pieces):
    content = b"path,x\n" + b"".join(pieces)
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        file.write(content)
        file.flush()
        table = TableFile(Storage(file.name), StoredFile(file.name, len(content), ""))
        try:
            rows = list(table.iter_rows(["path", "x"]))
        except TableError:
            return  # such a table cannot be scanned
        records = list(table.iter_records())
        table.close()
    assert b"".join(raw for _, raw in records) == content
    cells = [found for found, _ in records if found][1:]
    whole = [dict(zip(("path", "x"), found, strict=True)) if len(found) == 2 else None for found in cells]
    assert whole == [None if isinstance(row, Failure) else row for row in rows]


def test_other_libraries_read_the_csv(tmp_path):
    (tmp_path / "in").mkdir()
    frame = pl.DataFrame({
        "image_url": [f"https://example.org/{i}.png" for i in range(N)],
        "caption": [f'words, "{i}"\nand more' for i in range(N)],
        "n": range(N),
    })  # fmt: skip
    frame.write_csv(tmp_path / "in" / "a.csv")
    source = open_source(tmp_path / "in")
    (shard,) = source.plan(100).shards
    writer = TableWriter(source)
    writer.write(unit_without_hashes(shard), places(tmp_path / "out", KEEP))
    path = tmp_path / "out" / "keep" / "data" / "a.csv"
    wanted = frame.filter(pl.Series([code == KEEP for code in FATE]))
    assert pl.read_csv(path).equals(wanted)
    with path.open(newline="") as file:
        assert [tuple(row.values()) for row in csv.DictReader(file)] == [tuple(map(str, row)) for row in wanted.rows()]
    with duckdb.connect() as db:
        assert db.execute("select * from read_csv(?)", [str(path)]).fetchall() == wanted.rows()


def test_files_that_rows_name_go_where_the_rows_go(tmp_path):
    folder = tmp_path / "in" / "sub"
    (folder / "pictures").mkdir(parents=True)
    odd = os.fsdecode(b"odd \xff.png")
    names = ["pictures/0.png", "./pictures//1.png", "pictures/2.png", odd, "pictures/2.png", "missing.png"]
    names += [
        "../outside.png",
        str(tmp_path / "absolute.png"),
        "https://example.invalid/x.png",
        "",
        "t.csv",
        "pictures",
    ]
    for number, name in enumerate(names[:5]):
        (folder / name).write_bytes(png(number % 4))
    for place in (tmp_path / "in" / "outside.png", tmp_path / "absolute.png", folder / "pictures" / "not named.png"):
        place.write_bytes(png(7))
    content = b"path,n\n" + b"".join(os.fsencode(name) + b",%d\n" % i for i, name in enumerate(names))
    (folder / "t.csv").write_bytes(content)
    (folder / "link.png").symlink_to("t.csv")
    names = [name for name in names if not name.startswith("https")]  # nothing is fetched here
    (folder / "t.csv").write_bytes(content.replace(b"https://example.invalid/x.png,8", b"link.png,8"))
    source = open_source(tmp_path / "in", "table")
    (written,) = export(
        source, TableWriter(source), tmp_path / "out", lambda i: REMOVE if i[-2:] in (":0", ":2") else KEEP
    )
    root = tmp_path / "out"
    found = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    assert sorted(found) == sorted([
        "keep/data/sub/t.csv", "keep/data/sub/pictures/1.png", "keep/data/sub/pictures/2.png", f"keep/data/sub/{odd}",
        "remove/data/sub/t.csv", "remove/data/sub/pictures/0.png", "remove/data/sub/pictures/2.png",
    ])  # fmt: skip
    for name, path in found.items():
        assert (
            name.endswith(".csv") or path.read_bytes() == (tmp_path / "in" / name.partition("/data/")[2]).read_bytes()
        )
    assert sorted(written.problems) == [5, 8, 10, 11]
    assert "missing.png` cannot be read: No such file" in written.problems[5]
    assert "is a table of this source" in written.problems[8]
    assert "is a table of this source" in written.problems[10]
    assert "not a regular file" in written.problems[11]
    assert written.places.keys() == set(range(12))
    assert (written.n_files, written.n_bytes) == (7, sum(path.stat().st_size for path in found.values()))
    # The exported table works where it lies.
    again = open_source(root / "keep" / "data", "table")
    refs = [ref for shard in again.plan(100).shards for ref in again.read(shard)]
    assert [ref.content for ref in refs[:3]] == [png(1), png(3), png(0)]


@pytest.mark.parametrize("how", ["hardlink", "symlink", "copy", None])
def test_ways_of_bringing_files(tmp_path, how):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.png").write_bytes(png(0))
    pq.write_table(pa.table({"path": pa.array(["0.png", "0.png"]).dictionary_encode()}), tmp_path / "in" / "a.parquet")
    source = open_source(tmp_path / "in" / "a.parquet")
    (written,) = export(source, TableWriter(source, how), tmp_path / "out", lambda _: KEEP, KEEP)
    path = tmp_path / "out" / "keep" / "data" / "0.png"
    assert written.n_files == (1 if how is None else 2)
    assert path.exists() is (how is not None)
    assert path.is_symlink() is (how == "symlink")
    assert how != "hardlink" or path.samefile(tmp_path / "in" / "0.png")


def test_structs_name_files_where_they_hold_no_bytes(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / "in" / f"{number}.png").write_bytes(png(number))
    cells = [{"bytes": png(9) if i % 2 else None, "path": f"{i}.png"} for i in range(4)]
    pq.write_table(pa.table({"image": cells}), tmp_path / "in" / "a.parquet")
    source = open_source(tmp_path / "in" / "a.parquet")
    for _ in range(2):
        (written,) = export(source, TableWriter(source), tmp_path / "out", lambda _: KEEP, KEEP)
        found = sorted(path.name for path in (tmp_path / "out" / "keep" / "data").iterdir())
        assert (found, written.n_files) == (["0.png", "2.png", "a.parquet"], 3)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_what_has_changed_is_refused_and_nothing_of_it_is_left(tmp_path, kind):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(plain_table(4), path)
    else:
        path.write_text("path\n" + "".join(f"{i}.png\n" for i in range(4)))
        for number in range(4):
            (tmp_path / "in" / f"{number}.png").write_bytes(png(number))
    source, writer = opened(path)
    (unit,) = units(source, writer, lambda _: KEEP, 10)
    if kind == "parquet":
        changed = plain_table(4).set_column(0, "image", [[png(0), png(1), png(2), png(99)]])
        pq.write_table(changed, path)
    else:
        (tmp_path / "in" / "3.png").write_bytes(png(99))
    with pytest.raises(SourceError, match=r"row 3 of `a.parquet`" if kind == "parquet" else r"3\.png` has changed"):
        TableWriter(open_source(path)).write(unit, places(tmp_path / "out"))
    assert not (tmp_path / "out" / "keep" / "data" / f"a.{kind}").exists()
    if kind == "parquet":
        pq.write_table(plain_table(5), path)
    else:
        path.write_text("path\n0.png\n1.png\n2.png\n")
    with pytest.raises(SourceError, match="has changed since it was scanned"):
        TableWriter(open_source(path)).write(unit, places(tmp_path / "out"))
    assert [each for each in (tmp_path / "out").rglob("*") if each.name.startswith(("a.", ".clip"))] == []


def test_a_table_that_could_not_be_read_is_a_problem_and_the_others_are_written(tmp_path):
    (tmp_path / "in").mkdir()
    pq.write_table(plain_table(4), tmp_path / "in" / "a.parquet")
    (tmp_path / "in" / "b.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    source, writer = opened(tmp_path / "in")
    good, bad = export(source, writer, tmp_path / "out", lambda _: KEEP, KEEP)
    assert (good.n_files, bad.n_files, bad.places) == (1, 0, {})
    assert "b.parquet" in bad.problems[0]
    assert [path.name for path in (tmp_path / "out" / "keep" / "data").iterdir()] == ["a.parquet"]


def damaged(path, column: int, group: int) -> None:
    """Overwrite the pages of one column of a group."""
    chunk = pq.read_metadata(path).row_group(group).column(column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)


def test_rows_that_could_not_be_read_are_problems_each_time(tmp_path):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.parquet"
    pq.write_table(plain_table(), path, row_group_size=4)
    damaged(path, 0, 1)
    source, writer = opened(path)
    (first,) = export(source, writer, tmp_path / "out", lambda _: KEEP, KEEP)
    assert pq.read_table(kept(tmp_path, "a")).column("n").to_pylist() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert (sorted(first.problems), sorted(first.places)) == ([4, 5, 6, 7], [0, 1, 2, 3, 8, 9, 10, 11])
    assert export(source, writer, tmp_path / "out", lambda _: KEEP, KEEP) == [first]


def test_rows_that_can_be_read_no_more_are_an_error(tmp_path):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.parquet"
    pq.write_table(plain_table(), path, row_group_size=4)
    damaged(path, 2, 1)
    source, writer = opened(path)
    with pytest.raises(SourceError, match=r"row 4 of `a\.parquet`"):
        export(source, writer, tmp_path / "out", lambda _: KEEP, KEEP)
    assert [each for each in (tmp_path / "out").rglob("*") if each.is_file()] == []


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_what_is_there_is_not_written_again(tmp_path, kind):
    (tmp_path / "in").mkdir()
    for number in range(N):
        (tmp_path / "in" / f"{number}.png").write_bytes(png(number))
    frame = pl.DataFrame({"path": [f"{i}.png" for i in range(N)], "n": range(N)})
    path = tmp_path / "in" / f"a.{kind}"
    frame.write_parquet(path) if kind == "parquet" else frame.write_csv(path)
    source, writer = opened(path)
    first = export(source, writer, tmp_path / "out", by_number)
    files = [each for each in (tmp_path / "out").rglob("*") if each.is_file()]
    assert len(files) == N + 3
    gone = tmp_path / "out" / "review" / "data" / f"a.{kind}"
    content, inodes = gone.read_bytes(), {each: each.stat().st_ino for each in files if each != gone}
    gone.unlink()
    assert export(source, writer, tmp_path / "out", by_number) == first
    assert gone.read_bytes() == content
    assert {each: each.stat().st_ino for each in inodes} == inodes


def test_behind_urls_as_on_this_machine(tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    file = io.BytesIO()
    pq.write_table(plain_table(), file)
    memory.pipe("/export-tables/a.parquet", file.getvalue())
    source, writer = opened("memory://export-tables")
    (unit,) = units(source, writer, by_number, 100)
    first = writer.write(unit, {KEEP: Destination("memory://export-tables-kept")})
    memory.rm("/export-tables/a.parquet")  # what is there already need not be fetched again
    assert writer.write(unit, {KEEP: Destination("memory://export-tables-kept")}) == first
    found = pq.read_table(io.BytesIO(memory.cat("/export-tables-kept/data/a.parquet")))
    assert found.equals(plain_table().filter([code == KEEP for code in FATE]))


SECRETS = [f"secret {i:03d} of the removed" for i in range(60)]
IS_KEPT = np.random.default_rng(5).random(60) < 0.4


def in_dictionaries() -> dict[str, pa.Array]:
    """Return columns whose cells stand in dictionaries, at every depth."""
    words, n = pa.array(SECRETS).dictionary_encode(), len(SECRETS)
    is_null = pa.array(np.arange(n) % 7 == 3)
    edges = pa.array(range(n + 1), pa.int32())
    inner, map_of_words = pa.ListArray.from_arrays(edges, words), pa.map_(pa.string(), words.type)
    return {
        "bytes": pa.array([text.encode() for text in SECRETS]).dictionary_encode(),
        "ordered": pa.DictionaryArray.from_arrays(
            pa.array(range(n))[::-1].cast(pa.int8()), pa.array(SECRETS), ordered=True
        ),
        "list": pa.ListArray.from_arrays(edges, words, mask=is_null),
        "large": pa.LargeListArray.from_arrays(edges.cast(pa.int64()), words),
        "struct": pa.StructArray.from_arrays([words, pa.array(range(n))], ["word", "n"], mask=is_null),
        "pairs": pa.FixedSizeListArray.from_arrays(pa.array([t for t in SECRETS for _ in "ab"]).dictionary_encode(), 2),
        "map": pa.array([None if i % 7 == 3 else [("k", text)] for i, text in enumerate(SECRETS)], map_of_words),
        "deep": pa.ListArray.from_arrays(edges, pa.StructArray.from_arrays([inner], ["x"])),
    }


@pytest.mark.parametrize("has_view", [False, True])
def test_dictionaries_hold_no_value_of_a_row_that_was_removed(tmp_path, has_view):
    columns = in_dictionaries()
    if has_view:  # which pyarrow cannot choose rows of
        columns["view"] = pa.array(SECRETS, pa.string_view())
    (tmp_path / "in").mkdir()
    paths = [f"https://example.org/{i}.png" for i in range(60)]
    table = pa.table({"path": paths, **columns})
    pq.write_table(table, tmp_path / "in" / "a.parquet", row_group_size=25, compression="none")
    source = open_source(tmp_path / "in")
    (shard,) = source.plan(100).shards
    codes = np.where(IS_KEPT, KEEP, REMOVE).astype(np.uint8)
    unit = Unit(shard.members[0], (shard,), paths, [None] * 60, codes)
    TableWriter(source).write(unit, places(tmp_path / "out", KEEP))
    rows = np.flatnonzero(IS_KEPT).tolist()
    after, before = pq.read_table(kept(tmp_path, "a")), pq.read_table(tmp_path / "in" / "a.parquet")
    assert after.schema.equals(before.schema, check_metadata=True)
    for name in columns:
        assert after.column(name).to_pylist() == [before.column(name)[row].as_py() for row in rows], name
    pieces = [chunk.dictionary.to_pylist() for chunk in after.column("ordered").chunks]
    assert pieces == [sorted(piece) for piece in pieces]
    facts = pq.read_metadata(kept(tmp_path, "a"))
    assert [facts.row_group(i).num_rows for i in range(3)] == [IS_KEPT[i : i + 25].sum() for i in (0, 25, 50)]
    assert "RLE_DICTIONARY" in facts.row_group(0).column(1).encodings
    # One column alone, so that what another one keeps does not hide what this one leaks.
    for name in columns:
        folder = tmp_path / name
        folder.mkdir()
        pq.write_table(table.select(["path", name]), folder / "a.parquet", row_group_size=25, compression="none")
        source = open_source(folder)
        (shard,) = source.plan(100).shards
        TableWriter(source).write(unit, {KEEP: Destination(str(folder / "out"))})
        raw = (folder / "out" / "data" / "a.parquet").read_bytes()
        cells = str(pq.read_table(folder / "out" / "data" / "a.parquet").column(name).to_pylist())
        assert "secret" in cells
        assert [text for text in SECRETS if text.encode() in raw and text not in cells] == [], name


def test_images_in_a_dictionary_leave_with_their_row(tmp_path):
    (tmp_path / "in").mkdir()
    images = [png(i) for i in range(N)]
    table = pa.table({"image": pa.array(images).dictionary_encode(), "n": range(N)})
    pq.write_table(table, tmp_path / "in" / "a.parquet", row_group_size=5, compression="none")
    source, writer = opened(tmp_path / "in")
    export(source, writer, tmp_path / "out", by_number, KEEP)
    raw = kept(tmp_path, "a").read_bytes()
    assert [image in raw for image in images] == [code == KEEP for code in FATE]


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_tables_without_rows_are_part_of_the_data_set(tmp_path, where):
    (tmp_path / "in").mkdir()
    pq.write_table(plain_table(3), tmp_path / "in" / "a.parquet")
    pq.write_table(plain_table(0), tmp_path / "in" / "b.parquet")
    source, writer = opened(tmp_path / "in")
    place = Destination("memory://no-rows" if where == "memory" else str(tmp_path / "out"))
    for _ in range(2):
        written = write_all(writer, units(source, writer, lambda _: KEEP), {KEEP: place})
        written += writer.finish({KEEP: place})
        assert sum(each.n_files for each in written) == 2
    found = pq.read_table(io.BytesIO(place.read_bytes("data/b.parquet")))
    assert found.schema.equals(plain_table(0).schema, check_metadata=True)
    assert list(writer.finish({REMOVE: place})) == []


def test_a_csv_without_rows_is_copied(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("path,n\n0.png,1\n")
    (tmp_path / "in" / "b.csv").write_bytes(b"path,n\r\n\r\n")
    source, writer = opened(tmp_path / "in")
    export(source, writer, tmp_path / "out", lambda _: REMOVE)
    list(writer.finish(places(tmp_path / "out")))
    assert (tmp_path / "out" / "keep" / "data" / "b.csv").read_bytes() == b"path,n\r\n\r\n"


@pytest.mark.parametrize("how", ["copy", "hardlink", "symlink"])
@pytest.mark.parametrize("lost", ["gone", "folder"])
def test_a_file_that_was_read_and_cannot_be_brought_is_an_error(tmp_path, how, lost):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("path\n0.png\n1.png\n")
    for number in range(2):
        (tmp_path / "in" / f"{number}.png").write_bytes(png(number))
    source = open_source(tmp_path / "in" / "a.csv")
    writer = TableWriter(source, how)
    (unit,) = units(source, writer, lambda _: KEEP, 10)
    (tmp_path / "in" / "1.png").unlink()
    if lost == "folder":
        (tmp_path / "in" / "1.png").mkdir()
    with pytest.raises(SourceError, match=r"1\.png` has changed since it was scanned") as caught:
        writer.write(unit, places(tmp_path / "out", KEEP))
    assert caught.value.found == (
        "is not a regular file" if lost == "folder" else "cannot be read: No such file or directory"
    )
    assert not (tmp_path / "out" / "keep" / "data" / "a.csv").exists()


def test_a_file_that_is_copied_is_read_once(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("path\n0.png\n")
    (tmp_path / "in" / "0.png").write_bytes(png(0))
    n_read = []

    def note(event, arguments):
        if event == "open" and str(arguments[0]).endswith("in/0.png"):
            n_read.append(arguments[0])

    source = open_source(tmp_path / "in" / "a.csv")
    (unit,) = units(source, TableWriter(source), lambda _: KEEP)
    sys.addaudithook(note)
    n_before = len(n_read)
    TableWriter(source).write(unit, places(tmp_path / "out", KEEP))
    assert len(n_read) - n_before == 1
    assert (tmp_path / "out" / "keep" / "data" / "0.png").read_bytes() == png(0)


def test_other_columns_with_images_are_told(tmp_path):
    cell = {"bytes": png(1), "path": "1.png"}
    table = pa.table({
        "image": [cell] * 3,
        "thumb": pa.array([None, None, {"bytes": None, "path": "x.png"}]),
        "views": pa.array([[], [png(3)], None]),
        "coded": pa.array([png(3), None, None]).dictionary_encode(),
        "sight": pa.array([None, png(3), None], pa.binary_view()),
        "mask": pa.array([b"\xff\xd8\xff\xe0"] * 3, pa.binary(4)),
        "by name": pa.array([[("a", png(4))]] * 3, pa.map_(pa.string(), pa.binary())),
        "hash": pa.array([uuid.UUID(int=i).bytes for i in range(3)], pa.uuid()),
        "raw": [b"numbers"] * 3,
        "text": ["\x89PNG"] * 3,
        "box": [{"x": 1, "path": "a"}] * 3,
    })  # fmt: skip
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in" / "b.parquet")
    (tmp_path / "in" / "a.parquet").write_bytes(b"PAR1 damaged PAR1")
    writer = TableWriter(open_source(tmp_path / "in"))
    (words,) = writer.warnings()
    assert "`thumb`, `views`, `coded`, `sight`, `mask`, `by name`. They stay" in words
    (tmp_path / "plain").mkdir()
    pq.write_table(table.select(["image", "hash", "raw", "text", "box"]), tmp_path / "plain" / "a.parquet")
    assert TableWriter(open_source(tmp_path / "plain")).warnings() == ()
    (tmp_path / "plain" / "a.csv").write_text("path,n\na.png,1\n")
    assert TableWriter(open_source(tmp_path / "plain" / "a.csv")).warnings() == ()
