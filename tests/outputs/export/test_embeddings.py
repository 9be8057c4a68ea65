"""What is written is read by numpy, by the library embedding-reader, and by us again; rows are the bytes they were."""

import os

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from embedding_reader import EmbeddingReader

from clipsieve.engines import adopt_embeddings
from clipsieve.errors import SourceError
from clipsieve.evaluation.operating_points import Decision
from clipsieve.outputs.export import embeddings
from clipsieve.outputs.export.base import Unit
from clipsieve.outputs.export.destination import Destination
from clipsieve.outputs.export.embeddings import EmbeddingsWriter, plan_embeddings
from clipsieve.outputs.export.originals import stretches_of
from clipsieve.store import ExternalEmbeddings, Run, find_embeddings

MODEL = "somebody/a-model-of-theirs"
D = 8


def array(n, seed, dtype=np.float16):
    return np.random.default_rng(seed).standard_normal((n, D)).astype(dtype)


def table(number, n):
    rows = range(n)
    return pa.table(
        {
            "key": [f"{number}-{row}" for row in rows],
            "caption": pa.array(["a\r\nb" if row % 2 else None for row in rows], pa.large_string()),
            "tags": pa.array([["x", None]] * n, pa.list_(pa.string())),
            "kind": pa.array(["one", "two", "one"] * n)[:n].dictionary_encode(),
            "size": pa.array(rows, pa.uint16()),
        },
        metadata={"made by": "a test"},
    )


def write(folder, counts, *, dtype=np.float16, arrays="img_emb", metadata="metadata", **options):
    for name in (arrays, metadata):
        (folder / (name or "")).mkdir(parents=True, exist_ok=True)
    for number, n in enumerate(counts):
        np.save(folder / arrays / f"img_emb_{number}.npy", array(n, number, dtype))
        if metadata is not None:
            pq.write_table(table(number, n), folder / metadata / f"metadata_{number}.parquet", **options)
    return folder


def external(folder, part_size=3, **columns):
    return ExternalEmbeddings(find_embeddings(folder), part_size, columns)


def export(found, codes, places):
    """Write as an export does: `codes` has a list for each array with rows."""
    writer, shards = EmbeddingsWriter(found), plan_embeddings(found)
    made = []
    for stretch, chosen in zip(stretches_of(shards, [writer.unit_of(s) for s in shards]), codes, strict=True):
        ids = [name for shard in stretch.shards for name in found.read_part(shard.index)["image_id"].to_pylist()]
        unit = Unit(stretch.name, stretch.shards, ids, [None] * len(ids), np.array(chosen, dtype=np.uint8))
        made.append(writer.write(unit, places))
    return [*made, *writer.finish(places)]


def place(folder):
    return {Decision.KEEP: Destination(str(folder))}


def without_dictionaries(found):
    """Return the same cells; a dictionary need not be the whole one that it was cut down from."""
    place = found.column_names.index("kind")
    return found.set_column(place, "kind", found.column("kind").cast(pa.string()))


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_plan_is_that_of_the_parts(tmp_path):
    found = external(write(tmp_path / "laion", [7, 0, 2]))
    shards = plan_embeddings(found)
    assert [(shard.index, *shard.members, shard.n_images) for shard in shards] == [
        (0, "img_emb_0.npy", "0", "3", 3),
        (1, "img_emb_0.npy", "3", "6", 3),
        (2, "img_emb_0.npy", "6", "7", 1),
        (3, "img_emb_2.npy", "0", "2", 2),
    ]
    for shard in shards:
        assert found.read_part(shard.index).schema.metadata[b"clipsieve.inputs"].decode() == shard.fingerprint


