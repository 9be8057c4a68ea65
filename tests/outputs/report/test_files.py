"""A report as files: the same content in JSON, tables and lists, whole or absent, whatever the names hold."""

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from clipsieve.errors import ExportError, RunConflictError, UsageError
from clipsieve.outputs.report.as_json import report_to_json
from clipsieve.outputs.report.build import build_report
from clipsieve.outputs.report.files import FLAGGED_COLUMNS, REPORT_FILES, write_report_files
from clipsieve.outputs.report.flagged import FlaggedImage, flagged_rows
from report_records import HOSTILE, sample_report
from scored_runs import write_scored_run

ODD = (*HOSTILE, "carriage\rreturn", "both\r\n", "a,b;c\t", "", "\u2028line")


def images():
    for i, text in enumerate(ODD):
        yield FlaggedImage(
            index=10 * i,
            image_id=f"folder/{text}",
            uri=f"file:///{text}",
            label=text,
            caption=None if i % 2 else text,
            probability=float(np.float32(0.9) - np.float32(0.001) * np.float32(i)),
            class_name="bad",
            class_index=1,
            concept=text if i % 3 else None,
            margin=float(np.float32(0.3)) if i % 3 else None,
            verdict="unwanted" if i == 1 else None,
        )


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("files") / "report"
    assert write_report_files(sample_report(), images(), path) == [path / name for name in REPORT_FILES]
    return path


def test_nothing_but_the_files_is_there(folder):
    assert {path.name for path in folder.iterdir()} == set(REPORT_FILES)


def test_json_holds_every_field_but_the_bytes_of_thumbnails(folder):
    text = (folder / "report.json").read_text(encoding="utf-8")
    found, report = json.loads(text), sample_report()
    assert found["format_version"] == 1
    assert set(found) == {"format_version", *asdict(report)}
    assert [figure["id"] for figure in found["figures"]] == [figure.id for figure in report.figures]
    assert len({figure["id"] for figure in found["figures"]}) == len(report.figures)
    assert [row["label"] for row in found["classes"]] == [rated.label for rated in report.classes]
    assert all("thumbnail" not in example for example in found["examples"])
    assert found["examples"][0]["width"] == 96
    assert found["taxonomy"]["concepts"][0]["prompts"] == ["a gun", "a knife"]
    assert found["method"] == json.loads(json.dumps(report.method))
    assert text == json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def test_the_same_report_gives_the_same_bytes(folder, tmp_path):
    write_report_files(sample_report(), images(), tmp_path)
    for name in REPORT_FILES:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("figures.csv", "figures"),
        ("classes.csv", "classes"),
        ("failures.csv", "failures"),
        ("histogram.csv", "histogram"),
    ],
)
def test_tables_hold_the_rows_of_the_json(folder, name, field):
    found = rows_of(folder / name)
    expected = json.loads((folder / "report.json").read_text(encoding="utf-8"))[field]
    assert [{key: "" if value is None else str(value) for key, value in row.items()} for row in expected] == found


def test_the_taxonomy_and_the_terms_are_tables(folder):
    concepts, report = rows_of(folder / "taxonomy.csv"), sample_report()
    assert [row["title"] for row in concepts] == [concept.title for concept in report.taxonomy.concepts]
    assert [row["prompts"] for row in concepts[:1]] == ["a gun | a knife"]
    for name, section in zip(("terms-class-names.csv", "terms-captions.csv"), report.terms, strict=True):
        found = rows_of(folder / name)
        assert [row["term"] for row in found] == [term.term for term in section.terms]  # the frequent ones are the same
        assert float(found[0]["z_score"]) == section.terms[0].z_score


