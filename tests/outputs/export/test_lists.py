"""Lists are read by other libraries' readers, and by what DataComp's and torchvision's readers do with them."""

import csv
import hashlib
import json
import os
from pathlib import Path
from urllib.parse import quote

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.errors import UsageError
from clipsieve.outputs.export.destination import Destination
from clipsieve.outputs.export.lists import LIST_SCHEMA, write_list
from clipsieve.sources import FolderSource
from clipsieve.sources.names import escape_name
from image_files import png

ODD = [
    "plain",
    "=1+1",
    '"',
    "a\rb",
    "a\r\nb\n",
    ",;\t",
    " ",
    "\u202e\U0001f600",
    "'",
    "<b>",
    "x" * 10_000,
    "\ufeff",
    "\\N",
]
UIDS = ["139e4a9b22a614771f06c700a8ebe150", "6e356964a967af455c8016b75d691203", "0" * 31 + "7", "f" * 32]


def table(ids, *, labels=None, metadata=None, uris=None):
    n = len(ids)
    columns = {
        "image_id": pa.array(ids, pa.string()),
        "uri": pa.array(uris or [f"file:///photos/{quote(name)}" for name in ids], pa.string()),
        "sha256": pa.array([hashlib.sha256(name.encode()).hexdigest() for name in ids], pa.string()),
        "probability": pa.array(np.random.default_rng(n).random(n).astype(np.float32), mask=np.arange(n) % 3 == 1),
        "decision": pa.array(["keep"] * n, pa.string()),
        "reason": pa.array(["not flagged"] * n, pa.string()),
        "decided_by": pa.array(["machine" if row % 2 else None for row in range(n)], pa.string()),
        "label": pa.array(labels or [None] * n, pa.string()),
        "caption": pa.array([None if row % 4 == 2 else name for row, name in enumerate(ids)], pa.string()),
        "metadata": pa.array(metadata or [None] * n, pa.string()),
    }
    return pa.table(columns)


def in_parts(rows):
    return (rows.slice(start, 3) for start in range(0, rows.num_rows, 3))


def write(form, folder, rows, **options):
    written = write_list(form, Destination(str(folder)), in_parts(rows), **options)
    (path,) = folder.iterdir()
    assert (written.n_files, written.n_bytes) == (1, path.stat().st_size)
    return path


def test_csv_gives_back_every_text_in_any_reader(tmp_path):
    rows = table(ODD)
    path = write("csv", tmp_path / "list", rows)
    assert path.name == "images.csv"
    expected = rows.select(LIST_SCHEMA.names).to_pydict()
    with path.open(newline="", encoding="utf-8") as file:
        ours = list(csv.DictReader(file))
    assert list(ours[0]) == LIST_SCHEMA.names
    for name in ("image_id", "uri", "caption", "sha256", "decided_by"):
        texts = ["" if text is None else text for text in expected[name]]
        assert [row[name] for row in ours] == texts
        assert pd.read_csv(path, keep_default_na=False, lineterminator="\n")[name].to_list() == texts
        assert pl.read_csv(path, infer_schema=False)[name].to_list() == expected[name]  # nulls are no empty texts
        theirs = duckdb.read_csv(str(path), all_varchar=True, quotechar='"').project(name)
        assert [text for (text,) in theirs.fetchall()] == expected[name]
    numbers = [np.float32(row["probability"]) if row["probability"] else None for row in ours]
    assert numbers == expected["probability"]


def test_parquet_keeps_types_and_joins_the_parts_into_large_groups(tmp_path):
    rows = table(ODD * 20)
    path = write("parquet", tmp_path / "list", rows)
    assert pq.read_table(path) == rows.select(LIST_SCHEMA.names).cast(LIST_SCHEMA)
    assert pq.read_schema(path).equals(LIST_SCHEMA)
    assert pq.ParquetFile(path).num_row_groups == 1
    assert pl.read_parquet(path)["image_id"].to_list() == ODD * 20


