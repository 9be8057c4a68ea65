"""What is written is opened by the real `datasets`, and equals what that library itself makes of the same choice of rows."""

import hashlib
import json

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from datasets import Array2D, ClassLabel, Dataset, DatasetDict, Features, Image, List, Value, load_from_disk

from clipsieve.errors import ExportError, SourceError
from clipsieve.evaluation.operating_points import Decision
from clipsieve.outputs.export import saved_split
from clipsieve.outputs.export.base import Unit
from clipsieve.outputs.export.destination import Destination
from clipsieve.outputs.export.huggingface import HuggingFaceWriter
from clipsieve.outputs.export.originals import stretches_of
from clipsieve.sources import Columns, HuggingFaceSource
from image_files import png

KEEP, REVIEW, REMOVE = (np.uint8(decision) for decision in Decision)
FEATURES = Features(
    {
        "zebra": Value("string"),
        "image": Image(),
        "label": ClassLabel(names=["cat", "dog"]),
        "boxes": List({"x": Value("int16"), "name": Value("large_string")}),
        "grid": Array2D((2, 2), "float32"),
        "thumbs": List(Image()),
    }
)


def dataset(first=0, last=10):
    rows = [
        {
            "zebra": None if index % 3 == 0 else f"{index}\r\n\u202e\U0001f600",
            "image": {"bytes": png(index), "path": f"folder/{index}.png" if index % 2 else None},
            "label": index % 2,
            "boxes": [{"x": index, "name": "n"}] * (index % 3),
            "grid": [[index, 0.5], [1, 2]],
            "thumbs": [{"bytes": png(index + 100), "path": None}],
        }
        for index in range(first, last)
    ]
    made = Dataset.from_list(rows, features=FEATURES)
    made.info.description = "drawn shapes"
    return made


def opened(made, path, **options):
    made.save_to_disk(path)
    return HuggingFaceSource(str(path), **options)


def units(source, codes, part_size=3):
    """Return what the writer gets: the splits of a plan, with hashes as a scan finds them."""
    shards = source.plan(part_size).shards
    writer = HuggingFaceWriter(source)
    for stretch in stretches_of(shards, [writer.unit_of(shard) for shard in shards]):
        refs = [ref for shard in stretch.shards for ref in source.read(shard)]
        digests = [hashlib.sha256(ref.content).hexdigest() if isinstance(ref.content, bytes) else None for ref in refs]
        found = np.array(codes[stretch.name], dtype=np.uint8)
        yield Unit(stretch.name, stretch.shards, [ref.image_id for ref in refs], digests, found)


def export(source, codes, places):
    writer = HuggingFaceWriter(source)
    written = [writer.write(unit, places) for unit in units(source, codes)]
    return [*written, *writer.finish(places)]


def places_in(folder):
    return {decision: Destination(str(folder / decision.name)) for decision in Decision}


def same(ours, theirs):
    """Assert that two data sets have the same cells, types, names and texts."""
    one, two = (found.with_format("arrow")[:] for found in (ours, theirs))
    assert ours.features == theirs.features
    assert list(ours.features) == list(theirs.features)
    assert ours.info.description == theirs.info.description
    assert str(ours.split) == str(theirs.split)
    assert one.schema.equals(two.schema, check_metadata=True)
    assert one.combine_chunks() == two.combine_chunks()


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("file_bytes", [400, 10**9])
def test_splits_hold_the_rows_that_the_library_chooses_itself(tmp_path, monkeypatch, file_bytes):
    monkeypatch.setattr(saved_split, "FILE_BYTES", file_bytes)
    made = DatasetDict(train=dataset(0, 10), empty=dataset(0, 3).select([]), test=dataset(10, 14), last=dataset(20, 22))
    # The library cannot open a split without rows that it wrote, so its file is made here.
    made.save_to_disk(tmp_path / "source")
    state = json.loads((tmp_path / "source/empty/state.json").read_text())
    state["_data_files"] = [{"filename": "nothing.arrow"}]
    (tmp_path / "source/empty/state.json").write_text(json.dumps(state))
    with pa.OSFile(str(tmp_path / "source/empty/nothing.arrow"), "wb") as file:
        pa.ipc.new_stream(file, made["train"].data.schema).close()
    codes = {"train": [0, 1, 2, 0, 0, 2, 0, 0, 1, 0], "test": [1, 1, 1, 1], "last": [0, 0]}
    export(HuggingFaceSource(str(tmp_path / "source")), codes, places_in(tmp_path))

    kept, review, removed = (load_from_disk(tmp_path / decision.name) for decision in Decision)
    assert (list(kept), list(review), list(removed)) == (list(made), ["train", "test"], ["train"])
    original = load_from_disk(tmp_path / "source")
    for code, found in enumerate([kept, review, removed]):
        for split, rows in found.items():
            same(rows, original[split].select(np.flatnonzero(np.array(codes.get(split, [])) == code)))
    n_files = len(list((tmp_path / "KEEP/train").glob("*.arrow")))
    assert n_files == (1 if file_bytes == 10**9 else 4)
    assert kept["train"].features["label"].names == ["cat", "dog"]
    assert [image.size for image in kept["last"]["image"]] == [(6, 6)] * 2


