"""The Croissant description: its own library takes it, reads the table with it, and finds what we said."""

import copy
import csv
import json
from dataclasses import replace
from functools import cache

import mlcroissant as mlc
import pytest

from clipsieve.errors import UsageError
from clipsieve.outputs.datasheet import build_croissant, write_datasheet_files
from clipsieve.outputs.datasheet.responsible import responsible_properties
from clipsieve.outputs.report.files import write_report_files
from clipsieve.outputs.report.flagged import FlaggedImage
from datasheet_reports import PRAISE, report_json, reports, untraced, without_names
from report_records import HOSTILE, sample_report

# What the library itself calls of rdflib is about to go.
pytestmark = [
    pytest.mark.slow,  # so that the default tests take less than a minute
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning"),
]
REPORTS = reports()
each_report = pytest.mark.parametrize("name", REPORTS)
# Reports that differ most in what they leave out.
SOME = ["sample", "no flags", "nothing scored", "bare method", "hostile 0", "hostile 7", "hostile bidi"]
# What only the owner of a data set knows.
RECOMMENDED = {"http://mlcommons.org/croissant/citeAs", "https://schema.org/license", "https://schema.org/version"}


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the files of a report."""
    rows = [
        FlaggedImage(
            7 * i, f"{i}/{text}", f"file:///{i}", text, None, 0.5 + i / 100, "negative", 1, "Weapons", 0.25, "unwanted"
        )
        for i, text in enumerate(HOSTILE)
    ]
    write_report_files(sample_report(), [replace(rows[0], margin=None, verdict=None), *rows[1:]], tmp_path)
    return tmp_path


@cache
def description(name):
    return build_croissant(REPORTS[name])


def texts(properties):
    return [text for said in properties.values() for text in ([said] if isinstance(said, str) else said)]


def warnings_of(dataset):
    return dataset.metadata.ctx.issues.warnings


def test_the_library_takes_it_and_misses_only_what_the_owner_knows(folder):
    write_datasheet_files(sample_report(), folder)
    dataset = mlc.Dataset(jsonld=folder / "croissant.json")
    found = warnings_of(dataset)
    assert {url for url in RECOMMENDED for warning in found if url in warning} == RECOMMENDED
    assert len(found) == 3
    assert not dataset.metadata.ctx.issues.errors
    assert dataset.metadata.ctx.is_v1_1()
    assert dataset.metadata.conforms_to == [
        "http://mlcommons.org/croissant/1.1",
        "http://mlcommons.org/croissant/RAI/1.0",
    ]


def test_the_context_is_the_one_that_the_library_writes(caplog):
    dataset = mlc.Dataset(jsonld=description("sample"))
    assert "not standard" not in caplog.text
    assert dataset.metadata.to_json()["@context"] == description("sample")["@context"]


def test_the_library_reads_the_rows_of_the_table(folder):
    write_datasheet_files(sample_report(), folder)
    records = list(mlc.Dataset(jsonld=folder / "croissant.json").records("flagged"))
    with (folder / "flagged.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(records) == len(rows) == len(HOSTILE)
    kinds = {"index": int, "class_index": int, "probability": float, "margin": float}
    for record, row in zip(records, rows, strict=True):
        read = {name.removeprefix("flagged/"): value for name, value in record.items()}
        assert {name: value.decode() if isinstance(value, bytes) else value for name, value in read.items()} == {
            name: kinds.get(name, str)(cell) if cell else None for name, cell in row.items()
        }


def test_the_library_finds_the_properties_where_the_specification_has_them(folder):
    write_datasheet_files(sample_report(), folder)
    metadata = mlc.Dataset(jsonld=folder / "croissant.json").metadata
    said = responsible_properties(sample_report())
    for name, value in {
        "rai:dataLimitations": metadata.data_limitations,
        "rai:dataBiases": metadata.data_biases,
        "rai:personalSensitiveInformation": metadata.personal_sensitive_information,
        "rai:machineAnnotationTools": metadata.machine_annotation_tools,
        "rai:annotationsPerItem": metadata.annotations_per_item,
        "rai:dataCollectionMissingData": metadata.data_collection_missing_data,
    }.items():
        assert sorted(value) == sorted(said[name]) if isinstance(value, list) else value == said[name]
    assert metadata.data_preprocessing_protocol == said["rai:dataPreprocessingProtocol"]
    assert metadata.data_annotation_protocol == [said["rai:dataAnnotationProtocol"]]
    assert metadata.annotator_demographics is None


def test_a_file_that_was_changed_is_known_by_its_hash(folder):
    write_datasheet_files(sample_report(), folder)
    described = json.loads((folder / "croissant.json").read_text())["distribution"]
    assert [file["@id"] for file in described] == ["report.json", "flagged.csv", "flagged.parquet"]
    assert len({file["sha256"] for file in described}) == 3
    (folder / "flagged.csv").write_text("index\n1\n")
    write_datasheet_files(sample_report(), folder)
    after = json.loads((folder / "croissant.json").read_text())["distribution"]
    assert [a["sha256"] == b["sha256"] for a, b in zip(described, after, strict=True)] == [True, False, True]


@each_report
def test_each_text_names_the_rows_of_its_numbers_and_praises_nothing(name):
    table = report_json(REPORTS[name])
    for text in texts({key: said for key, said in description(name).items() if key.startswith("rai:")}):
        body, traced, rows = text.rpartition(" (written by `clipsieve datasheet`; ")
        assert traced
        notes = (
            rows.removeprefix("no row of report.json")
            .removeprefix("rows of report.json: ")
            .removesuffix(")")
            .replace("; [", "\n[")
        )
        assert untraced(body, notes, table) == []
        assert PRAISE.findall(without_names(text)) == []


@pytest.mark.parametrize("name", SOME)
def test_every_report_gives_a_description_that_the_library_takes(name):
    described = json.loads(json.dumps(description(name), allow_nan=False))
    assert not mlc.Dataset(jsonld=described).metadata.ctx.issues.errors


OWN = {
    "@context": {
        **{key: value for key, value in build_croissant(sample_report())["@context"].items() if key != "rai"},
        "own": "https://example.org/terms/",
    },
    "@type": "sc:Dataset",
    "conformsTo": "http://mlcommons.org/croissant/1.0",
    "name": "photos",
    "description": "Photos.",
    "license": "https://spdx.org/licenses/MIT",
    "url": "https://example.org/photos",
    "version": "1.2.0",
    "own:key": {"nested": [1, 2.5, None, "x"]},
    "distribution": [
        {
            "@type": "cr:FileObject",
            "@id": "a.csv",
            "name": "a.csv",
            "contentUrl": "a.csv",
            "encodingFormat": "text/csv",
            "sha256": "0" * 64,
        }
    ],
    "rai:dataLimitations": "Few of them.",
    "rai:dataBiases": ["Mostly of cats."],
    "rai:dataAnnotationProtocol": "First paragraph.\n\nSecond (by hand).",
    "rai:annotatorDemographics": "Two friends.",
}


def test_somebodys_own_description_keeps_every_key_and_text():
    before = copy.deepcopy(OWN)
    done = build_croissant(sample_report(), existing=OWN)
    assert before == OWN
    said = responsible_properties(sample_report())
    changed = {*said, "@context", "conformsTo"}
    assert {key: value for key, value in done.items() if key not in changed} == {
        k: v for k, v in OWN.items() if k not in changed
    }
    assert done["@context"] == OWN["@context"] | {"rai": "http://mlcommons.org/croissant/RAI/"}
    assert done["conformsTo"] == ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
    assert done["rai:dataLimitations"] == ["Few of them.", *said["rai:dataLimitations"]]
    assert done["rai:dataBiases"] == ["Mostly of cats.", *said["rai:dataBiases"]]
    assert (
        done["rai:dataAnnotationProtocol"]
        == f"First paragraph.\n\nSecond (by hand).\n\n{said['rai:dataAnnotationProtocol']}"
    )
    assert not mlc.Dataset(jsonld=done).metadata.ctx.issues.errors


def test_a_later_report_takes_the_place_of_an_earlier_one():
    first = build_croissant(sample_report(), existing=OWN)
    assert build_croissant(sample_report(), existing=first) == first
    later = build_croissant(REPORTS["no flags"], existing=first)
    assert later == build_croissant(REPORTS["no flags"], existing=OWN)
    assert "99 [" not in json.dumps(later)


def test_a_description_without_a_version_of_the_format_is_given_none():
    done = build_croissant(sample_report(), existing={key: value for key, value in OWN.items() if key != "conformsTo"})
    assert "conformsTo" not in done
    dct = {key: value for key, value in OWN.items() if key != "conformsTo"} | {
        "dct:conformsTo": ["http://mlcommons.org/croissant/1.1"]
    }
    assert len(build_croissant(sample_report(), existing=dct)["dct:conformsTo"]) == 2


@pytest.mark.parametrize("context", [None, "https://schema.org/", ["x"], {"rai": "https://example.org/"}])
def test_a_context_that_cannot_be_added_to_is_refused(context, tmp_path):
    with pytest.raises(UsageError, match="none of Croissant"):
        write_datasheet_files(sample_report(), tmp_path / "out", existing={"@context": context})
    assert not (tmp_path / "out").exists()


def test_an_address_on_the_web_is_given():
    assert build_croissant(sample_report(source_location="https://example.org/x"))["url"] == "https://example.org/x"
    assert "url" not in build_croissant(sample_report())


@pytest.mark.parametrize(
    "text",
    [
        "We made these by hand (clipsieve)",
        "See the list (clipsieve; rows of report.json: ours)",
        "Ours (written by `clipsieve datasheet`; rows of report.json: many)",
        "Ours (written by `clipsieve datasheet`; no row of report.json), and more",
        "Before it.\nTheirs (written by `clipsieve datasheet`; no row of report.json)",
    ],
)
def test_what_the_owner_wrote_is_not_taken_for_ours(text):
    theirs = OWN | {"rai:dataLimitations": [text], "rai:annotationsPerItem": text, "rai:dataBiases": text}
    done = build_croissant(sample_report(), existing=theirs)
    assert done["rai:dataLimitations"][0] == text
    assert done["rai:dataBiases"][0] == text
    assert done["rai:annotationsPerItem"].startswith(f"{text}\n\n")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ones", "1 scored image [1] has a verdict of at least one person; the other scored images have none."),
        ("no verdicts", "No scored images [1] have a verdict of at least one person."),
        ("all looked at", "990 scored images [1] have a verdict of at least one person."),
    ],
)
def test_annotations_per_item_agree_with_their_number(name, words):
    assert description(name)["rai:annotationsPerItem"].startswith(f"{words} (written by")