@pytest.mark.parametrize("form", ["csv", "parquet", "datacomp", "torchvision"])
def test_lists_may_be_empty(tmp_path, form):
    for rows in ([], [table([])]):
        written = write_list(form, Destination(str(tmp_path / f"{len(rows)}")), iter(rows))
        assert written.n_files == 1
    assert len(list(tmp_path.iterdir())) == 2
    path = next((tmp_path / "0").iterdir())
    match form:
        case "csv":
            assert pl.read_csv(path).columns == LIST_SCHEMA.names
        case "parquet":
            assert pq.read_table(path).num_rows == 0
        case "datacomp":
            assert np.load(path).shape == (0,)
        case "torchvision":
            assert json.loads(path.read_text()) == {"classes": [], "class_to_idx": {}, "samples": []}


def times_listed(subset, uid):
    """Return how often a subset has a uid, found as the resharder does: by bisection over pairs of halves."""
    key = np.array([divmod(int(uid, 16), 2**64)], np.dtype("u8,u8"))[0]
    return int(np.searchsorted(subset, key, "right") - np.searchsorted(subset, key, "left"))


def test_datacomp_finds_the_uids_that_are_kept_once_each_and_no_others(tmp_path):
    generator = np.random.default_rng(5)
    uids = [f"{int.from_bytes(generator.bytes(16), 'big'):032x}" for _ in range(500)]
    near = [f"{int(uid, 16) ^ 1:032x}" for uid in uids]  # the same upper half
    kept = uids + near[:250] + UIDS
    rows = table(
        [f"{i:05d}.tar/{i}.jpg" for i in range(len(kept) * 2)], metadata=[json.dumps({"uid": uid}) for uid in kept] * 2
    )
    path = write("datacomp", tmp_path / "list", rows)
    subset = np.load(path, mmap_mode="r", allow_pickle=False)
    assert path.name == "uids.npy"
    assert subset.dtype == np.dtype("u8,u8")
    assert [times_listed(subset, uid) for uid in kept] == [1] * len(kept)
    assert [times_listed(subset, uid) for uid in near[250:]] == [0] * 250
    theirs = np.array([(int(uid[:16], 16), int(uid[16:32], 16)) for uid in kept], np.dtype("u8,u8"))
    theirs.sort()
    assert subset.tolist() == theirs.tolist()


@pytest.mark.parametrize(
    ("image_id", "metadata"),
    [
        ("0.tar/1.jpg", f'{{"uid": "{UIDS[0].upper()}"}}'),
        ("0.tar/1.jpg", f'{{"uid": "{UIDS[2].lstrip("0")}"}}'),
        (UIDS[0], None),
        (f"a/b/{UIDS[0]}.jpg", None),
        (f"a/b/{UIDS[0]}.orig.jpg", "[" * 100_000),
        (f"{UIDS[0]}.jpg", '{"uid": 7}'),
    ],
)
def test_a_uid_is_found_in_metadata_id_or_file_name(tmp_path, image_id, metadata):
    subset = np.load(write("datacomp", tmp_path / "list", table([image_id], metadata=[metadata])))
    assert [times_listed(subset, uid) for uid in (UIDS[0], UIDS[2])] in ([1, 0], [0, 1])


def test_images_without_a_uid_are_refused_before_anything_is_written(tmp_path):
    ids = [UIDS[0], "139e4a9b-22a6-1477-1f06-c700a8ebe150", f"{UIDS[1]}/1.jpg", UIDS[3][:31]]
    with pytest.raises(UsageError, match=r"3 of 4 images have no uid") as caught:
        write_list("datacomp", Destination(str(tmp_path / "list")), [table(ids)])
    assert caught.value.found == f"`{ids[1]}`"
    assert not (tmp_path / "list").exists()


class ImageFolder:
    """The documented behaviour of torchvision's class of that name, as far as its attributes go."""

    def __init__(self, root):
        self.root = root
        self.classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
        self.class_to_idx = {name: number for number, name in enumerate(self.classes)}
        self.samples = []
        for name in self.classes:
            for folder, _, files in sorted(os.walk(Path(root) / name, followlinks=True)):
                self.samples += [(f"{folder}/{file}", self.class_to_idx[name]) for file in sorted(files)]
        self.imgs, self.targets = self.samples, [number for _, number in self.samples]