def test_a_data_set_without_splits_stays_one(tmp_path):
    source = opened(dataset(), tmp_path / "source")
    (written,) = export(source, {"all": [0] * 9 + [2]}, places_in(tmp_path))
    found = [load_from_disk(tmp_path / decision.name) for decision in Decision]
    assert all(isinstance(each, Dataset) for each in found)
    original = load_from_disk(tmp_path / "source")
    for each, rows in zip(found, (range(9), [], [9]), strict=True):
        same(each, original.select(rows))
    assert written.places == dict.fromkeys(range(10), "data-00000-of-00001.arrow")
    files = [path for decision in Decision for path in (tmp_path / decision.name).iterdir()]
    assert (written.n_files, written.n_bytes) == (len(files), sum(path.stat().st_size for path in files))
    assert len({each._fingerprint for each in found}) == 3  # caches of one must not pass for those of another


def test_columns_that_a_format_hides_are_written_and_the_format_stays(tmp_path):
    source = opened(dataset().with_format("numpy", columns=["label"]), tmp_path / "source")
    export(source, {"all": [0] * 5 + [2] * 5}, {Decision.KEEP: Destination(str(tmp_path / "kept"))})
    found = load_from_disk(tmp_path / "kept")
    assert found.format["type"] == "numpy"
    assert found.format["columns"] == ["label"]
    same(found.with_format(None), load_from_disk(tmp_path / "source").with_format(None).select(range(5)))


def test_rows_far_apart_are_found(tmp_path):
    rows = [{"image": {"bytes": png(index), "path": None}} for index in range(400)]
    made = Dataset.from_list(rows, features=Features({"image": Image()}))
    source = opened(made, tmp_path / "source")
    codes = np.full(400, REMOVE)
    chosen = [0, *range(100, 140), *range(141, 399, 7), 399]
    codes[chosen] = KEEP
    export(source, {"all": codes}, {Decision.KEEP: Destination(str(tmp_path / "kept"))})
    same(load_from_disk(tmp_path / "kept"), made.select(chosen))


def test_files_that_cells_name_go_into_them_unless_they_are_strangers(tmp_path):
    (tmp_path / "deep").mkdir()
    for index in range(3):
        (tmp_path / f"deep/{index}.png").write_bytes(png(index))
    names = [str(tmp_path / f"deep/{index}.png") for index in range(3)] + ["ftp://example.org/4.png", None]
    features = Features({"image": Image(), "name": Value("string")})
    made = Dataset.from_dict({"image": names, "name": list("abcde")}, features=features)
    # Written as it is: `save_to_disk` would embed the files.
    saved_by_hand(made, tmp_path / "source")
    source = HuggingFaceSource(str(tmp_path / "source"))
    (unit,) = units(source, {"all": [0, 2, 0, 0, 0]})
    assert unit.sha256[3:] == [None, None]
    HuggingFaceWriter(source).write(unit, {Decision.KEEP: Destination(str(tmp_path / "kept"))})
    (tmp_path / "deep/2.png").unlink()  # the result does not need them
    assert load_from_disk(tmp_path / "kept").with_format("arrow")[:]["image"].to_pylist() == [
        {"bytes": png(0), "path": "0.png"},
        {"bytes": png(2), "path": "2.png"},
        {"bytes": None, "path": names[3]},
        None,
    ]
    with pytest.raises(SourceError, match=r"`all:2` of .* has changed since it was scanned") as caught:
        HuggingFaceWriter(source).write(unit, {Decision.KEEP: Destination(str(tmp_path / "late"))})
    assert caught.value.found == "listed, but not there when it was read"
    assert not tree(tmp_path / "late")

    names = [str(tmp_path / "deep/0.png"), "beside.png", "../deep/0.png", "ftp://example.org/4.png", None]
    made = Dataset.from_dict({"image": names}, features=Features({"image": Image()}))
    saved_by_hand(made, tmp_path / "theirs")
    (tmp_path / "theirs/beside.png").write_bytes(png(7))
    fsspec.filesystem("memory").put(str(tmp_path / "theirs"), "/strangers", recursive=True)
    source = HuggingFaceSource("memory://strangers")
    (unit,) = units(source, {"all": [0] * 5})
    HuggingFaceWriter(source).write(unit, {Decision.KEEP: Destination(str(tmp_path / "strange"))})
    cells = load_from_disk(tmp_path / "strange").with_format("arrow")[:]["image"].to_pylist()
    assert [cell and cell["bytes"] for cell in cells] == [None, png(7), None, None, None]
    assert [cell and cell["path"] for cell in cells] == names


def saved_by_hand(made, path):
    made.select([]).save_to_disk(path)
    state = json.loads((path / "state.json").read_text()) | {"_data_files": [{"filename": "a.arrow"}]}
    (path / "state.json").write_text(json.dumps(state))
    with pa.OSFile(str(path / "a.arrow"), "wb") as file, pa.ipc.new_stream(file, made.data.schema) as stream:
        stream.write_table(made.data.table)


