"""What people said of single images, and how a file says it."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.engines.verdict_files import ImageVerdict, check_known, read_image_verdicts
from clipsieve.engines.verdicts import SampledImage, read_verdicts, write_sample
from clipsieve.errors import UsageError


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_words_of_people(tmp_path):
    words = {"remove": True, " Unwanted ": True, "1": True, "yes": True, "keep": False, "wanted": False, "0": False}
    lines = [f"{i}.png,{word}" for i, word in enumerate(words)]
    path = write(tmp_path / "v.csv", "image_id,verdict\n" + "\n".join([*lines, "u.png,unsure", "open.png,"]) + "\n")
    found = read_image_verdicts(path).by_image
    assert {name: verdict.unwanted for name, verdict in found.items()} == {
        **{f"{i}.png": unwanted for i, unwanted in enumerate(words.values())},
        "u.png": None,
    }
    assert "open.png" not in found


def test_several_people(tmp_path):
    rows = [
        "a,keep,Ann",
        "a,keep,Bea",
        "a,keep,Ann",
        "b,keep,Ann",
        "b,remove,Bea",
        "c,remove,",
        "d,unsure,Ann",
        "d,keep,Bea",
    ]
    path = write(tmp_path / "v.csv", "image_id,verdict,annotator\n" + "\n".join(rows) + "\n")
    assert read_image_verdicts(path).by_image == {
        "a": ImageVerdict(False, ("Ann", "Bea"), 3),
        "b": ImageVerdict(None, ("Ann", "Bea"), 2),
        "c": ImageVerdict(True, (), 1),
        "d": ImageVerdict(None, ("Ann", "Bea"), 2),
    }


def test_the_sample_for_prevalence_is_such_a_file(tmp_path):
    path = tmp_path / "sample.csv"
    write_sample(
        path, [SampledImage('odd "name",\r\n.png', "file:///a", 1, 9, True), SampledImage("b", "u", 1, 9, False)]
    )
    assert read_image_verdicts(path).by_image == {}
    text = path.read_bytes().decode().replace(',"yes",""', ',"yes","remove"')
    path.write_bytes(text.encode())
    assert read_image_verdicts(path).by_image == {'odd "name",\r\n.png': ImageVerdict(True, (), 1)}


def test_parquet(tmp_path):
    table = pa.table({"image_id": ["a", "b"], "verdict": ["keep", None], "note": ["x", "y"]})
    pq.write_table(table, tmp_path / "v.parquet")
    assert list(read_image_verdicts(tmp_path / "v.parquet").by_image) == ["a"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image_id,verdict\na,keep\nb,perhaps\n", "line 3: `verdict` is none of the known words"),
        ("image_id,verdict\n,keep\n", "line 2: `image_id` names no image"),
        ("image,verdict\na,keep\n", "no column `image_id`"),
        ("image_id,verdict,verdict\na,keep,keep\n", "2 columns `verdict`"),
        ("", "is empty"),
    ],
)
def test_files_that_make_no_sense(tmp_path, text, words):
    with pytest.raises(UsageError, match=words):
        read_image_verdicts(write(tmp_path / "v.csv", text))
    with pytest.raises(UsageError, match="there is no file"):
        read_image_verdicts(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="there is no file") as refusal:
        read_image_verdicts(tmp_path / "none.csv")
    assert refusal.value.hint == "name the table of verdicts, CSV or Parquet"


@pytest.mark.parametrize("word", ["remove", "keep", "Unsure", "review", "yes", "0", ""])
def test_every_word_means_the_same_in_a_sample(tmp_path, word):
    path = tmp_path / "sample.csv"
    write_sample(path, [SampledImage("a", "u", 1, 9, True)])
    path.write_text(path.read_text().rstrip("\n") + f"{word}\n")
    (line,) = read_verdicts(path)
    found = read_image_verdicts(path)
    assert found.is_sample
    assert (line.unwanted is None, line.is_unsure) == (
        not word or found.by_image["a"].unwanted is None,
        bool(word) and found.by_image["a"].unwanted is None,
    )
    assert found.by_image.get("a", ImageVerdict(None, (), 1)).unwanted == line.unwanted


def test_ids_of_another_run_are_asked_for_as_the_run_has_them(tmp_path):
    found = read_image_verdicts(write(tmp_path / "v.csv", "image_id,verdict\na,keep\n"))
    assert not found.is_sample
    with pytest.raises(UsageError, match="not in the run") as refusal:
        check_known(found, 0)
    assert refusal.value.expected == "ids of the run, letter by letter"
