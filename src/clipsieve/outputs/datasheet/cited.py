"""Prose in which every number names the row of `report.json` that it comes from.

Sentences are templates without digits. What fills them are pieces, and pieces with numbers are made by `Cited` alone, which
puts the number of a note behind each and remembers the row. So no number can get into a text without its reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from string import Formatter

from clipsieve.outputs.datasheet.names import as_code, as_sentence, as_title
from clipsieve.outputs.datasheet.rounding import as_confidence, as_level, as_percentage
from clipsieve.outputs.datasheet.rows import Row, RowValue, find_row
from clipsieve.outputs.datasheet.works import WORKS
from clipsieve.outputs.report.records import Report

__all__ = ["Cited", "Piece", "Quantity", "inflect"]

_UNKNOWN = "an unknown number"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of finished text; only this module makes one."""

    text: str


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number as it is known, for choosing words by; it cannot get into a text."""

    is_known: bool
    value: float

    def __bool__(self) -> bool:
        return self.value > 0


def inflect(number: Quantity, one: str, many: str) -> Piece:
    """Return the word that goes with a number: "was" with one, "were" with none and with several."""
    word = one if number.value == 1 else many
    _check_literal(word)
    return Piece(word)


class Cited:
    """Writes sentences on one report, and keeps the rows and works that they refer to.

    Parameters
    ----------
    report : Report
        What the sentences are about.
    is_markdown : bool, default=True
        Whether quoted sentences are escaped for it. Names are code spans anyhow, which plain text bears too.
    """

    def __init__(self, report: Report, *, is_markdown: bool = True) -> None:
        self.report = report
        self._is_markdown = is_markdown
        self._rows: dict[str, Row] = {}
        self._works: list[str] = []

    def known(self, path: str, field: str | None = None) -> Quantity:
        """Return a number to choose words by; a row that is not there, or null, is not known and counts as 0."""
        try:
            value = _value(find_row(self.report, path), field)
        except KeyError:
            value = None
        is_number = isinstance(value, int | float)
        return Quantity(is_number, float(value) if is_number else 0.0)  # type: ignore[arg-type]

    def number(self, path: str, field: str | None = None, *, zero: str = "none") -> Piece:
        """Return a count with its reference; 0 is a word."""
        count = self.known(path, field)
        return self._referred(path, (f"{count.value:,.0f}" if count else zero) if count.is_known else _UNKNOWN)

    def count(self, path: str, noun: str, many: str | None = None, field: str | None = None) -> Piece:
        """Return a count and what is counted, with the reference behind both: "1 image [3]", "no images [3]"."""
        count = self.known(path, field)
        _check_literal(noun + (many or ""))
        word = noun if count.value == 1 else many or f"{noun}s"
        shown = (f"{count.value:,.0f}" if count else "no") if count.is_known else f"{_UNKNOWN} of"
        return self._referred(path, f"{shown} {word}")

    def share(self, path: str, field: str | None = None) -> Piece:
        """Return a share as a percentage, with its interval if the row has one, and the reference behind both."""
        values = find_row(self.report, path).values
        shown = as_percentage(self._number(path, field))
        low, high, confidence = (values.get(name) for name in ("low", "high", "confidence"))
        if isinstance(low, int | float) and isinstance(high, int | float):
            ends = " to ".join(as_percentage(end, small="below", large="above") for end in (low, high))
            level = f"{as_confidence(confidence)} confidence " if isinstance(confidence, int | float) else ""
            shown += f" ({level}interval: {ends})"
        return self._referred(path, shown)

    def level(self, path: str, field: str | None = None) -> Piece:
        """Return a threshold or margin with its reference."""
        return self._referred(path, as_level(self._number(path, field)))

    def several(self, path: str, template: str, name: Piece | None = None, **fields: str) -> Piece:
        """Return several numbers of one row in a phrase, with one reference behind it.

        Fields are named after what they are shown as, `count`, `share` or `level`, and what follows an underscore:
        `several(path, "{count_n} images, {share}", count_n="n", share="share")`.
        """
        shown = {key: self._as(key.partition("_")[0], path, field) for key, field in fields.items()}
        return self._referred(path, self.say(template, **shown, **({} if name is None else {"name": name})).text)

    def _as(self, kind: str, path: str, field: str) -> Piece:
        value = self._number(path, field)
        shown = {"count": f"{value:,.0f}", "share": as_percentage(value), "level": as_level(value)}
        return Piece(shown[kind])

    def quote(self, path: str) -> Piece:
        """Return a row that is a sentence, in quotation marks, with its reference."""
        value = _value(find_row(self.report, path), None)
        return self._referred(path, f"“{as_sentence(str(value), is_markdown=self._is_markdown)}”")

    def work(self, key: str) -> Piece:
        """Return the short form of a citation; the work goes into the list of references."""
        if key not in self._works:
            self._works.append(key)
        return Piece(WORKS[key].short)

    def say(self, template: str, **pieces: Piece) -> Piece:
        """Return a template with its fields filled; ValueError if it holds a digit, or a field is no piece.

        The sentence begins with a capital letter if its first word is a piece.
        """
        names = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
        _check_literal(Formatter().vformat(template, (), dict.fromkeys(names, "")))
        if names != pieces.keys() or not all(isinstance(piece, Piece) for piece in pieces.values()):
            raise ValueError(f"pieces {sorted(pieces)} do not fill {template!r}")
        text = template.format(**{name: piece.text for name, piece in pieces.items()})
        return Piece(text[:1].upper() + text[1:] if template.startswith("{") else text)

    def strong(self, words: str) -> Piece:
        """Return words that stand out where the text is Markdown."""
        _check_literal(words)
        return Piece(f"**{words}**" if self._is_markdown else words)

    @staticmethod
    def join(pieces: Iterable[Piece], separator: str = " ") -> Piece:
        """Return pieces as one; empty ones are left out."""
        _check_literal(separator)
        return Piece(separator.join(piece.text for piece in pieces if piece.text))

    @staticmethod
    def name(text: str) -> Piece:
        """Return a name as a code span."""
        return Piece(as_code(text))

    @staticmethod
    def title(text: str) -> Piece:
        """Return a name that reads like a word, where it is one."""
        return Piece(as_title(text))

    @staticmethod
    def date(text: str) -> Piece:
        """Return the day of a time in ISO 8601; anything else as a code span."""
        day = text[:10]
        return Piece(day) if _DATE.fullmatch(day) else Piece(as_code(text))

    def notes(self) -> list[str]:
        """Return a line for each row that was referred to, with its values as they are in the file."""
        return [f"[{number}] {self._note(row)}" for number, row in enumerate(self._rows.values(), start=1)]

    def references(self) -> list[str]:
        """Return an entry for each work that was cited, in alphabetical order."""
        return sorted(WORKS[key].entry for key in self._works)

    def _note(self, row: Row) -> str:
        shown = [f"{name} = {_shown(value)}".removeprefix(" = ") for name, value in row.values.items()]
        is_text = any(isinstance(value, str) for value in row.values.values())
        values = ": a sentence" if is_text else f": {', '.join(shown)}"
        words = as_sentence(row.words, is_markdown=self._is_markdown)
        named = f"{words}, {as_code(row.name)}" if row.name is not None else words
        return f"`{row.path}`{values}{f' ({named})' if named else ''}"

    def _number(self, path: str, field: str | None) -> int | float:
        value = _value(find_row(self.report, path), field)
        if not isinstance(value, int | float):
            raise ValueError(f"{path} {field or ''} is no number")  # noqa: TRY004 - the report's fault, not the type's
        return value

    def _referred(self, path: str, shown: str) -> Piece:
        self._rows.setdefault(path, find_row(self.report, path))
        return Piece(f"{shown} [{list(self._rows).index(path) + 1}]")


def _value(row: Row, field: str | None) -> RowValue:
    return row.values[next(iter(row.values)) if field is None else field]


def _shown(value: RowValue) -> str:
    return "not known" if value is None else repr(value)


def _check_literal(text: str) -> None:
    if any(letter.isdigit() for letter in text):
        raise ValueError(f"a number without a reference: {text!r}")
