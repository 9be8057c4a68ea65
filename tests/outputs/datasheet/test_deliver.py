"""From a run to files: nothing is replaced before everything can be said, and nothing of the owner's ever."""

import json
import os

import pytest

from clipsieve.errors import ExportError, UsageError
from clipsieve.outputs.datasheet import write_datasheet
from clipsieve.outputs.report.deliver import ReportOptions
from scored_runs import write_scored_run

pytestmark = pytest.mark.slow  # each writes a run and a report
PLAIN = ReportOptions(taxonomy="none", has_thumbnails=False)
CONTEXT = '{"@context": {}, "name": "photos", '


@pytest.fixture
def run(tmp_path):
    return write_scored_run(tmp_path / "run", [0.1, 0.9, "truncated"], threshold=0.5)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("card", "---\ntags: {a: b}\n---\n"),
        ("card", "<!-- clipsieve: end of the section -->\n"),
        ("croissant", '{"@context": "https://schema.org/"}'),
        ("croissant", "[]"),
        ("croissant", CONTEXT + '"a": NaN}'),
        ("croissant", CONTEXT + '"a": [1e400]}'),
        ("croissant", CONTEXT + r'"a": {"\ud800": 1}}'),
        ("croissant", "{" * 5),
    ],
)
def test_a_file_that_makes_no_sense_changes_nothing(run, place, name, text):
    write_datasheet(run, place / "out", PLAIN)
    before = contents(place / "out")
    (place / "own").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError):
        write_datasheet(run, place / "out", ReportOptions(taxonomy="none", title="other"), **{name: place / "own"})
    assert contents(place / "out") == before


@pytest.mark.parametrize("file", ["dataset-card.md", "croissant.json", "report.json"])
def test_what_is_read_is_never_written_over(run, place, file):
    write_datasheet(run, place, PLAIN)
    before = contents(place)
    name = "card" if file.endswith(".md") else "croissant"
    with pytest.raises(UsageError, match="would be written over"):
        write_datasheet(run, place, PLAIN, **{name: place / file})
    os.link(place / file, place.parent / "linked")
    with pytest.raises(UsageError, match="would be written over"):
        write_datasheet(run, place, PLAIN, **{name: place.parent / "linked"})
    assert contents(place) == before


@pytest.mark.parametrize("name", ["datasheet.md", "dataset-card.md", "croissant.json"])
def test_a_file_of_the_owners_is_never_replaced(run, place, name):
    (place / name).write_text("mine")
    with pytest.raises(ExportError, match=f"`{name}`"):
        write_datasheet(run, place, PLAIN)
    assert contents(place) == {name: b"mine"}


@pytest.mark.parametrize("where", [".", "run", "run/images"])
def test_nothing_is_written_into_or_around_the_run(run, place, where):
    before = sorted(run.path.rglob("*"))
    with pytest.raises(UsageError, match="not apart"):
        write_datasheet(run, run.path.parent / where, PLAIN)
    assert sorted(run.path.rglob("*")) == before


def test_a_second_time_gives_the_same_and_a_byte_order_mark_stays(run, place):
    (place / "README.md").write_bytes(b"\xef\xbb\xbf# Photos\n")
    (place / "own.json").write_bytes(b"\xef\xbb\xbf" + (CONTEXT + '"license": "MIT"}').encode())
    for _ in range(2):
        write_datasheet(run, place / "out", PLAIN, card=place / "README.md", croissant=place / "own.json")
    assert (place / "out" / "dataset-card.md").read_bytes().startswith(b"\xef\xbb\xbf---\ntags:")
    assert json.loads((place / "out" / "croissant.json").read_bytes())["license"] == "MIT"
