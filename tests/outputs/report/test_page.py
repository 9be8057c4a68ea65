import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from clipsieve.outputs.report.page import render_page
from clipsieve.outputs.report.records import ClassFlags, HistogramBin, Term, TermSection
from datasheet_reports import with_figures
from report_records import HOSTILE, METHOD, sample_report

VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """Reads a page as a strict reader would: every element is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.inside: dict[str, str] = {"script": "", "style": "", "title": ""}
        self.words = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"an attribute of <{tag}> stands there twice"
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] in self.inside:
            self.inside[self._open[-1]] += data
        else:
            self.words += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def with_class(self, name: str) -> list[dict[str, str]]:
        return [attributes for _, attributes in self.elements if name in (attributes.get("class") or "").split()]


@pytest.fixture(scope="module")
def page():
    return Page(render_page(sample_report()))


def plain(text: str) -> str:
    return " ".join(text.replace("\N{NO-BREAK SPACE}", " ").split())


def test_it_has_one_script_and_one_style_sheet_and_its_policy_knows_them_by_hash(page):
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.inside[kind].encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
        assert page.all(kind) == [{}]


def test_it_asks_nothing_of_the_network_and_runs_nothing_but_its_script(page):
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcdoc")], tag
        assert tag not in ("iframe", "object", "embed", "form", "base", "audio", "video", "foreignobject")
        for name in ("href", "src", "xlink:href", "action", "data", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), attributes
    assert not re.search(r"url\((?!#)|@import|expression", page.inside["style"])
    assert not re.search(
        r"\b(fetch|XMLHttpRequest|eval|innerHTML|import\(|localStorage|cookie)\b", page.inside["script"]
    )


def test_links_within_it_lead_somewhere(page):
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a")} <= set(ids)


def test_hostile_names_are_words_and_nothing_else(page):
    for text in HOSTILE[:2]:
        assert text in page.words
    assert "49" not in page.inside["title"]
    assert "{{ 7 * 7 }}" in page.words
    assert not page.all("b")
    assert r"\x1b" in page.words
    assert r"\u202e" in page.words


def test_no_control_character_reaches_the_file():
    report = sample_report(
        terms=(), title="a\x00\x07\ud800\u202e", source_location="\x1b\ufffe", limits=("\x9f\u2028",)
    )
    text = render_page(report)
    text.encode("utf-8")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufffe\uffff]", text)


def test_it_says_what_the_figures_say(page):
    words = plain(page.words)
    assert "gave 990 of the 1,000 listed images a probability" in words
    assert "It flagged 99 (10.0 %), those at 0.5 or more; people have looked at 40 of these." in words
    assert "95 % interval: 8.3 % to 12.0 %" in words
    assert "40 of 99 flagged images; 29 were judged unwanted nobody has looked at 59 of them" in words
    assert "2 are on the block list that was given to the scan, and were never opened." in words
    assert "2 on the block list, never opened" in words
    assert "8 failed: the classifier has not seen them 0.80 %" in words
    assert "judged 0 unwanted" in words
    assert "people have looked at 10 of these 891. No number here vouches" in words
    assert "891 not flagged 89.1 %" in words
    assert "30 of the 39 were nearest to a concept above, but by less than 0.1" in words
    for limit in sample_report().limits:
        assert limit in words
    for figure in sample_report().figures:
        assert figure.id in words
        assert figure.words in words
    for value in ("ab" * 32, "cd" * 32, "ef" * 32, "12" * 32, "34" * 32, "56" * 32, *METHOD["commands"], "2.4.6"):
        assert value in words


@pytest.mark.parametrize("changes", [{}, {"figures": (), "terms": ()}, {"classes": (), "terms": ()}])
def test_it_never_calls_anything_safe(changes):
    words = plain(Page(render_page(sample_report(**changes))).words).lower()
    found = re.findall(r"\bsafe(?!tensors)\w*|\w+ \w+ harmless|\bclean data|\bno problem", words)
    assert set(found) <= {"not found harmless"}
    assert "what this report does not say" in words


def test_classes_are_bounded_and_the_page_says_where_the_rest_is():
    one = ClassFlags("c", 10, 5, 0.5, 0.2, 0.8, 0.5, 0.5)
    classes = tuple(replace(one, label=f"class {i:05d} " + "y" * 3000) for i in range(20_000))
    found = Page(render_page(sample_report(classes=classes, terms=())))
    assert len([row for row in found.all("tr") if row.get("role") == "row"]) == 100 + 1
    assert "class 00099" in found.words
    assert "class 00100" not in found.words
    assert "19,900 more classes stand in classes.csv" in plain(found.words)


def test_classes_that_stand_out_are_told_apart_by_more_than_colour(page):
    n_over = sum(each.q_value < 0.05 for each in sample_report().classes)
    assert len(page.with_class("sign")) == len(page.with_class("stands-out")) == n_over > 0


@pytest.mark.slow
def test_whatever_is_asked_of_it_the_file_stays_small():
    big = "<&" * 50_000
    report = sample_report()
    example = replace(report.examples[0], image_id=big, label=big, caption=big, thumbnail=b"x" * 30_000)
    terms = tuple(Term(big, 9, 1, 1.0, 5.0) for _ in range(5000))
    report = replace(
        report,
        title=big,
        source_location=big,
        calibration=big,
        promises=(big,) * 1000,
        limits=(big,) * 1000,
        examples=(example,) * 1000,
        terms=(TermSection("captions", 1, 1, terms, terms),),
        histogram=tuple(HistogramBin(i / 400, (i + 1) / 400, i) for i in range(400)),
        taxonomy=replace(report.taxonomy, concepts=(replace(report.taxonomy.concepts[0], prompts=(big,) * 500),) * 300),
        method={
            "deep": {str(i): {str(j): [big] * 100 for j in range(100)} for i in range(100)},
            "commands": [big] * 99,
        },
    )
    n_bytes = len(render_page(report).encode())
    assert n_bytes < 15_000_000


def test_without_thumbnails_there_is_no_picture_of_an_example():
    found = Page(render_page(sample_report(has_thumbnails=False, terms=())))
    assert not found.with_class("thumbnail")
    assert not found.with_class("reveal")
    assert not found.all("img")
    assert len(found.with_class("placeholder")) == len(sample_report().examples)


def test_each_thumbnail_has_a_button_of_its_own_and_what_has_none_says_so(page):
    n = sum(each.thumbnail is not None for each in sample_report().examples)
    assert len(page.with_class("thumbnail")) == len(page.with_class("reveal")) == n
    assert len(page.with_class("placeholder")) == len(sample_report().examples) - n
    assert all(button["aria-pressed"] == "false" for button in page.with_class("reveal"))


def words_of(**changes) -> str:
    return plain(Page(render_page(sample_report(terms=(), **changes))).words)


def test_numbers_and_verbs_agree():
    figures = with_figures(sample_report(), n_flagged_confirmed=1, n_blocked=1, n_flagged_unreviewed=100).figures
    words = words_of(figures=figures)
    assert "1 was judged unwanted nobody has looked at 100 of them" in words
    assert "1 is on the block list" in words


def test_thresholds_without_a_promise_say_whether_there_was_one_for_another_run():
    of_another = {"classifier": {"provenance": {"operating_points": [{"kind": "recall"}]}}}
    assert "Nothing for this run. They were chosen on rated images of another run; " in words_of(
        promises=(), method=of_another
    )
    bare = words_of(promises=())
    assert "Nothing for this run." in bare
    assert "another run" not in bare
    assert "had rated" not in bare


def test_a_threshold_near_one_is_not_shown_as_one():
    text = render_page(sample_report(threshold=0.9999999, terms=()))
    assert "flagged from 0.9999999" in text
    assert "those at 0.9999999 or more" in plain(Page(text).words)


def test_thumbnails_are_spoken_of_only_where_there_are_some():
    none = tuple(replace(each, thumbnail=None) for each in sample_report().examples)
    found = Page(render_page(sample_report(examples=none, terms=())))
    assert "None of these images has a thumbnail; the reason stands under" in plain(found.words)
    assert "grey and blurred" not in found.words
    assert not [each for _, each in found.elements if each.get("id") in ("show-all", "ask")]


@pytest.mark.parametrize("label", ["  ", "", "\u3164", "\u2800", "\u200b", "\ufeff\u2060"])
def test_a_class_without_ink_is_no_empty_row(label):
    found = Page(render_page(sample_report(classes=(replace(sample_report().classes[0], label=label),), terms=())))
    assert len(found.with_class("esc")) > len(Page(render_page(sample_report(classes=(), terms=()))).with_class("esc"))


def test_shares_without_an_interval_say_why():
    sample = sample_report()
    assert "does not speak for the other flagged ones" in words_of()
    shares = dict.fromkeys(("share_confirmed", "precision", "prevalence", "recall"), (0.5, None, None))
    exact = words_of(figures=with_figures(sample, n_verdicts=990, n_flagged_unreviewed=0, **shares).figures)
    assert exact.count("50.0 % exact: people decided on every one") == 4
    assert "drawn at random" not in exact
    unknown = dict.fromkeys(shares)
    assert "it takes verdicts on images drawn at random" in words_of(figures=with_figures(sample, **unknown).figures)
    all_seen = words_of(figures=with_figures(sample, n_verdicts=990, **unknown).figures)
    assert "drawn at random" not in all_seen
    assert "people were unsure of some" in all_seen


def test_a_report_of_nothing_can_be_shown():
    report = sample_report(
        figures=(), failures=(), histogram=(), classes=(), taxonomy=None, terms=(), examples=(), method={}, limits=(),
        promises=(), remove_threshold=None,
    )  # fmt: skip
    words = plain(Page(render_page(report)).words)
    for said in ("names no classes", "was not asked", "neither class names nor captions", "No image is flagged"):
        assert said in words


def test_what_could_not_be_assigned_says_why():
    taxonomy = replace(sample_report().taxonomy, concepts=(), problem="the encoder <is gone>")
    assert "could not be assigned to concepts: the encoder <is gone>." in plain(
        Page(render_page(sample_report(taxonomy=taxonomy, terms=()))).words
    )


def test_the_same_report_gives_the_same_page():
    assert render_page(sample_report()) == render_page(sample_report())


@pytest.mark.parametrize(
    ("made", "words"), [("2026-11-25T23:30:00-02:00", "26 November 2026, 01:30 UTC"), ("?<", "?<")]
)
def test_the_time_is_written_as_a_person_would(made, words):
    assert f"Made {words}" in plain(Page(render_page(sample_report(made=made, terms=()))).words)
