"""The properties of Croissant's vocabulary for responsible AI, as plain texts that name their rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from clipsieve.outputs.datasheet import findings, gaps, judgements, methods
from clipsieve.outputs.datasheet.cited import Cited, Piece, inflect
from clipsieve.outputs.datasheet.short_answer import short_answer
from clipsieve.outputs.report.records import Report

__all__ = ["add_properties", "is_ours", "responsible_properties"]

# Ends each of these texts, so that a later run knows its own: in full, since nobody writes that by chance.
_TRACE = " (written by `clipsieve datasheet`; {rows})"
_ROWS, _NO_ROWS = "rows of report.json: ", "no row of report.json"
_OURS = re.compile(
    r"[^\r\n]+ \(written by `clipsieve datasheet`; (?:rows of report\.json: \[1\] `[^\r\n]+|no row of report\.json)\)"
)


def responsible_properties(report: Report) -> dict[str, str | list[str]]:
    """Return the `rai:` properties that a report knows something of.

    Names, types and cardinalities are those of "Croissant RAI specification", version 1.0 (MLCommons 2024), table of properties:
    a list where it says MANY, a text where it says ONE. What a report cannot know is left out: how the images were
    collected, who the annotators are, on what platform they worked, who maintains the data set.
    """
    properties: dict[str, str | list[str]] = {
        "rai:annotationsPerItem": _text(report, _per_item),
        "rai:dataAnnotationProtocol": _text(report, methods.thresholds, methods.calibration, methods.people),
        "rai:dataBiases": [_text(report, gaps.leanings), _text(report, findings.class_words, _classes)],
        "rai:dataCollectionMissingData": _text(report, gaps.failure_words),
        "rai:dataLimitations": [
            *(_text(report, gap) for gap in gaps.GAPS),
            _text(report, judgements.estimate),
            _text(report, _uses),
        ],
        "rai:dataPreprocessingProtocol": [_text(report, methods.changes)],
        "rai:machineAnnotationTools": [_text(report, methods.tools), _text(report, findings.concept_words)],
        "rai:personalSensitiveInformation": [
            _text(report, gaps.personal),
            _text(report, short_answer, findings.flags, judgements.verdicts),
        ],
    }
    return {
        key: [text for text in said if text] if isinstance(said, list) else said for key, said in properties.items()
    }


def _per_item(cited: Cited) -> Piece:
    n, n_scored = cited.known("figures/n_verdicts"), cited.known("figures/n_scored")
    rest = "; the other scored images have none" if 0 < n.value < n_scored.value else ""
    return cited.say(
        "{n} {have} a verdict of at least one person" + rest + ".",
        n=cited.count("figures/n_verdicts", "scored image"),
        have=inflect(n, "has", "have"),
    )


def _uses(cited: Cited) -> Piece:
    return cited.join(gaps.uses(cited))


def _classes(cited: Cited) -> Piece:
    return cited.join(findings.class_lines(cited), "; ")


def _text(report: Report, *parts: Callable[[Cited], Piece]) -> str:
    """Return some sentences with the rows that they refer to; nothing if they say nothing."""
    cited = Cited(report, is_markdown=False)
    text = cited.join(part(cited) for part in parts).text
    notes = cited.notes()
    return text and text + _TRACE.format(rows=_ROWS + "; ".join(notes) if notes else _NO_ROWS)


def add_properties(existing: dict[str, object], added: dict[str, str | list[str]]) -> dict[str, object]:
    """Return a description with the properties in it, beside what its owner says there; what an earlier run said goes."""
    return existing | {key: _merged(existing.get(key), value) for key, value in added.items()}


def _merged(theirs: object, ours: str | list[str]) -> object:
    if isinstance(ours, str):  # ONE: paragraphs of one text
        if isinstance(theirs, str):
            return "\n\n".join([*(text for text in theirs.split("\n\n") if not is_ours(text)), ours])
        return ours if theirs is None else [*_foreign(theirs if isinstance(theirs, list) else [theirs]), ours]
    kept = theirs if isinstance(theirs, list) else [] if theirs is None else [theirs]
    return [*_foreign(kept), *ours]


def _foreign(texts: Iterable[object]) -> list[object]:
    return [text for text in texts if not (isinstance(text, str) and is_ours(text))]


def is_ours(text: str) -> bool:
    """Return whether a text is one that `responsible_properties` gave, for this report or another."""
    return _OURS.fullmatch(text) is not None
