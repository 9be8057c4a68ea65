"""Names and numbers as a reader can take them in: whatever a name holds, it stays one harmless piece of a line."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
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
    pieces = [
        Markup('<span class="esc">{}</span>').format(piece) if is_spelled else Markup("{}").format(piece)
        for piece, is_spelled in _pieces(shorten(text, max_chars))
    ]
    return Markup('<bdi class="name">{}</bdi>').format(Markup("").join(pieces))


def as_text(text: str | None, max_chars: int = MAX_CHARS) -> str:
    """Return the same as plain text, for attributes and titles."""
    return "".join(piece for piece, _ in _pieces(shorten(text or "", max_chars)))


def shorten(text: str, max_chars: int) -> str:
    """Return the first characters of a text, and an ellipsis if there are more."""
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Yield stretches of letters, and of what takes the place of those that cannot be shown, told apart."""
    for is_spelled, letters in groupby(_letters(text), key=lambda letter: not _is_shown(letter)):
        piece = "".join(letters)
        yield (piece.encode("unicode_escape").decode("ascii") if is_spelled else piece), is_spelled


def _letters(text: str) -> Iterator[str]:
    """Yield the letters of a text, but for marks on marks on marks."""
    n_marks = 0
    for letter in text:
        n_marks = n_marks + 1 if letter > "\u02ff" and unicodedata.category(letter) in ("Mn", "Me") else 0
        if n_marks <= _MAX_MARKS:
            yield letter


def _is_shown(letter: str) -> bool:
    if letter.isprintable():  # spaces other than the plain one are not, and are shown all the same
        return True
    is_never_a_letter = ord(letter) & 0xFFFE == 0xFFFE
    return (
        unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp") and letter not in _BIDI and not is_never_a_letter
    )


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
    """Return a number from 0 to 1 with the digits that it needs, at most six: a threshold, say."""
    return f"{value:.6g}"


def as_q_value(value: float) -> str:
    """Return a p-value or q-value; a tiny one is only called less than a thousandth."""
    return f"<{_NO_BREAK}0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
