"""Tables that were made to break their reader, or that do not fit each other: a row ends as a row, or the error is in words."""

import pytest

from clipsieve.errors import ClipsieveError
from clipsieve.sources import Columns, open_source
from clipsieve.types import Failure
from image_files import png


def read(location, part_size=2, **options):
    source = open_source(location, **options)
    return [ref.content for shard in source.plan(part_size).shards for ref in source.read(shard)]


def test_a_csv_among_several_without_the_image_column_costs_its_own_rows(tmp_path):
    (tmp_path / "0.png").write_bytes(png(0))
    (tmp_path / "a.csv").write_text("path,label\n0.png,x\n")
    (tmp_path / "b.csv").write_text("other\n1\n2\n")
    (tmp_path / "c.csv").write_text("path\n0.png\n")
    first, *middle, last = read(tmp_path / "*.csv")
    assert first == last == png(0)
    assert len(middle) == 2
    assert all(isinstance(content, Failure) for content in middle)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.csv.gz"])
@pytest.mark.parametrize(
    "content", [b"\0" * 100, b"\xff\xfe" + "path\nx\n".encode("utf-16-le"), b"\x1f\x8b\x08", b"PAR1"]
)
def test_content_that_is_no_table(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ClipsieveError):
        read(tmp_path / name)


def test_two_columns_of_one_name_are_not_guessed_between(tmp_path):
    (tmp_path / "t.csv").write_text("path,path\na,b\n")
    with pytest.raises(ClipsieveError, match="2 columns `path`"):
        read(tmp_path / "t.csv", columns=Columns(image="path"))
