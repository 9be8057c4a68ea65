"""The section of a data set card: it can be put into any card again and again, and loses nothing of it."""

import re
from functools import cache

import pytest
from huggingface_hub import DatasetCard, DatasetCardData
from markdown_it import MarkdownIt

from clipsieve.errors import UsageError
from clipsieve.outputs.datasheet.card import AUDIENCE_TAG, BEGIN, END, insert_into_card, write_card_section
from clipsieve.outputs.datasheet.front_matter import add_tag
from datasheet_reports import PRAISE, report_json, reports, untraced, without_names
from report_records import sample_report

REPORTS = reports()
each_report = pytest.mark.parametrize("name", REPORTS)
SECTION = write_card_section(sample_report())
OTHER = write_card_section(REPORTS["no flags"])
HEADING = "## Bias, Risks, and Limitations"


@cache
def section_of(name):
    return write_card_section(REPORTS[name])


CARDS = {
    "empty": "",
    "words": "# Photos\n\nMy photos.\n",
    "no end of line": "# Photos",
    "front matter": "---\nlicense: mit\n---\n# Photos\n",
    "tags": "---\ntags:\n- photos\n- art  # mine\nlicense: mit\n---\n\n# Photos\n",
    "indented tags": "---\nlicense: mit\ntags:\n  - photos\n---\n# Photos\n",
    "tags in brackets": "---\ntags: [photos, 'art']\n---\n# Photos\n",
    "no tags in brackets": "---\ntags: []\n---\n# Photos\n",
    "tags without a tag": "---\ntags:\nlicense: mit\n---\n# Photos\n",
    "tag is there": f"---\ntags:\n- a\n- '{AUDIENCE_TAG}'\n---\n# Photos\n",
    "heading": f"# Photos\n\n{HEADING}\n\nOurs.\n\n### Recommendations\n\nNone.\n\n## Citation\n\n    x\n",
    "heading at the end": f"# Photos\n\n{HEADING}\n",
    "heading in code": f"# Photos\n\n```markdown\n{HEADING}\n## Citation\n```\n\n## Citation\n",
    "other line ends": f"---\r\nlicense: mit\r\n---\r\n# Photos\r\n\r\n{HEADING}\r\n\r\nOurs.\r\n\r\n## Citation\r\n",
    "template": DatasetCard.from_template(DatasetCardData()).content,
}
each_card = pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)


@each_report
def test_each_number_names_the_row_that_says_so(name):
    body, notes = section_of(name).split("**Rows of `report.json`**")
    assert untraced(body, notes, report_json(REPORTS[name])) == []
    assert PRAISE.findall(without_names(body + notes)) == []


@each_report
def test_it_is_plain_markdown_whatever_the_names_hold(name):
    section = section_of(name)
    tokens = (
        MarkdownIt("commonmark")
        .enable(["table", "strikethrough"])
        .parse(re.sub(r"\A---\n.*?\n---\n", "", section, flags=re.DOTALL))
    )
    tokens += [child for token in tokens for child in token.children or ()]
    assert not {"html_inline", "link_open", "image", "fence", "table_open"} & {token.type for token in tokens}
    assert [token.content.strip() for token in tokens if token.type == "html_block"] == [BEGIN, END]


def test_it_is_tagged_when_something_is_flagged_or_judged_unwanted():
    assert DatasetCard(SECTION).data.tags == [AUDIENCE_TAG]
    assert f"`{AUDIENCE_TAG}`" in SECTION
    assert AUDIENCE_TAG not in OTHER
    assert OTHER.startswith(BEGIN)


def bare(text):
    """Return the lines of a card without the tag, and without the frame that a first tag needs."""
    lines = [re.sub(rf"(, )?{AUDIENCE_TAG}", "", line).strip() for line in text.splitlines()]
    return [line for line in lines if line not in ("", "-", "- ''", "---", "tags:", "{}")]


@each_card
def test_nothing_of_the_card_is_lost(card):
    done = insert_into_card(card, SECTION)
    before, after = done.split(done[done.index(BEGIN) : done.index(END) + len(END)])
    assert bare(before + after) == bare(card)


