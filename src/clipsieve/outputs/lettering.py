"""Names in pictures: cleaned, broken into lines, and shortened to the room that a legend has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from clipsieve.errors import UsageError

__all__ = ["LETTER_PT", "as_percent", "check_names", "clean", "fit"]

LETTER_PT, _ROOM_PT = 8.5, 120.0  # the size of letters in a legend, and the width of its lines
_MAX_LENGTH = 200  # characters of a name that are looked at when it is shortened


def check_names(names: Sequence[str], what: str, most: int) -> None:
    """Raise UsageError unless there is a name, no more than `most`, none empty, no two alike."""
    if not 1 <= len(names) <= most:
        raise UsageError(f"cannot draw these {what}", expected=f"1 to {most}", found=str(len(names)))
    cleaned = [clean(name) for name in names]
    doubled = next((name for name in cleaned if not name or cleaned.count(name) > 1), None)
    if doubled is not None:
        raise UsageError(
            f"the {what} cannot be told apart", expected="a name of its own for each", found=f"`{doubled}`"
        )


def clean(name: str) -> str:
    """Return a name on one line, without characters that do not print."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())


def fit(name: str, *, width_pt: float = _ROOM_PT, n_lines: int = 2) -> str:
    """Return a name broken into lines of a width in points, and shortened in the middle if it needs too many.

    The middle goes, since names of methods that resemble each other tend to differ at their ends.
    """
    whole = clean(name)
    lines, kept = _break(whole, width_pt), min(len(whole), _MAX_LENGTH)
    while len(lines) > n_lines:
        kept -= 1
        lines = _break(f"{whole[: kept - kept // 2].rstrip()}…{whole[len(whole) - kept // 2 :].lstrip()}", width_pt)
    return "\n".join(lines)


def _break(text: str, width_pt: float) -> list[str]:
    """Break after spaces, hyphens, underscores and slashes; inside a word only if it is wider than a line."""
    lines = [""]
    for word in re.findall(r"[^\s/_-]*[\s/_-]+|[^\s/_-]+", text):
        if lines[-1] and _width(lines[-1] + word.rstrip()) > width_pt:
            lines.append("")
        for letter in word:
            if _width(lines[-1] + letter.rstrip()) > width_pt:
                lines.append("")
            lines[-1] += letter
    return [line.strip() for line in lines]


def _width(text: str) -> float:
    return sum(_advance(letter) for letter in text)


@lru_cache(maxsize=4096)
def _advance(letter: str) -> float:
    """Return how far one letter moves the next, in points at the size of the legend."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=["DejaVu Sans"], size=LETTER_PT)
    return float(text_to_path.get_text_width_height_descent(letter, font, ismath=False)[0])


def as_percent(share: float) -> str:
    """Return a share of 1 as a percentage in words: 0.123 becomes "12.3 %"."""
    return f"{100 * share:.1f} %"
