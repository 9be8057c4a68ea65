"""The section on content that may offend for the card of a data set on the Hugging Face hub."""

from __future__ import annotations

from clipsieve.errors import UsageError
from clipsieve.outputs.datasheet import findings, judgements, methods
from clipsieve.outputs.datasheet.cited import Cited, Piece
from clipsieve.outputs.datasheet.front_matter import add_tag, has_tag, split_front_matter
from clipsieve.outputs.datasheet.gaps import gaps, leanings
from clipsieve.outputs.datasheet.headings import Heading, find_headings
from clipsieve.outputs.datasheet.rounding import ROUNDING_RULES
from clipsieve.outputs.datasheet.short_answer import short_answer
from clipsieve.outputs.report.records import Report

__all__ = ["AUDIENCE_TAG", "BEGIN", "END", "insert_into_card", "is_section", "write_card_section"]

# The hub asks before it shows a data set with this tag (https://huggingface.co/content-guidelines).
AUDIENCE_TAG = "not-for-all-audiences"
BEGIN = "<!-- clipsieve: this section is written anew by `clipsieve datasheet` -->"
END = "<!-- clipsieve: end of the section -->"
HEADING = "## Bias, Risks, and Limitations"
BYTE_ORDER_MARK = "\ufeff"
_LEVEL = 2
_REASONS_FOR_TAG = ("n_flagged", "n_verdicts_unwanted", "n_unscored_unwanted", "n_blocked")


def write_card_section(report: Report) -> str:
    """Write the section, between two comments that `insert_into_card` knows it by.

    It stands under "Bias, Risks, and Limitations", a heading of the hub's template for cards (huggingface_hub,
    `templates/datasetcard_template.md`). If any image is flagged, is on the block list or was judged unwanted, front matter with
    the tag `not-for-all-audiences` comes first.

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
    is_tagged = any(cited.known(f"figures/{name}") for name in _REASONS_FOR_TAG)
    paragraphs = [
        BEGIN,
        HEADING,
        "### Content that may offend",
        *(find(cited).text for find in (short_answer, findings.flags, judgements.verdicts, judgements.estimate)),
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


def is_section(text: str, *, is_alone: bool) -> bool:
    """Return whether a text holds the section, and if it `is_alone`, no words but those of `write_card_section`."""
    if (text.count(BEGIN), text.count(END)) != (1, 1):
        return False
    front_matter, body = split_front_matter(text)
    is_bare = front_matter in ("", add_tag("", AUDIENCE_TAG)) and body.strip().startswith(BEGIN)
    return not is_alone or (is_bare and body.strip().endswith(END))


def insert_into_card(existing: str, section: str) -> str:
    """Return a card with the section in it; an earlier one is replaced, and nothing else is lost.

    A new section goes to the end of "Bias, Risks, and Limitations" if the card has that heading, and to the end of the card,
    with the heading, if not; a heading may be written with hashes or underlined. The tag of the section's front matter joins the
    card's own tags; it is never taken away.

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
    mark = BYTE_ORDER_MARK if existing.startswith(BYTE_ORDER_MARK) else ""
    existing = existing.removeprefix(mark)
    tags, new = split_front_matter(section)
    before, after = _around(existing)
    if _parts_of_template(before) or _parts_of_template(after):
        new = new.replace(f"{HEADING}\n\n", "", 1)
    new = new.strip("\n")
    newline = "\r\n" if "\r\n" in existing else "\n"
    card = before + new.replace("\n", newline) + after
    return mark + (add_tag(card, AUDIENCE_TAG) if has_tag(tags, AUDIENCE_TAG) else card)


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
    at = _end_of_part(card)
    before, after = card[:at].rstrip("\r\n"), card[at:]
    gap = newline * 2 if before else ""
    return card[: len(before)] + gap, newline + (newline + after if after else "")


def _end_of_part(card: str) -> int:
    """Return where the part under the template's heading ends; the end of the card if there is none."""
    front_matter, body = split_front_matter(card)
    for own in _parts_of_template(card)[:1]:
        following = (other for other in find_headings(body) if other.start > own.start and other.level <= _LEVEL)
        return len(front_matter) + next((other.start for other in following), len(body))
    return len(card)


def _parts_of_template(card: str) -> list[Heading]:
    """Return the headings of that name, with hashes before or behind it, or underlined."""
    _, body = split_front_matter(card)
    return [found for found in find_headings(body) if found.level <= _LEVEL and found.title == HEADING[3:]]