def rows_of(folder):
    source = FolderSource(folder)
    refs = [ref for shard in source.plan(2).shards for ref in source.read(shard)]
    names, uris, labels = ([getattr(ref, what) for ref in refs] for what in ("image_id", "uri", "label"))
    return table(names, uris=uris, labels=labels)


def test_an_image_folder_with_the_index_has_the_chosen_images_and_no_others(tmp_path):
    names = ["b/1.png", "a/10%25.png", "a/sub/ü \U0001f600.png", "Z/#?&.png", "c/5.png", "a/2.png"]
    for number, name in enumerate(names):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(png(number))
    rows, whole = rows_of(tmp_path / "photos"), ImageFolder(str(tmp_path / "photos"))
    everything = json.loads(write("torchvision", tmp_path / "all", rows).read_text(encoding="utf-8"))
    assert everything["classes"] == whole.classes == ["Z", "a", "b", "c"]
    assert everything["class_to_idx"] == whole.class_to_idx
    assert sorted((f"{whole.root}/{path}", number) for path, number in everything["samples"]) == sorted(whole.samples)

    kept = rows.filter(pa.array([name not in ("a/2.png", "b/1.png") for name in rows["image_id"].to_pylist()]))
    path = write("torchvision", tmp_path / "kept", kept, classes=whole.classes)
    images = ImageFolder(str(tmp_path / "photos"))
    index = json.loads(path.read_text(encoding="utf-8"))
    images.classes, images.class_to_idx = index["classes"], index["class_to_idx"]
    images.samples = images.imgs = [(f"{images.root}/{path}", number) for path, number in index["samples"]]
    images.targets = [number for _, number in images.samples]
    assert images.class_to_idx == whole.class_to_idx
    assert sorted(images.samples) == [
        pair for pair in sorted(whole.samples) if not pair[0].endswith(("2.png", "b/1.png"))
    ]
    assert [path for path, _ in index["samples"]] == ["Z/#?&.png", "a/10%25.png", "a/sub/ü \U0001f600.png", "c/5.png"]
    assert all(Path(path).is_file() for path, _ in images.samples)

    # Without the classes of the source, those of the rows; in whatever order they come.
    backwards = kept.take(list(range(kept.num_rows))[::-1])
    alone = json.loads(write("torchvision", tmp_path / "alone", backwards).read_text(encoding="utf-8"))
    assert alone["classes"] == ["Z", "a", "c"]
    assert [alone["classes"][number] for _, number in alone["samples"]] == ["c", "a", "a", "Z"]


def refusal(rows, tmp_path):
    with pytest.raises(UsageError) as caught:
        write_list("torchvision", Destination(str(tmp_path / "list")), in_parts(rows))
    assert not (tmp_path / "list").exists()
    return caught.value.what, caught.value.found


def test_what_cannot_stand_in_an_index_is_refused_before_anything_is_written(tmp_path):
    ids = ["a/1.png", "2.png", "3.png", "b/4.png", "a/5.png"]
    rows = table(ids, labels=["a", None, None, "b", "a"])
    assert refusal(rows, tmp_path) == ("2 of 5 images have no class", "`2.png`")

    name = escape_name(b"a/caf\xe9.png")
    rows = table(["a/1.png", name], labels=["a", "a"], uris=["file:///p/a/1.png", "file:///p/a/caf%E9.png"])
    assert refusal(rows, tmp_path) == ("1 of 2 images lie in a path that is no UTF-8", "`a/caf\\xe9.png`")

    rows = table(["0.tar/1.png"], labels=["a"], uris=["file:///p/0.tar#1.png"])
    assert refusal(rows, tmp_path) == ("1 of 1 images are no files of a folder", "`0.tar/1.png`")


def test_an_unknown_form_is_named(tmp_path):
    with pytest.raises(UsageError, match="there are no lists of the form `xml`"):
        write_list("xml", Destination(str(tmp_path / "list")), [])
