"""Tables of ratings as people, spreadsheets and accidents make them."""

import contextlib
import csv
import hashlib
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.demo import write_demo_data
from clipsieve.engines import rating_tables
from clipsieve.engines.rating_files import Ratings, read_ratings
from clipsieve.errors import UsageError

SMID = "img_name,valence_mean,valence_sd,moral_mean,moral_sd,arousal_mean,arousal_sd,harm_mean,harm_sd\n"
NORMS = SMID + "b1_p1_1,1.5,.5,4.1,.5,3,.5,1.2,.5\nb1_p1_2,4.5,.5,1.9,.5,3,.5,4.8,.5\nb1_p1_3,3,.5,3,.5,3,.5,3,.5\n"


def read(tmp_path, text: str | bytes, name: str = "ratings.csv", **options) -> Ratings:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_ratings(path, **options)


def refused(tmp_path, text: str | bytes, match: str, **options) -> UsageError:
    with pytest.raises(UsageError, match=match) as caught:
        read(tmp_path, text, **options)
    assert "ratings.csv" in str(caught.value)
    return caught.value


def test_smid_needs_no_names_of_columns(tmp_path):
    found = read(tmp_path, NORMS)
    assert (found.image_column, found.rating_column, found.kind, found.is_smid) == (
        "img_name",
        "moral_mean",
        "rating",
        True,
    )
    assert found.names == ("b1_p1_1", "b1_p1_2", "b1_p1_3")
    assert found.rating.tolist() == [4.1, 1.9, 3.0]
    assert found.labels.tolist() == [0, 1, -1]
    assert (found.low, found.high, found.reverse, found.n_left_out) == (2.5, 3.5, False, 1)
    assert found.lines.tolist() == [2, 3, 4]
    assert found.sha256 == hashlib.sha256(NORMS.encode()).hexdigest()
    assert found.classes is None
    assert found.splits is None


@pytest.mark.parametrize(
    ("options", "column", "reverse", "labels"),
    [
        ({"scale": "moral"}, "moral_mean", False, [0, 1, -1]),
        ({"scale": "valence"}, "valence_mean", False, [1, 0, -1]),
        ({"scale": "harm"}, "harm_mean", True, [0, 1, -1]),
        ({"rating_column": "harm_mean"}, "harm_mean", True, [0, 1, -1]),
        ({"scale": "harm", "rating_column": "harm_mean"}, "harm_mean", True, [0, 1, -1]),
        ({"scale": "harm", "reverse": False}, "harm_mean", False, [1, 0, -1]),
        ({"reverse": True}, "moral_mean", True, [1, 0, -1]),
        ({"low": 2.0, "high": 2.5}, "moral_mean", False, [0, 1, 0]),
    ],
)
def test_scales_of_smid_and_their_directions(tmp_path, options, column, reverse, labels):
    found = read(tmp_path, NORMS, **options)
    assert (found.rating_column, found.reverse, found.labels.tolist()) == (column, reverse, labels)


def test_the_demo_data_set_is_recognised_and_reads_as_the_csv_module_does(tmp_path):
    path = write_demo_data(tmp_path / "demo", n_images=12).ratings_path
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = read_ratings(path, scale="moral", low=3.0, high=3.0)
    assert found.is_smid
    assert found.names == tuple(row["img_name"] for row in rows)
    assert found.rating.tolist() == [float(row["moral_mean"]) for row in rows]
    by_file = read_ratings(path, image_column="file", split_column="style", low=3.0, high=3.0)
    assert by_file.names == tuple(row["file"] for row in rows)
    assert by_file.splits == tuple(row["style"] for row in rows)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_marks_between_columns_ends_of_lines_and_a_byte_order_mark(tmp_path, mark, end, encoding):
    rows = [["File", "Rating"], ["naïve, or; not.jpg", "1.5"], ["b.jpg", " 4 "]]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=mark, lineterminator=end).writerows(rows)
    found = read(tmp_path, text.getvalue().encode(encoding))
    assert found.names == ("naïve, or; not.jpg", "b.jpg")
    assert found.rating.tolist() == [1.5, 4.0]
    assert not found.is_smid


def test_parquet_reads_as_csv_does_whatever_its_name(tmp_path):
    columns = {
        "image": ["a", "b", "c"],
        "score": pa.array([1.5, 4.0, 2.75], pa.float32()),
        "thumb": [b"\xff", None, b""],
    }
    pq.write_table(pa.table(columns), tmp_path / "ratings.csv")
    found = read_ratings(tmp_path / "ratings.csv")
    assert (found.names, found.rating.tolist(), found.labels.tolist()) == (
        ("a", "b", "c"),
        [1.5, 4.0, 2.75],
        [1, 0, -1],
    )
    assert found.lines.tolist() == [1, 2, 3]