def test_columns_of_bytes_and_of_paths_are_images_too(tmp_path):
    (tmp_path / "0.png").write_bytes(png(0))
    rows = {"raw": [png(0), png(1), None], "path": [str(tmp_path / "0.png"), "gone.png", None]}
    features = Features({"raw": Value("large_binary"), "path": Value("string")})
    made = Dataset.from_dict(rows, features=features)
    made.save_to_disk(tmp_path / "source")
    for column in ("raw", "path"):
        source = HuggingFaceSource(str(tmp_path / "source"), Columns(image=column))
        export(source, {"all": [0, 0, 0]}, {Decision.KEEP: Destination(str(tmp_path / column))})
        same(load_from_disk(tmp_path / column), made)


def test_an_image_that_is_not_what_was_scanned_ends_it_and_leaves_no_half_split(tmp_path):
    source = opened(DatasetDict(a=dataset(0, 4), b=dataset(4, 8)), tmp_path / "source")
    first, second = units(source, {"a": [0] * 4, "b": [0] * 4})
    second.sha256[2] = "0" * 64
    places, writer = {Decision.KEEP: Destination(str(tmp_path / "kept"))}, HuggingFaceWriter(source)
    writer.write(first, places)
    with pytest.raises(SourceError, match=r"the image `b:2` of .* has changed since it was scanned"):
        writer.write(second, places)
    assert {path.parts[0] for path in tree(tmp_path / "kept")} == {"a"}
    with pytest.raises(FileNotFoundError):
        load_from_disk(tmp_path / "kept")

    fewer = Unit("a", first.shards, first.image_ids[:3], first.sha256[:3], first.codes[:3])
    with pytest.raises(SourceError, match=r"the split `a` of .* is not what was scanned"):
        writer.write(fewer, places)


@pytest.mark.slow
def test_what_was_interrupted_goes_on_and_gives_the_same_files(tmp_path, monkeypatch):
    monkeypatch.setattr(saved_split, "FILE_BYTES", 400)
    source = opened(dataset(), tmp_path / "source")
    codes = {"all": [0, 2] * 5}
    export(source, codes, {Decision.KEEP: Destination(str(tmp_path / "whole"))})
    whole = tree(tmp_path / "whole")
    assert len(whole) > 4
    for number, lost in enumerate(sorted(whole)):
        place = tmp_path / str(number)
        place.mkdir()
        for name, content in whole.items():
            if name != lost:
                (place / name).write_bytes(content)
        times = {path: path.stat().st_mtime_ns for path in place.iterdir() if path.suffix == ".arrow"}
        export(source, codes, {Decision.KEEP: Destination(str(place))})
        assert tree(place) == whole
        assert {path: path.stat().st_mtime_ns for path in times} == times  # nothing was written twice


def test_the_state_is_written_last(tmp_path):
    source = opened(dataset(), tmp_path / "source")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/dataset_info.json").mkdir()  # which then cannot be written
    with pytest.raises(ExportError, match=r"dataset_info\.json"):
        export(source, {"all": [0] * 10}, {Decision.KEEP: Destination(str(tmp_path / "kept"))})
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "data-00000-of-00001.arrow",
        "dataset_info.json",
    ]


@pytest.mark.slow
def test_a_place_behind_a_url(tmp_path):
    source = opened(DatasetDict(train=dataset(0, 4), test=dataset(4, 8)), tmp_path / "source")
    export(source, {"train": [0, 2, 0, 0], "test": [2] * 4}, {Decision.KEEP: Destination("memory://kept/here")})
    fsspec.filesystem("memory").get("/kept/here", str(tmp_path / "fetched"), recursive=True)
    found = load_from_disk(tmp_path / "fetched")
    same(found["train"], load_from_disk(tmp_path / "source")["train"].select([0, 2, 3]))
    assert len(found["test"]) == 0


def test_what_was_exported_is_a_source_again(tmp_path):
    source = opened(DatasetDict(train=dataset(0, 6)), tmp_path / "source")
    export(source, {"train": [0, 2, 0, 2, 0, 0]}, {Decision.KEEP: Destination(str(tmp_path / "kept"))})
    again = HuggingFaceSource(str(tmp_path / "kept"))
    refs = [ref for shard in again.plan(3).shards for ref in again.read(shard)]
    assert [ref.content for ref in refs] == [png(index) for index in (0, 2, 4, 5)]


def test_other_columns_with_images_are_told(tmp_path):
    (words,) = HuggingFaceWriter(opened(dataset(), tmp_path / "source")).warnings()
    assert words.startswith("other columns hold images or files too, which were not scanned: `thumbs`.")
    plain = dataset().remove_columns("thumbs").with_format("numpy", columns=["label"])
    assert HuggingFaceWriter(opened(plain, tmp_path / "plain")).warnings() == ()
    raw = Dataset.from_dict({"image": [png(1)], "mask": [png(2)], "other": [b"numbers"]})
    source = opened(DatasetDict(a=raw.remove_columns("mask"), b=raw), tmp_path / "raw")
    (words,) = HuggingFaceWriter(source).warnings()
    assert "not scanned: `mask`." in words
