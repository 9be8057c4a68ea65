"""The histogram of the probabilities: counts on a scale that shows few among many, and the thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from clipsieve.legible import as_compact, as_count, as_share
from clipsieve.outputs.report.charts import element
from clipsieve.outputs.report.records import HistogramBin

__all__ = ["Sheet", "choose_scale", "draw_histogram"]

SCALES = {"linear": "", "square root": " (square-root scale)", "logarithm": " (logarithmic scale)"}
_TICK_GAP_PX = 30.0
_LABEL_PX = 7.0  # about as wide as a letter


def choose_scale(bins: Sequence[HistogramBin]) -> str:
    """Return "linear", "square root" or "logarithm": the plainest on which the smallest count can be seen.

    A bar is seen from about a fiftieth of the height on.
    """
    counts = [each.n for each in bins if each.n > 0]
    skew = max(counts) / min(counts) if counts else 1.0
    return "linear" if skew <= 50 else "square root" if skew <= 2500 else "logarithm"


@dataclass(frozen=True, slots=True)
class Sheet:
    """Where things lie in one drawing of the histogram.

    Attributes
    ----------
    key : str
        Tells the ids of this drawing from those of others on the page.
    width, height : float
        In pixels.
    scale : str
        As `choose_scale` gives it.
    highest : int
        The largest count, >= 1.
    """

    key: str
    width: float
    height: float
    scale: str
    highest: int

    @property
    def left(self) -> float:
        """Where the axis of counts stands."""
        return 44.0

    @property
    def right(self) -> float:
        """Where the axis of probabilities ends."""
        return self.width - 10.0

    @property
    def top(self) -> float:
        """Below it, bars; above it, the names of the thresholds."""
        return 52.0

    @property
    def bottom(self) -> float:
        """Where bars stand."""
        return self.height - 44.0

    def x(self, probability: float) -> float:
        """Return the place of a probability."""
        return self.left + min(max(probability, 0.0), 1.0) * (self.right - self.left)

    def y(self, n: float) -> float:
        """Return the place of a count."""
        rise = {"linear": float, "square root": math.sqrt, "logarithm": math.log1p}[self.scale]
        return self.bottom - rise(n) / rise(self.highest) * (self.bottom - self.top)

    def ticks(self) -> list[float]:
        """Return the counts to name: round ones, far enough from each other."""
        if self.scale == "linear":
            step = _step(self.highest / 4)
            return [step * i for i in range(int(self.highest / step) + 1)]
        digits = (1,) if self.scale == "logarithm" else (1, 2, 5)
        rounds = [digit * 10.0**power for power in range(13) for digit in digits]
        kept: list[float] = []
        for n in [*(n for n in reversed(rounds) if n <= self.highest), 0.0]:
            if not kept or self.y(n) - self.y(kept[-1]) >= _TICK_GAP_PX:
                kept.append(n)
        return kept if kept[-1] == 0 else [*kept[:-1], 0.0]


def _step(least: float) -> float:
    """Return the smallest of 1, 2, 5, 10, ... that is not smaller."""
    power = 10.0 ** math.floor(math.log10(max(least, 1.0)))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= max(least, 1.0))


def draw_histogram(
    bins: Sequence[HistogramBin], threshold: float, remove_threshold: float | None, *, key: str, width: float
) -> Markup:
    """Return the histogram at its true size, with a title and a description; nothing if there are no bins.

    Parameters
    ----------
    bins : sequence of HistogramBin
        From 0 to 1.
    threshold, remove_threshold : float, float or None
        Lines, with their names; bars from the first on have another colour, from the second on hatching too.
    key : str
        Tells this drawing from others on the page.
    width : float
        In pixels: how wide it is shown.
    """
    if not bins:
        return Markup("")
    highest = max([each.n for each in bins] + [1])
    sheet = Sheet(key, width, 300.0 if width > 500 else 270.0, choose_scale(bins), highest)
    words = _describe(bins, threshold, remove_threshold)
    return element(
        "svg",
        element("title", "Histogram of the probabilities", id=f"{key}-title"),
        element("desc", words, id=f"{key}-words"),
        _hatching(key),
        *_axes(sheet),
        *(piece for each in bins for piece in _bar(sheet, each, threshold, remove_threshold)),
        *_lines(sheet, threshold, remove_threshold),
        class_=f"chart {key}",
        viewBox=f"0 0 {sheet.width:g} {sheet.height:g}",
        role="img",
        aria_labelledby=f"{key}-title {key}-words",
    )


def _describe(bins: Sequence[HistogramBin], threshold: float, remove_threshold: float | None) -> str:
    fullest = max(bins, key=lambda each: each.n)
    total = sum(each.n for each in bins)
    words = (
        f"{as_count(total)} images in {len(bins)} bins from 0 to 1. The fullest bin, from {as_share(fullest.low)} to "
        f"{as_share(fullest.high)}, holds {as_count(fullest.n)}. The threshold is {as_share(threshold)}"
    )
    return words + (f", that of removal {as_share(remove_threshold)}." if remove_threshold is not None else ".")


def _hatching(key: str) -> Markup:
    stripe = element("path", d="M0 6 L6 0 M-1.5 1.5 L1.5 -1.5 M4.5 7.5 L7.5 4.5", class_="hatch")
    return element(
        "defs", element("pattern", stripe, id=f"{key}-hatch", width=6.0, height=6.0, patternUnits="userSpaceOnUse")
    )


def _axes(sheet: Sheet) -> list[Markup]:
    pieces = []
    for n in sheet.ticks():
        y = sheet.y(n)
        pieces.append(element("line", x1=sheet.left, x2=sheet.right, y1=y, y2=y, class_="axis" if n == 0 else "grid"))
        pieces.append(element("text", as_compact(n), x=sheet.left - 7, y=y + 4, text_anchor="end", class_="tick"))
    for tenth in range(0, 11, 2):
        place = {"x": sheet.x(tenth / 10), "y": sheet.bottom + 18}
        pieces.append(element("text", f"{tenth / 10:g}", text_anchor="middle", class_="tick", **place))
    middle = (sheet.left + sheet.right) / 2
    axis = "probability of being unwanted"
    pieces.append(element("text", axis, x=middle, y=sheet.height - 7, text_anchor="middle", class_="label"))
    pieces.append(element("text", f"images{SCALES[sheet.scale]}", x=4.0, y=12.0, class_="label"))
    return pieces


def _bar(sheet: Sheet, each: HistogramBin, threshold: float, remove_threshold: float | None) -> list[Markup]:
    """Return the pieces of one bar, cut at the thresholds."""
    if each.n <= 0:
        return []
    remove = 2.0 if remove_threshold is None else remove_threshold
    cuts = [each.low, *(cut for cut in (threshold, remove) if each.low < cut < each.high), each.high]
    y = min(sheet.y(each.n), sheet.bottom - 1.0)
    pieces = []
    for low, high in pairwise(cuts):
        middle = (low + high) / 2
        ink = "removed" if middle >= remove else "flagged" if middle >= threshold else "unflagged"
        left, right = (sheet.x(end) + inset for end, inset in ((low, 0.5), (high, -0.5)))
        place = {"x": left, "y": y, "width": max(right - left, 0.4), "height": sheet.bottom - y}
        pieces.append(element("rect", class_=ink, **place))
        if ink == "removed":
            pieces.append(element("rect", fill=f"url(#{sheet.key}-hatch)", **place))
    hint = element("title", f"{as_share(each.low)} to {as_share(each.high)}: {as_count(each.n)} images")
    return [element("g", hint, *pieces)]


def _lines(sheet: Sheet, threshold: float, remove_threshold: float | None) -> list[Markup]:
    """Return the thresholds, each with its name on a line of its own."""
    named = [(threshold, f"flagged from {as_share(threshold)}", 28.0)]
    if remove_threshold is not None:
        named.append((remove_threshold, f"removed from {as_share(remove_threshold)}", 45.0))
    pieces = []
    for value, words, y in named:
        x = sheet.x(value)
        is_late = x + 6 + _LABEL_PX * len(words) > sheet.right
        side = {"x": x - 6 if is_late else x + 6, "text_anchor": "end" if is_late else "start"}
        pieces.append(element("line", x1=x, x2=x, y1=y - 11, y2=sheet.bottom, class_="threshold"))
        pieces.append(element("text", words, y=y, class_="threshold-name", **side))
    return pieces
