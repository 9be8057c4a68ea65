"""Names and numbers as a reader can take them in: whatever a name holds, it stays one harmless piece of a line."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from itertools import groupby

from markupsafe import Markup

__all__ = [
    "MAX_CHARS",
    "as_compact",
    "as_count",
    "as_name",
    "as_percent",
    "as_q_value",
    "as_range",
    "as_share",
    "as_text",
    "shorten",
]

MAX_CHARS = 120
# They turn the text around them, too: embeddings, overrides, isolates and marks (Unicode Standard Annex 9, section 2).
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# What Unicode calls ignorable though it is a letter or a mark: fillers of Hangul and Khmer, the joiner of graphemes.
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
# Format characters that are drawn: signs of Arabic, Syriac and Kaithi that stand around numbers.
_DRAWN = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
_JOINERS = frozenset("\u200c\u200d")
_BLANK_BRAILLE = "\u2800"
_MAX_MARKS = 4  # on one letter; more of them climb over the lines above and below
_NO_BREAK = "\N{NO-BREAK SPACE}"


def as_name(text: str | None, max_chars: int = MAX_CHARS) -> Markup:
    """Return a name as HTML: isolated from the direction of its neighbours, cut, with what does not print spelled out.

    Parameters
    ----------
    text : str or None
        Anything. None is nothing.
    max_chars : int, default=120
        The rest is left out, and an ellipsis says so.
    """
    if text is None:
        return Markup("")
    shown = list(_pieces(shorten(text, max_chars)))
    if not _has_ink(shown):
        shown = [("".join(map(_spelled, shorten(text, max_chars))) or "(empty)", True)]
    pieces = [
        Markup('<span class="esc">{}</span>').format(piece) if is_spelled else Markup("{}").format(piece)
        for piece, is_spelled in shown
    ]
    return Markup('<bdi class="name">{}</bdi>').format(Markup("").join(pieces))


def as_text(text: str | None, max_chars: int = MAX_CHARS) -> str:
    """Return the same as plain text, for attributes and titles."""
    return "".join(piece for piece, _ in _pieces(shorten(text or "", max_chars)))


def shorten(text: str, max_chars: int) -> str:
    """Return the first characters of a text, and an ellipsis if there are more."""
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def _has_ink(pieces: list[tuple[str, bool]]) -> bool:
    return any(is_spelled or piece.replace(_BLANK_BRAILLE, " ").strip() for piece, is_spelled in pieces)


def _spelled(letter: str) -> str:
    return rf"\x{ord(letter):02x}" if letter.isascii() else letter.encode("unicode_escape").decode()


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Yield stretches of letters, and of what takes the place of those that cannot be shown, told apart."""
    letters = list(_letters(text))
    around = zip(["", *letters], letters, [*letters[1:], ""], strict=False)
    for is_spelled, found in groupby(around, key=lambda three: not _is_shown(*three)):
        piece = "".join(letter for _, letter, _ in found)
        yield (piece.encode("unicode_escape").decode("ascii") if is_spelled else piece), is_spelled


def _letters(text: str) -> Iterator[str]:
    """Yield the letters of a text, but for marks on marks on marks."""
    n_marks = 0
    for letter in text:
        n_marks = n_marks + 1 if letter > "\u02ff" and unicodedata.category(letter) in ("Mn", "Me") else 0
        if n_marks <= _MAX_MARKS:
            yield letter


def _is_shown(before: str, letter: str, after: str) -> bool:
    """Return whether a letter can be seen, or changes how its neighbours are seen."""
    if letter in _JOINERS:  # within words of Persian or Hindi, and within emoji
        return _is_joined(before) and _is_joined(after)
    if _is_selector(letter):
        return (_is_joined(before) and not _is_selector(before)) or (
            before != "" and before in "#*0123456789\u00a9\u00ae"
        )
    if letter in _FILLERS or letter in _BIDI or ord(letter) & 0xFFFE == 0xFFFE:
        return False
    # Spaces other than the plain one do not print, and are shown all the same.
    return (
        letter.isprintable() or letter in _DRAWN or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
    )


def _is_joined(letter: str) -> bool:
    """Return whether a letter is one that joiners and variation selectors have an effect on: none of Latin."""
    return letter > "\u02ff" and (_is_selector(letter) or unicodedata.category(letter)[0] in "LMS")


def _is_selector(letter: str) -> bool:
    return "\ufe00" <= letter <= "\ufe0f" or "\u180b" <= letter <= "\u180f" or "\U000e0100" <= letter <= "\U000e01ef"


def as_count(value: float | None) -> str:
    """Return a whole number with commas between thousands, and "not known" for None."""
    return "not known" if value is None else f"{value:,.0f}"


def as_compact(value: float) -> str:
    """Return a count for an axis: 25000 becomes "25k"."""
    for unit, letter in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if value >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


def as_percent(share: float | None) -> str:
    r"""Return a share of 1 as a percentage; what is not nothing and not all is never rounded to either.

    >>> as_percent(0.1), as_percent(0.00012), as_percent(0.99999)
    ('10.0\xa0%', '0.012\xa0%', '>\xa099.9\xa0%')
    """
    if share is None:
        return "not known"
    if share in (0, 1):
        return f"{100 * share:.0f}{_NO_BREAK}%"
    if share > 0.9995:
        return f">{_NO_BREAK}99.9{_NO_BREAK}%"
    if share < 0.00001:
        return f"<{_NO_BREAK}0.001{_NO_BREAK}%"
    digits = 1 if share >= 0.01 else 2 if share >= 0.001 else 3
    return f"{100 * share:.{digits}f}{_NO_BREAK}%"


def as_range(low: float, high: float) -> str:
    r"""Return an interval of shares as percentages, with the digits that tell its ends apart.

    >>> as_range(0.0179, 0.0184), as_range(0.4, 0.7)
    ('1.79\xa0% to 1.84\xa0%', '40.0\xa0% to 70.0\xa0%')
    """
    if low <= 0 or high >= 1 or high - low < 1e-9:
        return f"{as_percent(low)} to {as_percent(high)}"
    digits = max(1, math.ceil(-math.log10(100 * (high - low))), 1 + math.ceil(-math.log10(100 * low)))
    return f"{100 * low:.{digits}f}{_NO_BREAK}% to {100 * high:.{digits}f}{_NO_BREAK}%"


def as_share(value: float) -> str:
    """Return a number, a threshold say, with six digits, or as many as keep it apart from 0 and 1.

    >>> as_share(0.5), as_share(0.1234567), as_share(0.9999999), as_share(0.0)
    ('0.5', '0.123457', '0.9999999', '0')
    """
    shown = f"{value:.6g}"
    if value != 1 and shown == "1":
        shown = next(text for digits in range(7, 18) if (text := f"{value:.{digits}g}") != "1")
    return f"{Decimal(shown):f}" if "e-" in shown else shown


def as_q_value(value: float) -> str:
    """Return a p-value or q-value; a tiny one is only called less than a thousandth."""
    return f"<{_NO_BREAK}0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