def test_null_in_parquet_is_empty_and_its_row_named(tmp_path):
    pq.write_table(pa.table({"image": ["a", "b"], "score": [1.5, None]}), tmp_path / "r.parquet")
    with pytest.raises(UsageError, match="row 2: `score` is empty"):
        read_ratings(tmp_path / "r.parquet")


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        (["1", "0", "1"], [1, 0, 1]),
        (["True", "false", "TRUE"], [1, 0, 1]),
        (["yes", "no", "no"], [1, 0, 0]),
        (["unwanted", "wanted", "safe"], [1, 0, 0]),
        (["unsafe", "safe", " Unsafe "], [1, 0, 1]),
    ],
)
def test_labels_in_words_are_no_ratings(tmp_path, words, labels):
    text = "file,verdict\n" + "".join(f"{i}.jpg,{word}\n" for i, word in enumerate(words))
    found = read(tmp_path, text, label_column="verdict")
    assert (found.kind, found.labels.tolist(), found.classes) == ("label", labels, None)
    assert np.isnan(found.rating).all()


def test_booleans_in_parquet_are_labels(tmp_path):
    pq.write_table(pa.table({"image": ["a", "b"], "nsfw": [True, False]}), tmp_path / "r.parquet")
    assert read_ratings(tmp_path / "r.parquet", label_column="nsfw").labels.tolist() == [1, 0]


def test_a_column_of_zeros_and_ones_holds_labels_whatever_it_is_called(tmp_path):
    for name in ("rating", "label", "mean"):
        found = read(tmp_path, f"file,{name}\na,1\nb,0\nc,1.0\n")
        assert (found.kind, found.labels.tolist()) == ("label", [1, 0, 1])
        assert np.isnan(found.rating).all()


def test_a_column_that_is_called_label_may_hold_ratings_words_or_classes(tmp_path):
    assert read(tmp_path, "file,label\na,1.5\nb,4\n").rating.tolist() == [1.5, 4.0]
    assert read(tmp_path, "file,label\na,unsafe\nb,safe\n").labels.tolist() == [1, 0]
    assert read(tmp_path, "file,label\na,blood\nb,safe\nc,none\n").classes == ("blood", "safe", "none")


def test_class_names_are_kept_and_give_no_labels(tmp_path):
    found = read(tmp_path, "file,kind\na,hate\nb, violence\nc,safe\n", label_column="kind")
    assert (found.kind, found.classes) == ("class", ("hate", "violence", "safe"))
    assert (found.labels.tolist(), found.n_left_out) == ([-1, -1, -1], 0)
    assert read(tmp_path, "file,kind\na,0\nb,1\nc,2\n", label_column="kind").classes == ("0", "1", "2")


def test_a_slip_of_the_pen_among_labels_is_no_third_class(tmp_path):
    text = "file,label\na,wanted\nb,unwatned\nc,unwanted\n"
    error = refused(tmp_path, text, "line 3: `label` is neither")
    assert error.found == "`unwatned`"


@pytest.mark.parametrize(
    ("text", "match", "options"),
    [
        ("", "is empty", {}),
        ("\n \n", "is empty", {}),
        ("file,rating\n", "has no rows", {}),
        (SMID, "has no rows", {}),
        ("file,rating\na,1,2\n", "line 2: the number of cells", {}),
        ("file,rating\na,1\nb\n", "line 3: the number of cells", {}),
        ('file,rating\na,1\n"b,2\nc,3\n', "as CSV", {}),
        ("file,rating\n" + "a" * 20_000_000 + ",1\n", "as CSV", {}),
        ("file,rating\nä,1\n".encode("latin-1"), "no text in UTF-8", {}),
        ("file,rating\na,1\n".encode("utf-16"), "no text in UTF-8", {}),
        (b"file,rating\na,\0\n", "no text", {}),
        (b"\x89PNG\r\n\x1a\n", "no text in UTF-8", {}),
        (b"PAR1 and no more", "as Parquet", {}),
        ("file,rating\na,1\nb,\nc,nan\n", "lines 3, 4: `rating` is empty", {}),
        ("file,rating\na,1\n ,5\n", "line 3: `file` is empty", {}),
        ("file,rating\na,1\nb,good\n", "line 3: `rating` is no number", {}),
        ("file,rating\na,1\nb,1_0\n", "is no number", {}),
        ("file,rating\na,1\nb,٣\n", "is no number", {}),
        ("file;rating\na;1,5\nb;4,5\n", "lines 2, 3: `rating` is no number", {}),
        ("file,rating\na,1\nb,inf\nc,-Infinity\nd,1e999\n", "lines 3, 4, 5: `rating` is infinite", {}),
        ("file,label\na,1\nb,\n", "line 3: `label` is empty", {}),
        ("file,rating,split\na,1,test\nb,5,\n", "line 3: `split` is empty", {"split_column": "split"}),
        ("file,rating\na,1\nb,5\na,1\n", "lines 2, 4: the image `a` is there twice", {}),
        ("file,rating\ncaf\u00e9,1\nb,5\ncafe\u0301,2\n", "lines 2, 4: the image .* is there twice", {}),
        ("file,rating\na,1\nb,2\n", "does not hold two classes", {}),
        ("file,rating\na,3\nb,3\n", "does not hold two classes", {}),
        ("file,rating\na,1\nb,1\n", "does not hold two classes", {}),
        ("file,rating\na,nice\nb,nice\n", "names one class alone", {"label_column": "rating"}),
        ("file,worth\na,1\n", "which column .* holds the ratings", {}),
        ("photo,rating\na,1\n", "which column .* names the images", {}),
        ("file,rating\na,1\n", "no column `ratings`", {"rating_column": "ratings"}),
        ("file,rating\na,1\n", "no column `files`", {"image_column": "files"}),
        ("file,rating\na,1\n", "no column `words`", {"label_column": "words"}),
        ("file,rating\na,1\n", "no column `part`", {"split_column": "part"}),
        ("file,rating,rating\na,1,2\n", "2 columns `rating`", {}),
        ("file,moral_mean\na,1\n", "is not SMID's norms file", {"scale": "moral"}),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(tmp_path, text, match, options):
    refused(tmp_path, text, match, **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"scale": "purity"}, "no scale `purity`"),
        ({"scale": "harm", "rating_column": "moral_mean"}, "were asked for"),
        ({"rating_column": "moral_mean", "label_column": "harm_mean"}, "both ratings and labels"),
        ({"low": 4.0, "high": 2.0}, "cuts contradict"),
    ],
)
def test_options_that_contradict_each_other_are_refused(tmp_path, options, match):
    with pytest.raises(UsageError, match=match):
        read(tmp_path, NORMS, **options)