@each_card
def test_a_second_time_changes_nothing_and_a_new_section_takes_the_place_of_the_old(card):
    once = insert_into_card(card, SECTION)
    assert insert_into_card(once, SECTION) == once
    other = insert_into_card(once, OTHER)
    assert insert_into_card(other, SECTION) == once
    assert other.count(BEGIN) == other.count(END) == 1
    assert "flagged no images" in other
    assert "**Yes.**" not in other


@each_card
def test_the_hub_reads_the_tags(card):
    done = DatasetCard(insert_into_card(card, SECTION))
    before = DatasetCard(card, ignore_metadata_errors=True).data.to_dict() if card else {}
    assert AUDIENCE_TAG in done.data.tags
    assert sorted(set(before.get("tags") or ()) | {AUDIENCE_TAG}) == sorted(done.data.tags)
    assert {**before, "tags": None} == {**done.data.to_dict(), "tags": None}


@each_card
def test_the_heading_stands_there_once(card):
    done = insert_into_card(card, SECTION)
    outside_code = re.sub(r"(?ms)^```.*?^```", "", done)
    assert len(re.findall(rf"(?m)^{HEADING}\r?$", outside_code)) == 1


def test_it_goes_to_the_end_of_the_part_under_the_heading_of_the_template():
    done = insert_into_card(CARDS["heading"], SECTION)
    places = [
        done.index(words)
        for words in (HEADING, "### Recommendations", BEGIN, "### Content that may offend", END, "## Citation")
    ]
    assert places == sorted(places)


def test_line_ends_stay_those_of_the_card():
    done = insert_into_card(CARDS["other line ends"], SECTION)
    assert "\n" not in done.replace("\r\n", "")


@pytest.mark.parametrize("card", [BEGIN, END, END + BEGIN, BEGIN + BEGIN + END, BEGIN + END + END])
def test_comments_that_are_no_pair_are_refused(card):
    with pytest.raises(UsageError, match="begins and ends"):
        insert_into_card(card, SECTION)


@pytest.mark.parametrize(
    "tags", ["tags: photos", "tags: {a: b}", "tags: &x [a]", "tags: null", "{license: mit}", '"tags": [a]']
)
def test_tags_that_only_a_parser_could_change_are_refused(tags):
    with pytest.raises(UsageError, match="cannot add the tag"):
        add_tag(f"---\n{tags}\n---\n# Photos\n", AUDIENCE_TAG)


@pytest.mark.parametrize(
    "heading",
    [f"{HEADING} ##", f"  {HEADING}  ", "Bias, Risks, and Limitations\n---", "Bias, Risks, and Limitations\n===="],
)
def test_the_heading_of_the_template_is_known_however_it_is_written(heading):
    done = insert_into_card(f"# Photos\n\n{heading}\n\nOurs.\n\nCitation\n--------\n\nx\n", SECTION)
    places = [done.index(words) for words in (heading, "Ours.", BEGIN, END, "Citation\n---", "x\n")]
    assert places == sorted(places)
    assert f"{HEADING}\n\n### Content" not in done


def test_a_comment_of_the_front_matter_is_no_heading():
    done = insert_into_card(f"---\n{HEADING}\nlicense: mit\n---\n# Photos\n", SECTION)
    assert done.index("license: mit") < done.index("# Photos") < done.index(BEGIN)
    assert f"{HEADING}\n\n### Content" in done


@pytest.mark.parametrize("card", ["# Photos\n", "---\nlicense: mit\n---\n# Photos\n"])
def test_a_byte_order_mark_stays_the_first_character(card):
    assert insert_into_card(f"\ufeff{card}", SECTION) == f"\ufeff{insert_into_card(card, SECTION)}"


@pytest.mark.parametrize("name", ["only blocked", "unwanted and not scored"])
def test_known_files_and_verdicts_on_what_has_no_score_are_reasons_for_the_tag(name):
    assert DatasetCard(section_of(name)).data.tags == [AUDIENCE_TAG]
