"""Names and sentences from elsewhere as Markdown: whatever they hold, they stay one harmless piece of a line."""

from __future__ import annotations

import re
import unicodedata

from clipsieve.legible import as_text

__all__ = ["MAX_NAME_CHARS", "as_code", "as_sentence", "as_title", "last_part"]

MAX_NAME_CHARS = 80
_MAX_SENTENCE_CHARS = 400
_PLAIN_SIGNS = frozenset(" ,-'()")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# What would become a link without brackets, on GitHub and the hub.
_BARE_LINK = re.compile(r"(?<=:)//|(?<=www)\.|@", re.IGNORECASE)


def as_code(name: str, max_chars: int = MAX_NAME_CHARS) -> str:
    """Return a name as a code span, in which nothing else is read as Markdown or HTML.

    Control and bidirectional characters are spelled out, the rest of a long name is left out, and a name that is written from
    right to left is isolated from the numbers beside it (Unicode Standard Annex 9, section 2.4).
    """
    shown = as_text(name, max_chars)
    if not shown.strip():
        return "(a name without letters)"
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    pad = " " if "`" in (shown[0], shown[-1]) or shown[0] == shown[-1] == " " else ""
    return _isolated(f"{fence}{pad}{shown}{pad}{fence}")


def as_title(name: str) -> str:
    """Return a name without decoration if it is letters and a few harmless signs, else as a code span."""
    is_plain = bool(name.strip()) and all(letter.isalpha() or letter in _PLAIN_SIGNS for letter in name)
    if not is_plain or len(name) > MAX_NAME_CHARS or name != name.strip() or name.startswith("-"):
        return as_code(name)
    return _isolated(name)


def as_sentence(text: str, *, is_markdown: bool = True) -> str:
    """Return a sentence that was written elsewhere, with every sign escaped that Markdown or HTML would read.

    Without Markdown, only code spans are made impossible: names are code spans there too.
    """
    shown = as_text(text, _MAX_SENTENCE_CHARS)
    if not is_markdown:
        return _isolated(shown.replace("`", "'"))
    escaped = "".join(_ENTITIES.get(sign, f"\\{sign}" if sign in "\\`*_[]#|~!$^{}" else sign) for sign in shown)
    return _isolated(_BARE_LINK.sub(lambda found: "".join(f"&#{ord(sign)};" for sign in found.group()), escaped))


def _isolated(text: str) -> str:
    is_turned = any(unicodedata.bidirectional(letter) in ("R", "AL", "AN") for letter in text)
    return f"\N{FIRST STRONG ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}" if is_turned else text


def last_part(location: str) -> str:
    """Return what may be published of a location: all of an address, of a path on somebody's machine the last part."""
    if "://" in location and not location.startswith("file://"):
        return location
    return location.rstrip("/").rpartition("/")[2] or location
