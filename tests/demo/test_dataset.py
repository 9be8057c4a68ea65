"""The demo data set: what is in it, that it is the same every time, and what it refuses."""

import csv
import hashlib
from collections import Counter

import pytest
from PIL import Image, UnidentifiedImageError

from clipsieve.demo import load_pictograms, write_demo_data
from clipsieve.demo.ratings import COLUMNS
from clipsieve.demo.split import is_reserved, tuning_part
from clipsieve.errors import RunConflictError, UsageError


def digests(directory):
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_rows(data):
    with data.ratings_path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_demo_data(tmp_path_factory.mktemp("demo") / "new", n_images=300, seed=5)


def test_every_image_opens_and_lies_in_its_class_folder(data):
    classes = {p.name: p.class_name for p in load_pictograms()}
    for row in read_rows(data):
        with Image.open(data.directory / row["file"]) as image:
            image.load()
            assert 96 <= min(image.size) <= max(image.size) <= 160
        assert row["file"].split("/")[0] == classes[row["pictograms"].split(" + ")[0]]
        assert row["img_name"] in row["file"]


def test_counts_are_those_on_disk(data):
    folders = [path for path in data.directory.iterdir() if path.is_dir()]
    files = [path for folder in folders for path in folder.iterdir()]
    assert (data.n_images, data.n_broken, data.n_classes) == (300, 3, len(folders))
    assert len(files) == data.n_images + data.n_broken
    assert {path.suffix for path in files} == {".png", ".jpg", ".webp"}


def test_ratings_have_smids_columns_and_range(data):
    rows = read_rows(data)
    assert tuple(rows[0]) == COLUMNS
    assert {"img_name", "moral_mean", "moral_sd", "moral_n", "valence_mean", "arousal_mean"} <= set(COLUMNS)
    assert len({row["img_name"] for row in rows}) == len(rows) == 300
    for row in rows:
        assert 1 <= float(row["valence_mean"]) <= 5
        assert 1 <= float(row["moral_mean"]) <= 5
        assert 20 <= int(row["valence_n"]) <= 40


def test_ratings_follow_the_table(data):
    valence = {p.name: p.valence for p in load_pictograms()}
    for row in read_rows(data):
        names = row["pictograms"].split(" + ")
        assert float(row["valence_mean"]) == pytest.approx(sum(valence[n] for n in names) / len(names), abs=0.6)


def test_the_group_column_tells_whose_affect_was_told(data):
    group = {p.name: p.group for p in load_pictograms()}
    for row in read_rows(data):
        charged = {group[name] for name in row["pictograms"].split(" + ")} - {"N"}
        assert row["group"] == {"": "N", "A": "A", "B": "B", "AB": "mixed"}["".join(sorted(charged))]
    assert {"A", "B", "N"} <= {row["group"] for row in read_rows(data)}


def test_only_compositions_that_training_never_saw(data):
    place = {p.name: i for i, p in enumerate(load_pictograms())}
    sizes = Counter()
    for row in read_rows(data):
        members = tuple(place[name] for name in row["pictograms"].split(" + "))
        sizes[len(members)] += 1
        assert is_reserved(members, row["style"])
    assert set(sizes) == {1, 2, 3}


def test_the_split_column_divides_compositions_and_keeps_pictograms_unseen(data):
    place = {p.name: i for i, p in enumerate(load_pictograms())}
    shown, compositions, parts = {}, {}, Counter()
    for row in read_rows(data):
        names = row["pictograms"].split(" + ")
        assert row["split"] == tuning_part(tuple(place[name] for name in names), row["style"])
        shown.setdefault(row["split"], set()).update(names)
        style = row["style"] if len(names) == 1 else ""
        compositions.setdefault((style, *sorted(names)), set()).add(row["split"])
        parts[row["split"]] += 1
    assert set(parts) == {"train", "test", "unseen"}
    assert not shown["unseen"] & shown["train"]
    assert all(len(found) == 1 for found in compositions.values())
    assert min(parts.values()) > 15


def test_the_broken_files_are_broken_and_not_rated(data):
    broken = {path.name: path for path in data.directory.rglob("broken_*")}
    assert sorted(broken) == ["broken_empty.webp", "broken_text.png", "broken_truncated.jpg"]
    assert broken["broken_empty.webp"].stat().st_size == 0
    with pytest.raises(UnidentifiedImageError):
        Image.open(broken["broken_text.png"])
    with Image.open(broken["broken_truncated.jpg"]) as image, pytest.raises(OSError, match="truncated"):
        image.load()
    assert not any("broken" in row["file"] for row in read_rows(data))


def test_the_same_seed_draws_the_same_bytes(tmp_path):
    first, second, other = (
        write_demo_data(tmp_path / name, n_images=40, seed=seed) for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert digests(first.directory) == digests(second.directory)
    assert digests(first.directory) != digests(other.directory)


def test_more_images_extend_a_smaller_set(tmp_path):
    few, more = (write_demo_data(tmp_path / str(n), n_images=n) for n in (10, 20))
    assert read_rows(few) == read_rows(more)[:10]


def test_an_empty_folder_is_taken(tmp_path):
    assert write_demo_data(tmp_path, n_images=1).n_images == 1


@pytest.mark.parametrize("occupied", ["folder", "file"])
def test_other_files_are_refused_and_kept(tmp_path, occupied):
    target = tmp_path / "target"
    if occupied == "folder":
        target.mkdir()
        (target / "mine.txt").write_text("keep")
    else:
        target.write_text("keep")
    before = digests(tmp_path)
    with pytest.raises(RunConflictError, match="not empty") as caught:
        write_demo_data(target, n_images=1)
    assert caught.value.hint
    assert digests(tmp_path) == before


@pytest.mark.parametrize("arguments", [{"n_images": 0}, {"seed": -1}])
def test_senseless_numbers_are_refused(tmp_path, arguments):
    with pytest.raises(UsageError, match="cannot be drawn"):
        write_demo_data(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()