@pytest.mark.parametrize(("dtype", "block_bytes"), [(np.float16, 1), (np.float32, 100), (np.float16, 10**6)])
def test_numpy_reads_the_rows_that_were_chosen(tmp_path, monkeypatch, dtype, block_bytes):
    monkeypatch.setattr(embeddings, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(embeddings, "BATCH_ROWS", 2)
    laion = write(tmp_path / "laion", [9, 4], dtype=dtype, row_group_size=5)
    odd = np.load(laion / "img_emb/img_emb_1.npy")
    odd.view(np.uint8)[0] = 0xFF  # no number; its bits are to stay as they are
    np.save(laion / "img_emb/img_emb_1.npy", odd)
    codes = [[0, 1, 2, 0, 0, 2, 0, 0, 1], [0, 2, 2, 2]]
    places = {decision: Destination(str(tmp_path / decision.name)) for decision in Decision}
    written = export(external(laion), codes, places)
    for decision in Decision:
        for number, chosen in enumerate(codes):
            rows = np.flatnonzero(np.array(chosen) == decision)
            path = tmp_path / decision.name / f"img_emb/img_emb_{number}.npy"
            assert path.exists() == bool(len(rows))
            if len(rows):
                found, original = np.load(path), np.load(laion / f"img_emb/img_emb_{number}.npy")
                assert (found.dtype, found.tobytes()) == (original.dtype, original[rows].tobytes())
                assert path.read_bytes()[:8] == b"\x93NUMPY\x01\x00"
                metadata = pq.read_table(tmp_path / decision.name / f"metadata/metadata_{number}.parquet")
                assert without_dictionaries(metadata) == without_dictionaries(table(number, len(original)).take(rows))
                assert metadata.schema == table(number, 1).schema
    files = [content for decision in Decision for content in tree(tmp_path / decision.name).values()]
    assert sum(each.n_files for each in written) == len(files)
    assert sum(each.n_bytes for each in written) == sum(map(len, files))
    assert written[1].places == dict.fromkeys(range(4), "img_emb/img_emb_1.npy")


@pytest.mark.parametrize("codec", ["NONE", {"caption": "brotli", "size": "zstd"}])
def test_metadata_keeps_schema_and_compression(tmp_path, codec):
    frame = pd.DataFrame({"key": list("abcdef"), "when": pd.to_datetime(["2020-01-01"] * 6, utc=True)})
    laion = write(tmp_path / "laion", [6])
    for metadata in (table(0, 6), pa.Table.from_pandas(frame.set_index("key")), pa.Table.from_pandas(frame)):
        nested = {"use_compliant_nested_type": codec == "NONE"}  # both ways to name what is in a list
        pq.write_table(metadata, laion / "metadata/metadata_0.parquet", compression=codec, **nested)
        kept = tmp_path / f"kept {metadata.num_columns} {metadata.schema.names[0]}"
        export(external(laion), [[0, 0, 2, 0, 2, 0]], place(kept))
        one, two = (pq.ParquetFile(folder / "metadata/metadata_0.parquet") for folder in (laion, kept))
        assert one.schema_arrow.equals(two.schema_arrow, check_metadata=True)
        assert one.schema.equals(two.schema)
        theirs, ours = (each.metadata.row_group(0) for each in (one, two))
        codecs = [[each.column(i).compression for i in range(each.num_columns)] for each in (theirs, ours)]
        assert codecs[0] == codecs[1]
        expected = metadata.to_pandas().iloc[[0, 1, 3, 5]]
        found = pd.read_parquet(kept / "metadata/metadata_0.parquet")
        if expected.index.name is None:  # numbers of rows
            expected = expected.reset_index(drop=True)
        pd.testing.assert_frame_equal(found, expected)


def test_embedding_reader_joins_what_is_left_with_its_own_metadata(tmp_path):
    laion = write(tmp_path / "laion", [4, 3, 0, 5])
    export(external(laion), [[0, 2, 0, 0], [2, 2, 2], [2, 0, 0, 2, 0]], place(tmp_path / "kept"))
    reader = EmbeddingReader(
        embeddings_folder=str(tmp_path / "kept/img_emb"),
        metadata_folder=str(tmp_path / "kept/metadata"),
        meta_columns=["key", "size"],
        file_format="parquet_npy",
    )
    batches = list(reader(batch_size=4, show_progress=False))
    assert [key for _, metadata in batches for key in metadata["key"]] == ["0-0", "0-2", "0-3", "3-1", "3-2", "3-4"]
    expected = np.concatenate([array(4, 0)[[0, 2, 3]], array(5, 3)[[1, 2, 4]]]).astype(np.float32)
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in batches]), expected)