def test_what_a_report_does_not_have_is_a_table_without_rows(tmp_path):
    write_report_files(sample_report(taxonomy=None, terms=(), classes=(), failures=()), [], tmp_path)
    for name in (
        "taxonomy.csv",
        "terms-class-names.csv",
        "terms-captions.csv",
        "classes.csv",
        "failures.csv",
        "flagged.csv",
    ):
        assert rows_of(tmp_path / name) == []
        assert len((tmp_path / name).read_text().splitlines()) == 1
    assert pq.read_table(tmp_path / "flagged.parquet").num_rows == 0
    assert (tmp_path / "published-list.csv").read_bytes() == b""


def test_the_list_of_flagged_images_says_every_text_as_it_is(folder):
    found = rows_of(folder / "flagged.csv")
    expected = list(images())
    assert tuple(found[0]) == FLAGGED_COLUMNS
    for row, image in zip(found, expected, strict=True):
        for name in ("image_id", "uri", "label", "caption", "concept", "verdict"):
            assert row[name] == (getattr(image, name) or "")
        assert np.float32(row["probability"]) == np.float32(image.probability)
        assert len(row["probability"]) <= 11
        assert int(row["index"]) == image.index


def test_the_parquet_file_says_the_same_with_types_and_nulls(folder):
    table = pq.read_table(folder / "flagged.parquet")
    assert [str(kind) for kind in table.schema.types][:6] == ["int64", "string", "string", "string", "string", "float"]
    assert [FlaggedImage(**row) for row in table.to_pylist()] == list(images())


def test_the_published_list_has_four_columns_and_no_heading(folder, tmp_path):
    with (folder / "published-list.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.reader(file))
    assert [row[:3] for row in found[:2]] == [["bad", "1", "0.90"], ["bad", "1", "0.90"]]
    assert found[2][3] == HOSTILE[2]
    named = replace(next(images()), image_id="n01440764/ILSVRC2012_val_00000293.JPEG", probability=0.943)
    escaped = replace(named, image_id="a%2520b/50%25%FF.png")
    write_report_files(sample_report(), [named, escaped], tmp_path)
    lines = (tmp_path / "published-list.csv").read_text(encoding="utf-8").splitlines()
    assert lines == ["bad,1,0.94,ILSVRC2012_val_00000293.JPEG", "bad,1,0.94,50%\\xff.png"]


def test_many_rows_are_written_batch_by_batch(tmp_path):
    image = next(images())
    write_report_files(sample_report(), (replace(image, index=i) for i in range(9_000)), tmp_path)
    table = pq.ParquetFile(tmp_path / "flagged.parquet")
    assert (table.metadata.num_rows, table.metadata.num_row_groups) == (9_000, 2)
    assert table.read(["index"]).column(0).to_pylist() == list(range(9_000))


def test_an_interruption_leaves_the_earlier_report_and_nothing_else(folder, tmp_path):
    write_report_files(sample_report(title="first"), [], tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def broken():
        yield from images()
        raise UsageError("the run changed")

    with pytest.raises(UsageError):
        write_report_files(sample_report(title="second"), broken(), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ExportError, match="cannot write the report into"):
        write_report_files(sample_report(), [], tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_real_run_with_odd_names_goes_all_the_way(tmp_path):
    labels = [text or None for text in ODD]
    run = write_scored_run(
        tmp_path / "run", [0.9] * len(ODD), threshold=0.5, part_size=4, labels=labels, captions=labels[::-1]
    )
    report = build_report(run, made="2026-11-25T12:00:00+00:00")
    write_report_files(report, flagged_rows(run), tmp_path / "out")
    assert json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(report_to_json(report))
    )
    assert [row["label"] for row in rows_of(tmp_path / "out/flagged.csv")] == [label or "" for label in labels]
    assert {row["label"] for row in rows_of(tmp_path / "out/classes.csv")} == set(filter(None, labels))


def test_files_of_others_are_not_replaced(tmp_path):
    (tmp_path / "classes.csv").write_text("mine")
    with pytest.raises(ExportError, match="no report's") as refusal:
        write_report_files(sample_report(), images(), tmp_path)
    assert "`classes.csv`" in str(refusal.value)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "report.json").write_text("[]")
    with pytest.raises(ExportError, match="no report's"):
        write_report_files(sample_report(), images(), tmp_path)


def test_a_folder_with_anything_but_a_report_is_left_alone(tmp_path):
    (tmp_path / "n01440764.JPEG").write_bytes(b"mine")
    with pytest.raises(ExportError, match="no report's") as refusal:
        write_report_files(sample_report(), images(), tmp_path)
    assert "`n01440764.JPEG`" in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["n01440764.JPEG"]
    write_report_files(sample_report(), images(), tmp_path, ours=["n01440764.JPEG"])
    (tmp_path / ".gitignore").touch()
    write_report_files(sample_report(), images(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*REPORT_FILES, "n01440764.JPEG", ".gitignore"}


def fill_in(folder, change):
    found = [change(i, row) for i, row in enumerate(rows_of(folder / "flagged.csv"))]
    with (folder / "flagged.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, found[0])
        writer.writeheader()
        writer.writerows(found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda i, row: row | {"verdict": "remove" if i == 0 else row["verdict"]}, "1 verdicts"),
        (lambda i, row: row | {"verdict": "unsure" if i == 0 else row["verdict"]}, "1 verdicts"),
        (lambda i, row: row | {"verdict": "keep" if i == 1 else row["verdict"]}, "1 verdicts"),
        (lambda _, row: row | {"annotator": "Ann", "notes": ""}, "columns: `annotator`, `notes`"),
    ],
)
def test_what_people_wrote_into_the_list_is_not_taken_away(tmp_path, change, words):
    write_report_files(sample_report(title="first"), images(), tmp_path)
    fill_in(tmp_path, change)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ExportError, match="somebody has written into") as refusal:
        write_report_files(sample_report(title="second"), images(), tmp_path)
    assert words in refusal.value.found
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_verdicts_that_the_new_list_has_too_and_those_of_an_earlier_report_are_no_loss(tmp_path):
    write_report_files(sample_report(), images(), tmp_path)
    fill_in(tmp_path, lambda i, row: row | {"verdict": "remove" if i == 0 else row["verdict"]})
    given = [replace(image, verdict="unwanted") if i == 0 else image for i, image in enumerate(images())]
    write_report_files(sample_report(), given, tmp_path)
    write_report_files(sample_report(), [replace(image, verdict=None) for image in given], tmp_path)
    assert {row["verdict"] for row in rows_of(tmp_path / "flagged.csv")} == {""}


