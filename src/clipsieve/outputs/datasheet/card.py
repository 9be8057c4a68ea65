"""The section on content that may offend for the card of a data set on the Hugging Face hub."""

from __future__ import annotations

import re

from clipsieve.errors import UsageError
from clipsieve.outputs.datasheet import findings, methods
from clipsieve.outputs.datasheet.cited import Cited, Piece
from clipsieve.outputs.datasheet.front_matter import add_tag, has_tag, split_front_matter
from clipsieve.outputs.datasheet.gaps import gaps, leanings
from clipsieve.outputs.datasheet.rounding import ROUNDING_RULES
from clipsieve.outputs.report.records import Report

__all__ = ["AUDIENCE_TAG", "BEGIN", "END", "insert_into_card", "write_card_section"]

# The hub asks before it shows a data set with this tag (https://huggingface.co/content-guidelines).
AUDIENCE_TAG = "not-for-all-audiences"
BEGIN = "<!-- clipsieve: this section is written anew by `clipsieve datasheet` -->"
END = "<!-- clipsieve: end of the section -->"
HEADING = "## Bias, Risks, and Limitations"


def write_card_section(report: Report) -> str:
    """Write the section, between two comments that `insert_into_card` knows it by.

    It stands under "Bias, Risks, and Limitations", a heading of the hub's template for cards (huggingface_hub,
    `templates/datasetcard_template.md`). If any image is flagged or was judged unwanted, front matter with the tag
    `not-for-all-audiences` comes first.

    Parameters
    ----------
    report : Report
        What was found.

    Returns
    -------
    str
        Markdown; a whole card of its own, if there is no other.
    """
    cited = Cited(report)
    is_tagged = bool(cited.known("figures/n_flagged") or cited.known("figures/n_verdicts_unwanted"))
    paragraphs = [
        BEGIN,
        HEADING,
        "### Content that may offend",
        *(find(cited).text for find in (findings.short_answer, findings.flags, findings.verdicts, findings.estimate)),
        *_concepts(cited),
        f"**How it was done.** {methods.tools(cited).text} {methods.promises(cited).text}",
        "**What was not looked at.**",
        _bullets(gaps(cited)),
        f"**Risks.** {leanings(cited).text} An image without a flag is one that a machine did not pick out, and no more.",
        _tag_words(cited).text if is_tagged else "",
        f"**Rows of `report.json`** behind the numbers. {ROUNDING_RULES}",
        "\n".join(f"- {note}" for note in cited.notes()),
        f"**References.** {' '.join(cited.references())}",
        END,
    ]
    section = "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"
    return add_tag(section, AUDIENCE_TAG) if is_tagged else section


def _concepts(cited: Cited) -> list[str]:
    words = findings.concept_words(cited)
    return [words.text, _bullets(findings.concept_lines(cited))]


def _bullets(pieces: list[Piece]) -> str:
    return "\n".join(f"- {piece.text}" for piece in pieces)


def _tag_words(cited: Cited) -> Piece:
    return cited.say(
        "The card has the tag {tag}, so that the hub asks before it shows images. Take it off if people have looked at the "
        "images and found no reason for it.",
        tag=cited.name(AUDIENCE_TAG),
    )


def insert_into_card(existing: str, section: str) -> str:
    """Return a card with the section in it; an earlier one is replaced, and nothing else is lost.

    A new section goes to the end of "Bias, Risks, and Limitations" if the card has that heading, and to the end of the card,
    with the heading, if not. The tag of the section's front matter joins the card's own tags; it is never taken away.

    Parameters
    ----------
    existing : str
        The card, `README.md`; may be empty.
    section : str
        What `write_card_section` wrote.

    Raises
    ------
    UsageError
        If the comments around an earlier section are not one pair, or the tags of the card are in no list.
    """
    tags, new = split_front_matter(section)
    before, after = _around(existing)
    if _has_heading(before) or _has_heading(after):
        new = new.replace(f"{HEADING}\n\n", "", 1)
    new = new.strip("\n")
    newline = "\r\n" if "\r\n" in existing else "\n"
    card = before + new.replace("\n", newline) + after
    return add_tag(card, AUDIENCE_TAG) if has_tag(tags, AUDIENCE_TAG) else card


def _around(card: str) -> tuple[str, str]:
    """Return what stands before the section, and what stands behind it."""
    counts = card.count(BEGIN), card.count(END)
    if counts == (1, 1) and card.index(BEGIN) < card.index(END):
        return card[: card.index(BEGIN)], card[card.index(END) + len(END) :]
    if counts != (0, 0):
        raise UsageError(
            "the card does not say where the section of clipsieve begins and ends",
            expected=f"once `{BEGIN}`, and behind it once `{END}`, or neither",
            found=f"{counts[0]} and {counts[1]} of them",
            state="nothing was changed",
            hint="take out the comments, and the section if it is there, by hand",
        )
    newline = "\r\n" if "\r\n" in card else "\n"
    at = _end_of_heading(card)
    before, after = card[:at].rstrip("\r\n"), card[at:]
    gap = newline * 2 if before else ""
    return card[: len(before)] + gap, newline + (newline + after if after else "")


def _end_of_heading(card: str) -> int:
    """Return where the part under the template's heading ends; the end of the card if there is none."""
    is_inside = False
    for start, line in _lines(card):
        if is_inside and re.match(r"#{1,2} ", line):
            return start
        is_inside = is_inside or line.rstrip() == HEADING
    return len(card)


def _has_heading(card: str) -> bool:
    return any(line.rstrip() == HEADING for _, line in _lines(card))


def _lines(card: str) -> list[tuple[int, str]]:
    """Return the lines outside of code blocks, and where each begins."""
    found, start, fence = [], 0, ""
    for line in card.splitlines(keepends=True):
        opened = re.match(r" {0,3}(`{3,}|~{3,})", line)
        if fence and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
        elif opened and not fence:
            fence = opened[1]
        elif not fence:
            found.append((start, line))
        start += len(line)
    return found