def test_what_was_exported_is_a_run_again_with_the_same_rows_for_the_same_ids(tmp_path):
    laion = write(tmp_path / "laion", [4, 3])
    export(external(laion), [[0, 2, 0, 2], [2, 0, 0]], place(tmp_path / "kept"))
    rows = []
    for name, folder in (("before", laion), ("after", tmp_path / "kept")):
        adopt_embeddings(folder, tmp_path / name, model=MODEL, columns={"id": "key"})
        parts = Run.open(tmp_path / name).iter_images(["image_id", "caption", "embedding"])
        rows.append({row["image_id"]: row for part in parts for row in part.to_pylist()})
    assert rows[1] == {key: rows[0][key] for key in ("0-0", "0-2", "1-1", "1-2")}


def test_arrays_alone_keep_their_names_and_may_have_no_rows(tmp_path):
    (tmp_path / "alone").mkdir()
    np.save(tmp_path / "alone/vectors.npy", array(3, 0))
    np.save(tmp_path / "alone/more-2.npy", array(0, 0))
    np.save(tmp_path / "alone/more-3.npy", array(2, 1))
    found = external(tmp_path / "alone")
    places = {decision: Destination(str(tmp_path / decision.name)) for decision in Decision}
    export(found, [[0, 2, 0], [2, 2]], places)
    kept = {path.name: np.load(path) for path in (tmp_path / "KEEP").iterdir()}
    assert {name: rows.shape for name, rows in kept.items()} == {
        "vectors.npy": (2, D),
        "more-2.npy": (0, D),
        "more-3.npy": (0, D),
    }
    assert {str(path) for path in tree(tmp_path / "REMOVE")} == {"vectors.npy", "more-3.npy"}
    assert not (tmp_path / "REVIEW").exists()
    reader = EmbeddingReader(embeddings_folder=str(tmp_path / "KEEP"), file_format="npy")
    ((rows, _),) = reader(batch_size=10, show_progress=False)
    np.testing.assert_array_equal(rows, array(3, 0)[[0, 2]].astype(np.float32))
    assert [file.n_rows for file in find_embeddings(tmp_path / "KEEP")] == [2, 0, 0]


@pytest.mark.parametrize("arrays", ["", "img_emb"])
@pytest.mark.parametrize("metadata", ["", "metadata"])
def test_metadata_always_lies_apart_from_the_list_of_what_was_exported(tmp_path, arrays, metadata):
    source = write(tmp_path / "source", [3, 3], arrays=arrays, metadata=metadata)
    kept = tmp_path / "kept"
    export(external(source), [[0, 0, 2], [0, 2, 2]], place(kept))
    folder = f"{arrays}/" if arrays else ""
    assert set(tree(kept)) == {
        f"{folder}img_emb_0.npy",
        f"{folder}img_emb_1.npy",
        "metadata/metadata_0.parquet",
        "metadata/metadata_1.parquet",
    }
    pq.write_table(table(0, 1), kept / "manifest.parquet")
    assert [(file.n_rows, bool(file.metadata)) for file in find_embeddings(kept)] == [(2, True), (1, True)]


@pytest.mark.slow
def test_what_was_interrupted_goes_on_and_writes_nothing_twice(tmp_path):
    found, codes = external(write(tmp_path / "laion", [4, 3])), [[0, 2, 0, 0], [0, 2, 0]]
    export(found, codes, place(tmp_path / "whole"))
    whole = tree(tmp_path / "whole")
    for number, lost in enumerate(whole):
        for name, content in whole.items():
            (tmp_path / f"{number}/{name}").parent.mkdir(parents=True, exist_ok=True)
            if name != lost:
                (tmp_path / f"{number}/{name}").write_bytes(content)
        before = {name: (tmp_path / f"{number}/{name}").stat().st_ino for name in whole if name != lost}
        export(found, codes, place(tmp_path / str(number)))
        assert tree(tmp_path / str(number)) == whole
        assert {name: (tmp_path / f"{number}/{name}").stat().st_ino for name in before} == before


