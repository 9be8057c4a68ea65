"""Folders and files that the real `datasets` library writes: splits, shards, class names, images as bytes and as paths."""

import json
import pickle

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value

from clipsieve.engines import LocalEngine, scan
from clipsieve.errors import SourceError, UsageError
from clipsieve.sources import Columns, open_source
from clipsieve.types import Failure, FailureCode
from image_files import png
from tiny_encoder import TinyEncoder

FEATURES = Features({"image": Image(), "label": ClassLabel(names=["cat", "dog"]), "key": Value("string")})


def dataset(first=0, last=10):
    rows = [
        {"image": {"bytes": png(index), "path": None}, "label": index % 2, "key": f"k{index}"}
        for index in range(first, last)
    ]
    return Dataset.from_list(rows, features=FEATURES)


def read(location, part_size=3, **options):
    source = open_source(location, **options)
    return [ref for shard in source.plan(part_size).shards for ref in source.read(shard)]


@pytest.mark.parametrize("num_shards", [1, 3, 10])
@pytest.mark.parametrize("part_size", [1, 4, 100])
def test_a_saved_data_set_of_any_number_of_shards(tmp_path, num_shards, part_size):
    dataset().save_to_disk(tmp_path / "d", num_shards=num_shards)
    refs = read(tmp_path / "d", part_size)
    assert [ref.content for ref in refs] == [png(index) for index in range(10)]
    assert [ref.label for ref in refs] == ["cat", "dog"] * 5


def test_every_split_is_read(tmp_path):
    DatasetDict(train=dataset(0, 4), test=dataset(4, 6)).save_to_disk(tmp_path / "d")
    refs = read(tmp_path / "d", columns=Columns(caption="key"))
    assert [ref.image_id for ref in refs] == ["train:0", "train:1", "train:2", "train:3", "test:0", "test:1"]
    assert [ref.caption for ref in refs] == [f"k{index}" for index in range(6)]


def test_rows_that_were_chosen_and_shuffled_before_saving(tmp_path):
    dataset().select([7, 2, 5]).save_to_disk(tmp_path / "d")
    assert [ref.content for ref in read(tmp_path / "d", 2)] == [png(7), png(2), png(5)]


def test_images_by_path_and_missing_ones(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1))
    Dataset.from_dict({"image": [str(tmp_path / "a.png"), None]}, features=Features({"image": Image()})).save_to_disk(
        tmp_path / "d"
    )
    present, missing = read(tmp_path / "d")
    assert present.content == png(1)
    assert isinstance(missing.content, Failure)
    assert missing.content.code is FailureCode.NOT_FOUND


def test_parquet_that_datasets_wrote_is_a_table_with_class_names(tmp_path):
    dataset().to_parquet(str(tmp_path / "train.parquet"))
    source = open_source(tmp_path / "train.parquet")
    refs = [ref for shard in source.plan(4).shards for ref in source.read(shard)]
    assert source.kind == "table"
    assert [(ref.content, ref.label) for ref in refs] == [(png(i), ["cat", "dog"][i % 2]) for i in range(10)]


def test_ids_are_unique_across_splits_or_refused(tmp_path):
    DatasetDict(a=dataset(0, 3), b=dataset(3, 5)).save_to_disk(tmp_path / "good")
    assert [ref.image_id for ref in read(tmp_path / "good", columns=Columns(id="key"))] == [f"k{i}" for i in range(5)]
    DatasetDict(a=dataset(0, 3), b=dataset(1, 2)).save_to_disk(tmp_path / "bad")
    with pytest.raises(UsageError) as caught:
        read(tmp_path / "bad", columns=Columns(id="key"))
    assert caught.value.found == "`k1` again in row 0 of `b`"


def test_a_copy_reads_any_shard(tmp_path):
    dataset().save_to_disk(tmp_path / "d", num_shards=3)
    source = open_source(tmp_path / "d")
    shards = source.plan(4).shards
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301
    assert list(copy.read(shards[2])) == list(source.read(shards[2]))


def test_splits_of_other_columns_do_not_end_in_a_traceback(tmp_path):
    other = Dataset.from_dict({"words": ["a", "b"]})
    DatasetDict(train=dataset(0, 2)).save_to_disk(tmp_path / "d")
    other.save_to_disk(tmp_path / "d" / "words")
    (tmp_path / "d" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "words"]}))
    with pytest.raises((SourceError, UsageError)):
        read(tmp_path / "d")


@pytest.mark.parametrize("damage", ["state.json", "dataset_info.json", "data-00000-of-00001.arrow"])
def test_a_damaged_folder_is_an_error_in_words(tmp_path, damage):
    dataset().save_to_disk(tmp_path / "d")
    (tmp_path / "d" / damage).write_text("{nonsense")
    with pytest.raises(SourceError, match="cannot open the data set"):
        open_source(tmp_path / "d")


def test_a_scan_accounts_for_every_row(tmp_path):
    rows = [{"bytes": png(1), "path": None}, None, {"bytes": b"no image", "path": None}]
    Dataset.from_dict({"image": rows}, features=Features({"image": Image()})).save_to_disk(tmp_path / "d")
    report = scan(open_source(tmp_path / "d"), tmp_path / "run", TinyEncoder(), engine=LocalEngine(workers=1))
    assert (report.n_listed, report.n_scanned, report.n_failed) == (3, 1, 2)
