"""Charts as inline SVG: colours are classes, which the page's style sheet gives for light, dark and paper.

A chart with words in it is drawn at its true size. Bars without words are stretched to the cell that they stand in, and say
nothing to those who cannot see them: the numbers stand next to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

__all__ = ["Segment", "draw_bar", "draw_interval", "draw_strip", "element", "nice_limit"]

_BAR_HEIGHT = 20.0


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a strip.

    Attributes
    ----------
    words : str
        What is counted.
    n : int
        How many.
    ink : str
        The class that colours it.
    """

    words: str
    n: int
    ink: str


def element(tag: str, *children: str, **attributes: str | float | None) -> Markup:
    """Return an SVG element; children that are no markup yet, and all values, are escaped.

    Parameters
    ----------
    tag : str
        Its name.
    children : str
        Text, or markup that this function made.
    attributes : str, float or None
        An underscore stands for a hyphen, one at the end for nothing; None leaves the attribute out.
    """
    shown = [
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _value(value))
        for name, value in attributes.items()
        if value is not None
    ]
    inside = Markup("").join(escape(child) for child in children)
    return Markup("<{}{}>{}</{}>").format(tag, Markup("").join(shown), inside, tag)


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def _stretched(*children: Markup, css: str, height: float = _BAR_HEIGHT) -> Markup:
    box = f"0 0 100 {height:g}"
    return element(
        "svg", *children, class_=css, viewBox=box, preserveAspectRatio="none", aria_hidden="true", focusable="false"
    )


def draw_strip(segments: Sequence[Segment]) -> Markup:
    """Return one bar for a whole, cut into its parts in order; the smallest part is still a line.

    Parameters
    ----------
    segments : sequence of Segment
        Their counts add up to the whole; parts of 0 are left out.
    """
    shown = [segment for segment in segments if segment.n > 0]
    total = sum(segment.n for segment in shown)
    widths = [max(100 * segment.n / total, 0.4) for segment in shown]
    scale, x, pieces = 100 / sum(widths) if shown else 1.0, 0.0, []
    for segment, width in zip(shown, widths, strict=True):
        gap = 0.25 if x else 0.0
        pieces.append(
            element("rect", x=x + gap, y=0.0, width=max(width * scale - gap, 0.15), height=20.0, class_=segment.ink)
        )
        x += width * scale
    return _stretched(*pieces, css="strip")


def nice_limit(value: float) -> float:
    """Return the end of an axis of shares that holds a value: 1, 2, 2.5 or 5 times a power of ten, at most 1.

    >>> nice_limit(0.34), nice_limit(0.07), nice_limit(0.8)
    (0.5, 0.1, 1.0)
    """
    for limit in (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5):
        if value <= limit:
            return limit
    return 1.0


def draw_bar(
    share: float,
    ink: str,
    *,
    limit: float = 1.0,
    interval: tuple[float, float] | None = None,
    mark: float | None = None,
) -> Markup:
    """Return a horizontal bar, with its interval as a line that has ends, and a mark to compare with.

    Parameters
    ----------
    share : float
        0-1.
    ink : str
        The class that colours it.
    limit : float, default=1.0
        Where the axis ends.
    interval : tuple of float, optional
        0-1.
    mark : float, optional
        0-1; a thin upright line.
    """
    pieces = [
        element("rect", x=0.0, y=3.0, width=100.0, height=14.0, class_="track"),
        element("rect", x=0.0, y=3.0, width=_place(share, limit), height=14.0, class_=ink),
    ]
    if interval is not None:
        pieces += _whisker(*(_place(end, limit) for end in interval))
    if mark is not None:
        x = _place(mark, limit)
        pieces.append(element("line", x1=x, x2=x, y1=0.0, y2=20.0, class_="mark"))
    return _stretched(*pieces, css="bar")


def draw_interval(value: float, low: float, high: float, *, limit: float = 1.0) -> Markup:
    """Return an estimate as a mark on an axis from 0 to `limit`, and its interval as a band."""
    left, right, x = (_place(share, limit) for share in (low, high, value))
    return _stretched(
        element("rect", x=0.0, y=8.0, width=100.0, height=4.0, class_="track"),
        element("rect", x=left, y=6.0, width=max(right - left, 0.3), height=8.0, class_="band"),
        element("rect", x=min(max(x - 0.4, 0.0), 99.2), y=2.0, width=0.8, height=16.0, class_="point"),
        css="bar",
    )


def _whisker(left: float, right: float) -> list[Markup]:
    ends = [element("line", x1=x, x2=x, y1=6.5, y2=13.5, class_="whisker") for x in (left, right)]
    return [element("line", x1=left, x2=right, y1=10.0, y2=10.0, class_="whisker"), *ends]


def _place(share: float, limit: float) -> float:
    return 100 * min(max(share / limit, 0.0), 1.0)
