"""The headings of a Markdown text and where they stand, so that a section can be put under one without a word being moved."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Heading", "find_headings"]

_LINE = re.compile(r"([^\r\n]*)(\r\n|\n|\r|\Z)")
_FENCE = re.compile(r" {0,3}(`{3,}(?!.*`)|~{3,})")
_HASHES = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*")
_RULE = re.compile(r" {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}")
_ITEM = re.compile(r" {0,3}(?:[-+*]|\d{1,9}[.)])(?:[ \t]|$)")
_OTHER = re.compile(r" {0,3}(?:>|<[A-Za-z/!?])")  # a quotation, or HTML
_COMMENT = ("<!--", "-->")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading: where its first line begins, its level from 1 to 6, and its words as they are written."""

    start: int
    level: int
    title: str


def find_headings(text: str) -> Iterator[Heading]:
    """Yield the headings with hashes and the underlined ones, in order (CommonMark 0.31.2, sections 4.2 and 4.3).

    Those within code, comments, quotations and lists are none of the text's own.

    Parameters
    ----------
    text : str
        Markdown without front matter.
    """
    paragraph: list[str] = []
    start, is_item, is_lazy = (
        0,
        False,
        False,
    )  # a line without a mark may still belong to the item or quotation before it
    for at, line in _lines(text):
        is_indented = line is not None and line.startswith(("  ", "\t"))
        is_item = is_item and line is not None and (is_lazy or not line.strip() or is_indented)
        if line is None or not line.strip():
            paragraph, is_lazy = [], False
        elif is_item and is_indented:
            is_lazy = True
        elif found := _HASHES.match(line):
            yield Heading(at, len(found[1]), _without_hashes(line[found.end() :]))
            paragraph, is_item, is_lazy = [], False, False
        elif paragraph and (found := _UNDERLINE.fullmatch(line)):
            yield Heading(start, 1 if found[1][0] == "=" else 2, " ".join(paragraph))
            paragraph = []
        elif _RULE.fullmatch(line):
            paragraph, is_item, is_lazy = [], False, False
        elif _ITEM.match(line) or _OTHER.match(line):
            paragraph, is_item, is_lazy = [], _ITEM.match(line) is not None, True
        elif paragraph or not (is_lazy or line.startswith(("    ", "\t"))):
            start = start if paragraph else at
            paragraph.append(line.strip())


def _without_hashes(words: str) -> str:
    """Return the words of a heading without the hashes that may close it."""
    words = words.strip()
    bare = words.rstrip("#")
    return bare.strip() if not bare or bare[-1] in " \t" else words


def _lines(text: str) -> Iterator[tuple[int, str | None]]:
    """Yield where each line begins, and the line; None for those of fenced code and of comments."""
    end: re.Pattern[str] | None = None
    for found in _LINE.finditer(text):
        line, opened = found[1], _FENCE.match(found[1])
        if end is not None:
            end = None if end.search(line) else end
            yield found.start(), None
        elif opened:
            end = re.compile(rf"^ {{0,3}}{opened[1]}{opened[1][0]}*[ \t]*$")
            yield found.start(), None
        elif line.lstrip(" ").startswith(_COMMENT[0]):
            end = None if _COMMENT[1] in line else re.compile(_COMMENT[1])
            yield found.start(), None
        else:
            yield found.start(), line
