"""The datasheet's files: whole or absent."""

import json

import pytest

from clipsieve.errors import ExportError, UsageError
from clipsieve.outputs.datasheet import (
    build_croissant,
    describe_files,
    insert_into_card,
    write_answer,
    write_card_section,
    write_datasheet_files,
)
from clipsieve.outputs.datasheet.card import BEGIN
from datasheet_reports import reports
from report_records import sample_report

REPORTS = reports()

NAMES = ["croissant.json", "dataset-card.md", "datasheet.md"]


def test_three_files_and_nothing_else(tmp_path):
    written = write_datasheet_files(sample_report(), tmp_path / "new" / "folder")
    assert (
        sorted(path.name for path in written)
        == sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
        == NAMES
    )
    folder = tmp_path / "new" / "folder"
    assert (folder / "datasheet.md").read_text(encoding="utf-8") == write_answer(sample_report())
    assert (folder / "dataset-card.md").read_text(encoding="utf-8") == write_card_section(sample_report())
    assert "distribution" not in json.loads((folder / "croissant.json").read_text())


def test_the_same_report_gives_the_same_bytes(tmp_path):
    first, second = (
        [path.read_bytes() for path in write_datasheet_files(sample_report(), tmp_path / name)] for name in "ab"
    )
    assert first == second
    assert [path.read_bytes() for path in write_datasheet_files(sample_report(), tmp_path / "a")] == first


def test_a_card_and_a_description_that_are_there_are_joined(tmp_path):
    card = "---\nlicense: mit\n---\r\n# Photos\r\n"
    write_datasheet_files(sample_report(), tmp_path, card=card, existing={"@context": {}, "name": "photos"})
    assert (tmp_path / "dataset-card.md").read_bytes().decode() == insert_into_card(
        card, write_card_section(sample_report())
    )
    assert json.loads((tmp_path / "croissant.json").read_text())["name"] == "photos"


def test_a_broken_card_writes_nothing(tmp_path):
    with pytest.raises(UsageError):
        write_datasheet_files(sample_report(), tmp_path / "out", card=BEGIN)
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_folder_is_an_error_that_says_so(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(ExportError, match="cannot write"):
        write_datasheet_files(sample_report(), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "x"


def test_what_cannot_be_replaced_is_left_and_nothing_half_beside_it(tmp_path):
    (tmp_path / "datasheet.md").mkdir()
    with pytest.raises(ExportError) as caught:
        write_datasheet_files(sample_report(), tmp_path)
    assert "every file that is there is whole" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["datasheet.md"]


def test_files_are_described_by_size_hash_and_heading(tmp_path):
    (tmp_path / "flagged.csv").write_bytes(b'\xef\xbb\xbfindex,"a ""b""\nc"\n1,2\n')
    (tmp_path / "unrelated.csv").write_text("x\n")
    (file,) = describe_files(tmp_path)
    assert (file.name, file.n_bytes, file.columns) == ("flagged.csv", 25, ("index", 'a "b"\nc'))
    (tmp_path / "flagged.csv").write_bytes(b"")
    assert describe_files(tmp_path)[0].columns == ()


CARD_OF_OWN = "---\nlicense: mit\n---\n# Photos\n"
DESCRIPTION = {"@context": {}, "name": "photos", "license": "MIT"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("datasheet.md", "# Datasheet\n\nOurs.\n"),
        ("dataset-card.md", CARD_OF_OWN),
        ("dataset-card.md", insert_into_card(CARD_OF_OWN, write_card_section(sample_report()))),
        ("dataset-card.md", write_card_section(sample_report()) + "\n## Citation\n"),
        ("croissant.json", json.dumps(DESCRIPTION)),
        ("croissant.json", json.dumps(build_croissant(sample_report(), existing=DESCRIPTION))),
        ("croissant.json", json.dumps(build_croissant(sample_report()) | {"license": "MIT"})),
        ("croissant.json", "[" * 100_000),
        ("croissant.json", "no JSON"),
    ],
)
def test_words_of_somebodys_own_are_not_replaced(tmp_path, name, text):
    write_datasheet_files(sample_report(), tmp_path)
    (tmp_path / name).write_text(text, encoding="utf-8")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ExportError, match=f"somebody's own(?s:.)*found: +`{name}`(?s:.)*nothing was written"):
        write_datasheet_files(REPORTS["no flags"], tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_was_made_of_the_owners_files_is_replaced_if_they_are_given_again(tmp_path):
    for report in (sample_report(), REPORTS["no flags"]):
        write_datasheet_files(report, tmp_path, card=CARD_OF_OWN, existing=DESCRIPTION)
    assert "flagged no images" in (tmp_path / "dataset-card.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "croissant.json").read_text(encoding="utf-8"))["license"] == "MIT"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_a_description_that_json_cannot_hold_is_refused_and_nothing_is_written(tmp_path, value):
    with pytest.raises(UsageError, match="cannot be written as JSON"):
        write_datasheet_files(sample_report(), tmp_path / "out", existing={"@context": {}, "own": [value]})
    assert not (tmp_path / "out").exists()
