"""The datasheet's answer: each number has its row, nothing vouches for a data set, and names break nothing."""

import re
from functools import cache

import pytest
from markdown_it import MarkdownIt

from clipsieve.outputs.datasheet import write_answer
from datasheet_reports import PRAISE, report_json, reports, untraced, with_figures, without_names
from report_records import HOSTILE, sample_report

REPORTS = reports()
each_report = pytest.mark.parametrize("name", REPORTS)
BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066\u2067]")
TAGS = {"h1", "h2", "p", "ul", "li", "blockquote", "code", "strong", "em", ""}


@cache
def answer(name):
    return write_answer(REPORTS[name])


def parts(text):
    """Return the text before the list of figures, the list, and the references."""
    body, rest = text.split("\n## Figures\n")
    notes, references = rest.split("\n## References\n")
    return body, notes, references


@each_report
def test_each_number_names_the_row_that_says_so(name):
    body, notes, _ = parts(answer(name))
    assert untraced(body, notes, report_json(REPORTS[name])) == []


def test_the_check_of_references_finds_what_is_wrong():
    report = sample_report()
    body, notes, _ = parts(write_answer(report))
    table = report_json(report)
    assert untraced(body + "\nAnd 7 images.", notes, table)
    assert untraced(body.replace("99 [5]", "98 [5]"), notes, table)
    assert untraced(body.replace("8.3 %", "8.4 %"), notes, table)
    assert untraced(body.replace("30 images [1]", "no images [1]"), notes, table)
    assert untraced(body, notes.replace("value = 990", "value = 991"), table)
    assert untraced(body, notes + "- [99] `figures/n_listed`: value = 1000\n", table)


@each_report
def test_it_never_vouches_for_a_data_set(name):
    assert PRAISE.findall(without_names(answer(name))) == []


@each_report
def test_it_always_says_what_nobody_looked_at(name):
    text = answer(name)
    assert "## What was not looked at" in text
    assert "Text inside images was not read" in text
    assert "personal information" in text


@each_report
def test_it_is_plain_markdown_whatever_the_names_hold(name):
    text = answer(name)
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    tokens += [child for token in tokens for child in token.children or ()]
    assert {token.tag for token in tokens if token.type not in ("text", "softbreak", "inline")} <= TAGS
    assert not {"html_inline", "html_block", "link_open", "image", "fence", "table_open"} & {
        token.type for token in tokens
    }
    headings = [token.map for token in tokens if token.type == "heading_open"]
    assert len(headings) == 8
    assert not BIDI.search(text)
    assert text.count("\N{FIRST STRONG ISOLATE}") == text.count("\N{POP DIRECTIONAL ISOLATE}")
    assert not [letter for letter in text if ord(letter) < 32 and letter != "\n"]
    assert max(len(line) for line in text.splitlines()) < 3000