@pytest.mark.parametrize("changed", ["img_emb/img_emb_0.npy", "metadata/metadata_0.parquet"])
def test_files_that_changed_since_the_scan_are_refused(tmp_path, changed):
    laion = write(tmp_path / "laion", [4])
    found = external(laion)
    os.utime(laion / changed, ns=(1, 1))
    with pytest.raises(SourceError, match="or its metadata is not what was scanned"):
        EmbeddingsWriter(found).write(
            Unit("img_emb_0.npy", (), [""] * 4, [None] * 4, np.zeros(4, dtype=np.uint8)), place(tmp_path / "kept")
        )
    assert not (tmp_path / "kept").exists()


def test_damaged_metadata_ends_it_with_the_name_and_no_half_file(tmp_path):
    laion = write(tmp_path / "laion", [4])
    path = laion / "metadata/metadata_0.parquet"
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)
    found = external(laion)
    unit = Unit("img_emb_0.npy", (), [""] * 4, [None] * 4, np.zeros(4, dtype=np.uint8))
    with pytest.raises(SourceError, match=r"cannot read .*metadata_0\.parquet"):
        EmbeddingsWriter(found).write(unit, place(tmp_path / "kept"))
    assert set(tree(tmp_path / "kept")) == {"img_emb/img_emb_0.npy"}


def test_a_place_behind_a_url(tmp_path):
    export(external(write(tmp_path / "laion", [4])), [[0, 2, 2, 0]], {Decision.KEEP: Destination("memory://vectors/a")})
    files = fsspec.filesystem("memory")
    with files.open("/vectors/a/img_emb/img_emb_0.npy") as file:
        np.testing.assert_array_equal(np.load(file), array(4, 0)[[0, 3]])
    with files.open("/vectors/a/metadata/metadata_0.parquet") as file:
        assert without_dictionaries(pq.read_table(file)) == without_dictionaries(table(0, 4).take([0, 3]))


def test_metadata_holds_nothing_of_the_rows_that_were_removed_and_is_written_alike(tmp_path):
    laion = write(tmp_path / "laion", [8])
    texts = [f"secret {row} of the removed" for row in range(8)]
    words = pa.array(texts).dictionary_encode()
    metadata = pa.table({
        "key": [str(row) for row in range(8)],
        "word": words,
        "words": pa.ListArray.from_arrays(pa.array(range(9), pa.int32()), words),
        "view": pa.array(texts, pa.string_view()),
        "when": pa.array(range(8), pa.timestamp("ns")),
    })  # fmt: skip
    options = {"use_dictionary": ["word", "words.list.element"], "use_deprecated_int96_timestamps": True}
    pq.write_table(metadata, laion / "metadata/metadata_0.parquet", compression="none", row_group_size=5, **options)
    export(external(laion), [[0, 2, 0, 0, 2, 2, 0, 2]], place(tmp_path / "kept"))
    path = tmp_path / "kept/metadata/metadata_0.parquet"
    rows = [0, 2, 3, 6]
    assert pq.read_table(path).column("view").to_pylist() == [texts[row] for row in rows]
    assert pq.read_table(path).column("words").to_pylist() == [[texts[row]] for row in rows]
    assert [text.encode() in path.read_bytes() for text in texts] == [row in rows for row in range(8)]
    one, two = (pq.ParquetFile(each) for each in (laion / "metadata/metadata_0.parquet", path))
    assert one.schema.equals(two.schema)  # of Parquet, so that INT96 stays
    assert [two.metadata.row_group(group).num_rows for group in range(2)] == [3, 1]
    coded = [
        ["RLE_DICTIONARY" in each.metadata.row_group(0).column(number).encodings for number in range(5)]
        for each in (one, two)
    ]
    assert coded == [[False, True, True, False, False]] * 2
