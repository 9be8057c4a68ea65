"""Numbers get into prose with a reference or not at all; names and sentences from elsewhere stay harmless."""

import pytest
from jaxtyping import TypeCheckError
from markdown_it import MarkdownIt

from clipsieve.outputs.datasheet.cited import Cited, inflect
from clipsieve.outputs.datasheet.names import as_code, as_sentence, as_title, last_part
from clipsieve.outputs.datasheet.rounding import as_confidence, as_level, as_percentage
from clipsieve.outputs.datasheet.rows import concept_row, find_row
from clipsieve.outputs.report.records import Concept, TaxonomySection
from datasheet_reports import report_json, row_of
from report_records import HOSTILE, sample_report


def test_no_number_without_a_reference():
    cited = Cited(sample_report())
    with pytest.raises(ValueError, match="without a reference"):
        cited.say("There are 99 images.")
    with pytest.raises(TypeCheckError):
        cited.say("There are {n} images.", n="99")
    with pytest.raises(ValueError, match="do not fill"):
        cited.say("There are {n} images.")
    with pytest.raises(ValueError, match="without a reference"):
        cited.count("figures/n_flagged", "2nd image")
    with pytest.raises(ValueError, match="without a reference"):
        inflect(cited.known("figures/n_flagged"), "1 is", "2 are")
    with pytest.raises(ValueError, match="without a reference"):
        cited.strong("Yes, 5.")
    with pytest.raises(ValueError, match="without a reference"):
        cited.join([], " 5 ")
    with pytest.raises(ValueError, match="without a reference"):
        cited.several("classes/0", "{share} of 100", share="share")
    with pytest.raises(ValueError, match="without a reference"):
        cited.say("\N{SUPERSCRIPT TWO}")
    assert cited.notes() == []


def test_one_reference_for_each_row_in_the_order_of_use():
    cited = Cited(sample_report())
    said = [cited.number("figures/n_flagged"), cited.level("threshold"), cited.count("figures/n_flagged", "image")]
    assert [piece.text for piece in said] == ["99 [1]", "0.5 [2]", "99 images [1]"]
    assert cited.notes() == ["[1] `figures/n_flagged`: value = 99 (images flagged)", "[2] `threshold`: 0.5"]


@pytest.mark.parametrize(
    "path",
    ["figures/nothing", "failures/nothing", "classes/99", "classes/-1", "taxonomy/concepts/x", "made", "", "x/y"],
)
def test_a_row_that_is_not_there_cannot_be_referred_to(path):
    with pytest.raises(KeyError):
        find_row(sample_report(), path)
    with pytest.raises(KeyError):
        Cited(sample_report()).number(path)
    assert not Cited(sample_report()).known(path).is_known


def test_rows_are_those_of_the_file():
    report = sample_report()
    table = report_json(report)
    for path in (
        "figures/recall",
        "failures/blocked",
        "classes/2",
        "taxonomy/concepts/other",
        "taxonomy/min_margin",
        "promises/0",
    ):
        row, there = find_row(report, path), row_of(table, path)
        values = there if isinstance(there, dict) else {"": there}
        assert dict(row.values) == {name: values[name] for name in row.values}


def test_concepts_without_a_clear_name_go_by_their_position():
    names = ["weapons", "a/b", "weapons", "3", "other"]
    taxonomy = TaxonomySection(
        "t", "s", "0" * 64, 0.1, tuple(Concept(n, n, i, 0.1, 0.2, ()) for i, n in enumerate(names))
    )
    report = sample_report(taxonomy=taxonomy)
    paths = [concept_row(report, i) for i in range(5)]
    assert paths == [f"taxonomy/concepts/{key}" for key in ("0", "1", "2", "3", "other")]
    assert [find_row(report, path).values["n"] for path in paths] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (1e-9, "fewer than 0.1 %"),
        (0.00099, "fewer than 0.1 %"),
        (0.001, "0.1 %"),
        (0.5, "50.0 %"),
        (0.99, "99.0 %"),
        (0.9991, "more than 99.9 %"),
    ],
)
def test_no_share_is_rounded_to_none_or_all(share, shown):
    assert as_percentage(share) == shown


def test_levels_and_confidences_keep_the_digits_they_need():
    assert [as_level(v) for v in (0.5, 0.123456, 0.99999994, 0.00002, 0.0, 1.0)] == [
        "0.5",
        "0.1235",
        "0.9999999",
        "0.00002",
        "0",
        "1",
    ]
    assert [as_confidence(v) for v in (0.95, 0.975, 0.9)] == ["95 %", "97.5 %", "90 %"]


NAMES = [
    *HOSTILE,
    "`",
    "``a`",
    " ` ",
    "a`b``c",
    "\\`",
    "",
    " ",
    "\n",
    "![x](y)",
    "<!-- x",
    "&lt;",
    "a\\",
    "[1]",
    "www.a.b",
    "@name",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", [as_code, as_title])
def test_a_name_is_one_piece_of_a_line(name, form):
    (_, inline, _) = MarkdownIt("commonmark").parse(f"before {form(name)} after [1]")
    assert {child.type for child in inline.children} <= {"text", "code_inline"}
    assert inline.children[0].content.startswith("before ")
    assert inline.children[-1].content.endswith(" after [1]")


@pytest.mark.parametrize("text", NAMES)
def test_a_sentence_from_elsewhere_is_only_text(text):
    (_, inline, _) = MarkdownIt("commonmark").enable("strikethrough").parse(f"“{as_sentence(text)}”")
    assert {child.type for child in inline.children} == {"text"}
    if text.isprintable() and 0 < len(text) < 400 and "שלום" not in text:
        assert inline.content != "“”"
        assert inline.children[0].content == f"“{text}”"


def test_titles_that_are_words_are_left_as_they_are():
    assert [as_title(name) for name in ("Weapons", "Nudity, voyeurism", "Dead (or dying) animals")] == [
        "Weapons",
        "Nudity, voyeurism",
        "Dead (or dying) animals",
    ]
    assert [as_title(name) for name in ("top-10", "- item", "x_y")] == ["`top-10`", "`- item`", "`x_y`"]
    assert as_title("שלמה") == "\u2068שלמה\u2069"


@pytest.mark.parametrize(
    ("location", "shown"),
    [("/home/anna/photos", "photos"), ("/photos/", "photos"), ("photos", "photos"), ("s3://bucket/a", "s3://bucket/a"),
     ("file:///home/anna/photos", "photos"), ("/", "/")],
)  # fmt: skip
def test_only_the_last_part_of_a_path_is_published(location, shown):
    assert last_part(location) == shown
