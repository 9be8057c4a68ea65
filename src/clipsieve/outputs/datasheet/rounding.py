"""Numbers as prose shows them; each rule is stated once for the reader, and no rounding makes nothing of something."""

from __future__ import annotations

from decimal import Decimal

__all__ = ["ROUNDING_RULES", "as_confidence", "as_level", "as_percentage"]

ROUNDING_RULES = (
    "Percentages are rounded to one decimal place, except where one would look like none or all; "
    "thresholds and margins to four significant digits, or more where they would look like none or all."
)


def as_percentage(share: float, *, small: str = "fewer than", large: str = "more than") -> str:
    """Return a share as a percentage with one decimal place; 0 and 1 only where they are exact.

    >>> as_percentage(0.0829), as_percentage(0.0), as_percentage(0.0001), as_percentage(0.9996)
    ('8.3 %', '0 %', 'fewer than 0.1 %', 'more than 99.9 %')
    """
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    if share < 0.001:
        return f"{small} 0.1 %"
    if share > 0.999:
        return f"{large} 99.9 %"
    return f"{100 * share:.1f} %"


def as_confidence(confidence: float) -> str:
    """Return a confidence with the digits that it was given with: "95 %"."""
    return f"{100 * confidence:.6g} %"


def as_level(value: float) -> str:
    """Return a threshold or margin with four significant digits, or as many as keep it apart from 0 and 1.

    >>> as_level(0.5), as_level(0.48730000853538513), as_level(0.999999), as_level(1.0)
    ('0.5', '0.4873', '0.999999', '1')
    """
    for digits in range(4, 17):
        shown = f"{Decimal(f'{value:.{digits}g}'):f}"
        if value in (0, 1) or shown not in ("0", "1"):
            return shown
    return repr(value)