def test_a_cell_longer_than_the_reader_takes_is_no_obstacle(tmp_path):
    long = [replace(next(images()), caption="x" * 200_000)]
    for _ in range(2):
        write_report_files(sample_report(), long, tmp_path)
    assert pq.read_table(tmp_path / "flagged.parquet").num_rows == 1


def test_two_reports_to_one_place_do_not_mix(tmp_path):
    def slow():
        yield from images()
        with pytest.raises(RunConflictError, match="another process is writing"):
            write_report_files(sample_report(title="second"), images(), tmp_path)

    write_report_files(sample_report(title="first"), slow(), tmp_path)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["title"] == "first"
    assert {path.name for path in tmp_path.iterdir()} == set(REPORT_FILES)


def test_names_that_are_no_utf8_do_not_end_it(tmp_path):
    write_report_files(sample_report(title="bad\udcff"), [], tmp_path)
    assert r'"bad\udcff"' in (tmp_path / "report.json").read_text(encoding="utf-8")


def test_further_texts_are_written_with_the_tables_or_not_at_all(tmp_path):
    page, folder = tmp_path / "r.html", tmp_path / "r"

    def broken():
        yield from images()
        raise UsageError("the run changed")

    with pytest.raises(UsageError):
        write_report_files(sample_report(), broken(), folder, texts={page: "page"})
    assert list(tmp_path.iterdir()) == []
    write_report_files(sample_report(), images(), folder, texts={page: "page"})
    assert page.read_text() == "page"