@pytest.mark.parametrize("text", HOSTILE)
def test_a_class_name_is_read_back_from_the_markdown_as_it_is_shown(text):
    report = sample_report()
    hostile = with_figures(sample_report(classes=tuple(c for c in report.classes if c.label == text)), n_classes_over=1)
    children = [c for token in MarkdownIt("commonmark").parse(write_answer(hostile)) for c in token.children or ()]
    shown = [child.content for child in children if child.type == "code_inline"]
    visible = text.replace("\n", "\\n").replace("\t", "\\t").replace("\x1b", "\\x1b")
    visible = visible.replace("\u202e", "\\u202e").replace("\u202c", "\\u202c")
    assert (visible if len(text) <= 80 else text[:79] + "…") in shown


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("sample", "**Yes.** People judged 30 images [1] unwanted."),
        ("no verdicts", "**Possibly.** A classifier flagged 99 images [1]; nobody has looked at what it flagged."),
        ("no verdicts", "People have given a verdict on no images ["),
        ("no verdicts", "is not known; the share of flagged images is no estimate"),
        ("no verdicts", "Nobody has looked at any of the images without a flag."),
        ("no flags", "**Not known.** A classifier flagged no images [1], but classifiers miss some"),
        ("no flags", "0 % (95 % confidence interval: 0 % to 0.4 %)"),
        ("some looked at, none unwanted", "nobody has looked at 59 ["),
        (
            "all looked at, none unwanted",
            "**Not in the judgement of those who looked.** People have given a verdict on 990",
        ),
        ("unsure", "**Possibly.** People judged no images [1] unwanted; of 1 [2] they were unsure"),
        ("unsure", "they differed. A classifier flagged 99 images [3], and nobody has looked at 59 [4] of them."),
        ("unsure", "On 1 image [2] of these they were unsure, or differed."),
        ("only blocked", "**Possibly.** A classifier flagged no images [1]"),
        (
            "only blocked",
            "1 image [2] is on the block list, a list of known files that was given to the scan, and was never",
        ),
        ("sample", "2 images [2] are on the block list"),
        ("sample", "8 images [35] could not be read, decoded or encoded, and have no probability: no machine has seen"),
        ("unwanted and not scored", "**Yes.** People judged 1 image [1] unwanted that the classifier could not score."),
        (
            "unwanted and not scored",
            "On 1 image [8] without a probability there are verdicts, too, and 1 [1] was judged",
        ),
        ("all looked at", "People decided on every scored image: 10.0 % ["),
        ("all looked at", "The share of those that is flagged is 66.7 % ["),
        (
            "all looked at, unsure of some",
            "is unwanted is not known, since people were unsure of some images, or differed.",
        ),
        ("all looked at, unsure of some", "The report notes: “Every scored image has a verdict"),
        ("sample", "it is estimated that people would judge 70.0 % (95 % confidence interval: 57.0 % to 84.0 %) ["),
        ("no sample", "only if those with a verdict were drawn at random."),
        ("a lopsided sample", "that speaks for the other flagged images in no way."),
        ("no flags", "none [8] are flagged clearly more often than the rest of the data set: by a test"),
        (
            "promised elsewhere",
            "They were chosen on rated images of another run; what was promised there is not promised here",
        ),
        ("empty files", "By reason: 5 [36] empty; 3 [37] too large to be read."),
        ("two promises", "The thresholds come with these promises: “one holds” [33]; “two holds” [34]."),
        (
            "all flagged looked at, none unwanted",
            "**Not known for the whole of it.** A classifier flagged 99 images [1].",
        ),
        ("all looked at, none unwanted", "Every flagged image has a verdict"),
        ("nothing scored", "**Not known.** The classifier could score no images [1]."),
        ("nothing failed", "No images ["),
        ("ones", "**Yes.** People judged 1 image [1] unwanted."),
        ("ones", "it could not be compared"),
        ("tiny", "fewer than 0.1 % (95 % confidence interval: below 0.1 % to below 0.1 %)"),
        ("tiny", "more than 99.9 % (95 % confidence interval: above 99.9 % to 100 %)"),
        ("large", "1,234,567 images"),
        ("unknown", "an unknown number of images"),
        ("no classes, no captions", "The source has no classes"),
        ("no classes, no captions", "The source gives neither class names nor captions"),
        ("many classes over", "The clearest are:"),
        ("no taxonomy", "The flagged images were not sorted by what they show."),
        ("problem with the taxonomy", "could not be sorted by what they show: “the model"),
        ("embeddings", "No image was opened for this report"),
        (
            "notes on the sample",
            "The report notes: “3 images of the sample had another flag.” [20] “It was not estimated: ",
        ),
        ("small and cut", "at 224 ["),
        ("small and cut", "only the square in the middle"),
        ("sample", "at 64 ["),
        ("sample", "The class names and captions were counted"),
        ("unknown", "The class names were counted"),
        ("ones", "nothing marks it as an image."),
        ("bare method", "the classifier of a name that is not recorded"),
        ("bare method", "No threshold for removal by the machine was set"),
        ("no promise", "The thresholds come with no promise"),
        ("no promise", "do not say how often an image like this one is unwanted"),
        ("thresholds near the ends", "0.00002346 ["),
        ("thresholds near the ends", "0.9999999 ["),
    ],
)
def test_sentences_follow_the_figures(name, sentence):
    assert sentence in answer(name)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no verdicts", "**Yes"),
        ("no flags", "sorted the flagged images"),
        ("nothing failed", "passed over"),
        ("all looked at, none unwanted", "Nobody has looked at"),
        ("no promise", "come with a promise"),
        ("no promise", "under `limits`"),
        ("sample", "square in the middle"),
        ("bare method", "pixels a side"),
        ("ones", "1 images"),
        ("sample", "block list to be read"),
        ("sample", "who these people are, or"),
        ("no promise", "another run"),
        ("all looked at", "drawn at random"),
        ("all looked at", "speaks for"),
        ("all looked at", "random sample"),
        ("all looked at", "interval: 10.0"),
        ("sample", "only if those with a verdict"),
    ],
)
def test_sentences_that_do_not_apply_are_left_out(name, sentence):
    assert sentence not in answer(name)


def test_a_path_on_somebodys_machine_is_cut_to_its_last_part():
    text = write_answer(sample_report(source_location="/home/anna/secret/photos/"))
    assert "`photos`" in text
    assert "anna" not in text
    assert "`s3://bucket/photos`" in write_answer(sample_report(source_location="s3://bucket/photos"))


def test_the_works_that_are_cited_are_listed():
    body, _, references = parts(write_answer(sample_report()))
    assert "Gebru et al. 2021" in body
    assert "Communications of the ACM 64(12), 86-92" in references
    assert references.strip().count("\n\n") == 3
    assert "Benjamini" not in answer("no classes, no captions")


def test_the_unwanted_classes_are_named_where_they_are_known():
    method = {"classifier": {"class_names": ["positive", "negative"], "unwanted": [False, True]}}
    assert "made to find (class `negative`)" in write_answer(sample_report(method=method))
    method = {"classifier": {"class_names": ["a", "b", "c"], "unwanted": [True, False, True]}}
    assert "made to find (classes `a`, `c`)" in write_answer(sample_report(method=method))
