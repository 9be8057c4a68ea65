"""A picture of how people's ratings became labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64, Int64

from clipsieve.errors import UsageError
from clipsieve.outputs.canvas import Canvas, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any

__all__ = ["draw_ratings"]

_N_BARS, _MAX_BARS = 30, 60
_MOST = 1e9
_CLASSES = (  # label, name, tint, line, hatch; from the bottom of the stack
    (1, "unwanted", "#F3C9A8", "#B34F00", "////"),
    (-1, "left out", "#F2F2F2", "#8C8C8C", ""),
    (0, "wanted", "#B5D8EC", "#005E93", "...."),
)


def draw_ratings(
    path: str | Path,
    ratings: Float64[np.ndarray, "n"],
    low: float,
    high: float,
    labels: Int64[np.ndarray, "n"],
) -> Path:
    """Draw a histogram of people's ratings, stacked by the class that they were given, with the two cuts.

    Parameters
    ----------
    path : str or Path
        A file that ends in .png or .svg; an older one is replaced.
    ratings : Float64[np.ndarray, "n"]
        One rating per image, within ±1e9, in the unit of the cuts; at least one.
    low, high : float
        The cuts, low <= high. Images between them are left out.
    labels : Int64[np.ndarray, "n"]
        1 is unwanted, 0 is wanted, -1 is left out.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    UsageError
        If there are no ratings, one is not a number, a label is another number, the cuts are not in order, or the file
        cannot be written.
    """
    _check_ratings(ratings, low, high, labels)
    with canvas(Path(path), 3.8) as sheet:
        from matplotlib.ticker import MaxNLocator

        axes = sheet.figure.add_subplot()
        words = _stack(sheet, axes, ratings, labels, _edges(ratings, low, high))
        for cut, name, side in ((low, "low cut", "right"), (high, "high cut", "left")):
            axes.axvline(cut, color="#262626", linewidth=1.2, linestyle=(0, (5, 2)), zorder=4)
            # Above the bars, and away from the other cut.
            axes.text(cut, 1.02, f" {name} {cut:.4g} ", transform=axes.get_xaxis_transform(), ha=side, va="bottom")
        axes.set(xlabel="rating of the image", ylabel="images")
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        sheet.figure.legend(*zip(*sheet.entries, strict=True), loc="outside lower center", ncols=3, handleheight=1.4)
        sheet.alt_text = f"Histogram of ratings with cuts at {low:.4g} and {high:.4g}. {words}."
    return Path(path)


def _check_ratings(ratings: Float64[np.ndarray, "n"], low: float, high: float, labels: Int64[np.ndarray, "n"]) -> None:
    if not ratings.size or ratings.shape != labels.shape:
        expected = "one label for each of at least one rating"
        raise UsageError(
            "cannot draw the ratings", expected=expected, found=f"{ratings.size} ratings, {labels.size} labels"
        )
    strange = np.flatnonzero(~(np.abs(ratings) < _MOST))  # so written, NaN is strange
    if strange.size:
        what = f"the rating at index {strange[0]} makes no sense"
        raise UsageError(what, expected=f"within ±{_MOST:g}", found=f"{ratings[strange[0]]:g}")
    strange = np.setdiff1d(labels, (-1, 0, 1))
    if strange.size:
        raise UsageError("a label of a rating makes no sense", expected="1, 0 or -1", found=str(strange[0]))
    if not -_MOST < low <= high < _MOST:
        raise UsageError(
            "the cuts are not in order", expected=f"low <= high, within ±{_MOST:g}", found=f"{low:g} and {high:g}"
        )


def _edges(ratings: Float64[np.ndarray, "n"], low: float, high: float) -> Float64[np.ndarray, "k"]:
    """Return edges of at most 60 bars of one width, around whole marks or with both cuts among the edges."""
    first, last = min(float(ratings.min()), low), max(float(ratings.max()), high)
    marks = np.unique(ratings)
    step = float(np.diff(marks).min()) if marks.size > 1 else 1.0
    n_marks = round((last - first) / step) + 1 if last - first < _N_BARS * step else 0
    places = (marks - marks[0]) / step
    if n_marks and np.allclose(places, np.round(places)):
        return _cover(marks[0] - step / 2, step, first, last)
    width = (last - first) / _N_BARS
    between = (high - low) / max(1, round((high - low) / width))
    return (
        _cover(low, between, first, last) if between * _MAX_BARS > last - first else _cover(first, width, first, last)
    )


def _cover(start: float, width: float, first: float, last: float) -> Float64[np.ndarray, "k"]:
    """Return edges at `start` and whole widths from it, from `first` or before to `last` or after."""
    # Rounding: a bar is not added for the last digit of a sum.
    n_left, n_right = np.ceil(round((start - first) / width, 9)), np.ceil(round((last - start) / width, 9))
    edges = start + width * np.arange(-n_left, n_right + 1)
    edges[0], edges[-1] = min(edges[0], first), max(edges[-1], last)
    return np.asarray(edges)


def _stack(
    sheet: Canvas,
    axes: Axes,
    ratings: Float64[np.ndarray, "n"],
    labels: Int64[np.ndarray, "n"],
    edges: Float64[np.ndarray, "k"],
) -> str:
    """Draw the bars and their entries in the legend; return the counts in words."""
    from matplotlib.patches import Patch

    floor, words = np.zeros(len(edges) - 1), []
    for label, name, tint, line, hatch in _CLASSES:
        counts, _ = np.histogram(ratings[labels == label], edges)
        style: dict[str, Any] = {"facecolor": tint, "edgecolor": line, "hatch": hatch, "linewidth": 0.7}
        drawn = counts > 0
        axes.bar(edges[:-1][drawn], counts[drawn], np.diff(edges)[drawn], floor[drawn], align="edge", zorder=2, **style)
        floor += counts
        n_images = f"{(labels == label).sum():,}"
        sheet.entries.append((Patch(**style), f"{name} ({n_images})"))
        words.append(f"{name}: {n_images} images")
    return "; ".join(words)
