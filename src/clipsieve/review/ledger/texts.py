"""Texts as every database can hold them: PostgreSQL takes no NUL, and neither takes half a surrogate pair."""

from __future__ import annotations

import hashlib
import re

__all__ = ["key_of", "restored", "restored_or_none", "stored", "stored_or_none"]

_MARK = "\ufdd0"  # Unicode keeps it out of texts, for such ends
_UNSTORABLE = re.compile("[\x00\ufdd0\ud800-\udfff]")
_ESCAPED = re.compile(f"{_MARK}([0-9a-f]{{4}})")


def stored(text: str) -> str:
    r"""Return a text with what a database refuses spelled out; `restored` takes it back exactly.

    Examples
    --------
    >>> ascii(stored("a\x00b"))
    "'a\\ufdd00000b'"
    """
    return _UNSTORABLE.sub(lambda match: f"{_MARK}{ord(match[0]):04x}", text)


def restored(text: str) -> str:
    """Return what `stored` was given."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) if _MARK in text else text


def stored_or_none(text: str | None) -> str | None:
    """Return `stored`, and None for None."""
    return None if text is None else stored(text)


def restored_or_none(text: str | None) -> str | None:
    """Return `restored`, and None for None."""
    return None if text is None else restored(text)


def key_of(text: str) -> str:
    """Return the sha256 of a text in hexadecimal: an index of PostgreSQL takes no value of more than some 2,700 bytes."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
