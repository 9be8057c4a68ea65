"""Words that leave this machine, without the folders of the person who works on it."""

from __future__ import annotations

import re

__all__ = ["as_printable", "without_folders"]

# In marks a path may hold spaces; outside it ends at one. A URL is no folder of anybody's, unless it is a local file's.
_FOLDER = r"(?:file://)?(?:[A-Za-z]:[\\/]|\\\\|(?:~[^/\s`'\"]*|\.{1,2})?/)"
_IN_MARKS = re.compile(rf"([`'\"]){_FOLDER}(?:(?!\1).)*?((?:(?!\1)[^\\/])*)[\\/]*\1")
_BARE = re.compile(rf"(?<![\w:/\\.~`'\"-]){_FOLDER}(?:[^\s`'\"\\/]+[\\/])*([^\s`'\"\\/]*)")


def without_folders(text: str) -> str:
    """Return a text in which of each local path only the last part stands.

    Examples
    --------
    >>> without_folders("there is no model folder `/home/ann/my models/clip`, nor ~/clip: s3://bucket/clip")
    'there is no model folder `clip`, nor clip: s3://bucket/clip'
    """
    return as_printable(_BARE.sub(r"\1", _IN_MARKS.sub(r"\1\2\1", text)))


def as_printable(text: str) -> str:
    r"""Return a text that UTF-8 can hold: bytes of names that are no UTF-8 become `\xNN`.

    Examples
    --------
    >>> as_printable("caf\udce9")
    'caf\\xe9'
    """
    return text.encode(errors="surrogateescape" if _is_escaped(text) else "backslashreplace").decode(
        errors="backslashreplace"
    )


def _is_escaped(text: str) -> bool:
    """Return whether every lone surrogate stands for a byte, as the system's names have it (PEP 383)."""
    return all(0xDC80 <= ord(mark) <= 0xDCFF for mark in text if 0xD800 <= ord(mark) <= 0xDFFF)