@pytest.mark.parametrize("value", ["0.99", "5.01", "0", "44"])
def test_smid_goes_from_1_to_5(tmp_path, value):
    error = refused(tmp_path, NORMS.replace("4.1", value), "line 2: `moral_mean` is outside")
    assert (error.expected, error.found) == ("1 to 5", f"`{value}`")


def test_zeros_and_ones_are_no_labels_in_smid(tmp_path):
    error = refused(tmp_path, SMID + "b1_p1_1,3,1,0,1,3,1,3,1\nb1_p1_2,3,1,1,1,3,1,3,1\n", "line 2: .* is outside")
    assert error.expected == "1 to 5"


def test_other_scales_go_anywhere(tmp_path):
    found = read(tmp_path, "file,score\na,-250\nb,1e3\nc,0\n", low=-10, high=10)
    assert found.labels.tolist() == [1, 0, -1]


def test_messages_help_further(tmp_path):
    error = refused(tmp_path, NORMS, "no column", rating_column="morals_mean")
    assert error.hint == "did you mean `moral_mean`?"
    assert "`harm_mean`" in error.found
    error = refused(tmp_path, "file,rating\na,1\nb,5\na,2\n", "twice")
    assert (error.found, error.hint) == ("`1` and `2` in `rating`", "decide for one of them, or for their mean")
    error = refused(tmp_path, "file,score\na,10\nb,80\nc,3\n", "two classes")
    assert error.expected == "both classes: unwanted below 2.5, wanted above 3.5"
    assert error.found == "0 unwanted, 2 wanted, 1 left out"
    error = refused(
        tmp_path, "file,score\n" + "".join(f"{i},x{i}\n" for i in range(9)), "lines 2, 3, 4, 5, 6 and 4 more"
    )
    assert error.found == "`x0`, `x1`, `x2`, `x3`, `x4`, ..."


def test_a_file_that_is_not_there_or_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"there is no file .*nothing\.csv"):
        read_ratings(tmp_path / "nothing.csv")
    with pytest.raises(UsageError, match="cannot read"):
        read_ratings(tmp_path)


def test_sizes_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(rating_tables, "MAX_ROWS", 2)
    refused(tmp_path, NORMS, "too many rows")
    with (tmp_path / "ratings.csv").open("wb") as file:
        file.truncate(rating_tables.MAX_BYTES + 1)
    with pytest.raises(UsageError, match="too large") as caught:
        read_ratings(tmp_path / "ratings.csv")
    assert (caught.value.expected, caught.value.found) == ("at most 256 MiB", "256 MiB")


def test_a_long_row_of_digits_is_judged_at_once(tmp_path):
    refused(tmp_path, f"file,rating\na,{'1' * 100_000}x\nb,5\n", "is no number")


NAME = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8).filter(str.strip)


@given(st.lists(st.tuples(NAME, st.floats(-1e6, 1e6)), min_size=2, max_size=6, unique_by=lambda row: row[0]))
def test_what_is_written_is_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("ratings") / "ratings.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("file", "rating"), *rows])
    with contextlib.suppress(UsageError):  # one class alone, or one name in two forms
        found = read_ratings(path, low=0, high=0)
        assert found.names == tuple(name for name, _ in rows)
        assert found.kind == "label" or found.rating.tolist() == [rating for _, rating in rows]


@given(st.binary(max_size=200), st.sampled_from([b"", b"file,rating\n", b"PAR1", NORMS.encode()]))
def test_any_bytes_are_read_or_refused_in_words(tmp_path_factory, content, before):
    path = tmp_path_factory.mktemp("ratings") / "ratings.csv"
    path.write_bytes(before + content)
    with contextlib.suppress(UsageError):
        read_ratings(path)
