"""Files of verdicts that people, spreadsheets and accidents have changed."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.engines.verdicts import COLUMNS, SampledImage, read_verdicts, write_sample
from clipsieve.errors import UsageError

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the columns"),
        (b"image_id,verdict\na,1\n", "lacks the columns `stratum`, `stratum_size`, `flagged`"),
        (",".join(COLUMNS).encode() + b"\na,b,1\n", "line 2: the number of values"),
        (",".join(COLUMNS).encode() + b"\na,b,1,1,no,1,1\n", "line 2: the number of values"),
        (",".join(COLUMNS).encode() + b"\n" + b"a" * 200_000, "is no CSV file|the number of values"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
        (b"PK\x03\x04\x00\xff", "no text in UTF-8"),
    ],
)
def test_a_file_that_is_no_sample_is_refused(tmp_path, content, message):
    path = tmp_path / "sample.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_verdicts(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        read_verdicts(tmp_path / "sample.csv")
    with pytest.raises(UsageError, match="cannot read"):
        read_verdicts(tmp_path)


@given(st.lists(st.tuples(TEXT, TEXT, st.integers(1, 9), st.booleans()), max_size=5))
def test_what_is_written_is_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("verdicts") / "sample.csv"
    images = [SampledImage(image_id, uri, stratum, 10 * stratum, flagged) for image_id, uri, stratum, flagged in rows]
    write_sample(path, images)
    found = [SampledImage(v.image_id, "", v.stratum, v.stratum_size, v.flagged) for v in read_verdicts(path)]
    assert found == [SampledImage(i.image_id, "", i.stratum, i.stratum_size, i.flagged) for i in images]


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_in_words(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("verdicts") / "sample.csv"
    path.write_bytes((",".join(COLUMNS) + "\n").encode() + content)
    with contextlib.suppress(UsageError):
        read_verdicts(path)
