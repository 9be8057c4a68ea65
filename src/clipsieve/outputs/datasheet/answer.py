"""The datasheet's answer on content that may offend, with notes for its neighbouring sections, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from clipsieve.outputs.datasheet import findings, judgements, methods
from clipsieve.outputs.datasheet.cited import Cited, Piece
from clipsieve.outputs.datasheet.gaps import gaps, judgement
from clipsieve.outputs.datasheet.rounding import ROUNDING_RULES
from clipsieve.outputs.datasheet.short_answer import short_answer
from clipsieve.outputs.report.records import Report

__all__ = ["TITLE", "figure_list", "write_answer"]

TITLE = "# Datasheet: content that may offend in "

QUESTION = (
    "> Does the dataset contain data that, if viewed directly, might be offensive, insulting, threatening, or might otherwise "
    "cause anxiety? If so, please describe why."
)


def write_answer(report: Report) -> str:
    """Write the answer to the question on offensive content, from the figures.

    The question is one of those on composition in Gebru et al. 2021, "Datasheets for Datasets", Communications of the ACM 64(12).
    Notes for the sections on collection, on preprocessing, cleaning and labeling, and on uses go with it. The text never
    vouches for a data set. Behind each number stands the number of a row of `report.json`; the rows are listed at the end.

    Parameters
    ----------
    report : Report
        What was found.

    Returns
    -------
    str
        Markdown, ready for the appendix of a paper. Names from the data set are code spans, whatever they hold.
    """
    cited = Cited(report)
    sections = [
        _lines(f"{TITLE}{cited.title(report.title).text}", _opening(cited).text),
        _composition(cited),
        _lines("## Collection process", methods.source(cited).text, _collection(cited).text),
        _preprocessing(cited),
        _lines("## What was not looked at", _bullets(gaps(cited)), _limits(cited).text),
        _lines("## Uses", *(piece.text for piece in judgement(cited))),
        figure_list(cited, "## Figures"),
        _lines("## References", *cited.references()),
    ]
    return "\n".join(sections)


def figure_list(cited: Cited, heading: str) -> str:
    """Return the list of the rows that a text referred to."""
    rule = (
        "A number in brackets leads to the row of `report.json` that the number before it comes from, shown here as it "
        f"stands there. {ROUNDING_RULES}"
    )
    return _lines(heading, rule, "\n".join(f"- {note}" for note in cited.notes()))


def _lines(*paragraphs: str) -> str:
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def _bullets(pieces: Iterable[Piece]) -> str:
    return "\n".join(f"- {piece.text}" for piece in pieces)


def _opening(cited: Cited) -> Piece:
    return cited.say(
        "This is an answer to one question of *Datasheets for Datasets* ({datasheets}), with notes for the sections around it. "
        "The images were searched with a classifier, a way to answer it that was proposed before ({paper}). The text was "
        "written from the figures of `report.json`, made on {date}. "
        "“Unwanted” stands for images that the classifier was made to find{classes}, and that people judged to be such.",
        datasheets=cited.work("datasheets"),
        paper=cited.work("question"),
        date=cited.date(cited.report.made),
        classes=_unwanted_classes(cited),
    )


def _unwanted_classes(cited: Cited) -> Piece:
    classifier = cited.report.method.get("classifier")
    names, flags = (
        classifier.get(key) if isinstance(classifier, dict) else None for key in ("class_names", "unwanted")
    )
    if not isinstance(names, list | tuple) or not isinstance(flags, list | tuple):
        return cited.say("")
    found = [cited.name(str(name)) for name, flag in zip(names, flags, strict=False) if flag is True]
    if not found:
        return cited.say("")
    classes = " (class {names})" if len(found) == 1 else " (classes {names})"
    return cited.say(classes, names=cited.join(found, ", "))


def _composition(cited: Cited) -> str:
    return _lines(
        "## Composition",
        QUESTION,
        short_answer(cited).text,
        findings.flags(cited).text,
        judgements.verdicts(cited).text,
        judgements.estimate(cited).text,
        findings.concept_words(cited).text,
        _bullets(findings.concept_lines(cited)),
        findings.class_words(cited).text,
        _bullets(findings.class_lines(cited)),
    )


def _limits(cited: Cited) -> Piece:
    return cited.say("`report.json` lists the limits of its figures under `limits`." if cited.report.limits else "")


def _collection(cited: Cited) -> Piece:
    return cited.say(
        "How the images were found and chosen, by whom, and with whose consent, is for the makers of the data set to say: "
        "their files do not tell."
    )


def _preprocessing(cited: Cited) -> str:
    steps = (methods.tools, methods.thresholds, methods.calibration, methods.people, methods.changes)
    return _lines("## Preprocessing, cleaning, labeling", *(step(cited).text for step in steps))
