"""A picture of how many labelled images a method needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64, Int64

from clipsieve.errors import UsageError
from clipsieve.outputs.canvas import MAX_LINES, Canvas, canvas, line_style, show_percent
from clipsieve.outputs.lettering import as_percent, check_names, clean, fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any

__all__ = ["Curve", "draw_data_efficiency"]

_REFERENCE_DASHES: tuple[Any, ...] = ((0, (8, 3)), (0, (1.5, 1.5)), (0, (8, 2, 1.5, 2)), (0, (3, 3)))


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """How good one method is after training with more and more images.

    Attributes
    ----------
    name : str
        The method, as the legend names it.
    n_train : Int64[np.ndarray, "m"]
        Training images, at least 1; in any order.
    mean, sd : Float64[np.ndarray, "m"]
        Mean and standard deviation of the metric over splits of the data, as shares of 1. A standard deviation of
        NaN, as that of a single split, gets no band.

    Raises
    ------
    UsageError
        If there is no point, a mean is not within ±1, or a size or a standard deviation makes no sense.
    """

    name: str
    n_train: Int64[np.ndarray, "m"]
    mean: Float64[np.ndarray, "m"]
    sd: Float64[np.ndarray, "m"]

    def __post_init__(self) -> None:
        what = f"cannot draw the curve of `{clean(self.name)}`"
        if self.n_train.ndim != 1 or not self.n_train.shape == self.mean.shape == self.sd.shape or not self.mean.size:
            found = f"{self.n_train.shape} sizes, {self.mean.shape} means, {self.sd.shape} deviations"
            raise UsageError(what, expected="as many of each, at least one", found=found)
        if (self.n_train < 1).any():
            raise UsageError(what, expected="at least 1 training image", found=str(self.n_train.min()))
        if not (np.abs(self.mean) <= 1).all() or (self.sd < 0).any() or np.isinf(self.sd).any():
            raise UsageError(what, expected="means within ±1, and standard deviations of 0 or more")


def draw_data_efficiency(
    path: str | Path, curves: Sequence[Curve], *, metric: str, references: Sequence[tuple[str, float]] = ()
) -> Path:
    """Draw a metric against the number of training images on a logarithmic axis.

    Parameters
    ----------
    path : str or Path
        A file that ends in .png or .svg; an older one is replaced.
    curves : sequence of Curve
        1-8 methods; a band or a bar shows one standard deviation on both sides of the mean.
    metric : str
        What the values are, as the axis names it: "balanced accuracy".
    references : sequence of (str, float)
        Up to 4 methods that need no training images, with their value, a share of 1.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    UsageError
        If there are none or too many curves or references, two of one name, or the file cannot be written.
    """
    check_names([curve.name for curve in curves], "methods", MAX_LINES)
    _check_references([curve.name for curve in curves], references)
    with canvas(Path(path), 4.0) as sheet:
        from matplotlib.patches import Patch

        axes = sheet.figure.add_subplot()
        for number, curve in enumerate(curves):
            _trace_curve(sheet, axes, curve, number)
        if any((curve.sd > 0).any() for curve in curves):
            sheet.add_entry(Patch(facecolor="#D9D9D9"), "± 1 standard deviation", "over splits")
        for (name, value), dashes in zip(references, _REFERENCE_DASHES, strict=False):
            line = axes.axhline(value, color="#404040", linewidth=1.1, linestyle=dashes, zorder=2)
            sheet.add_entry(line, name, as_percent(value))
        highest = max([float(curve.mean.max()) for curve in curves] + [value for _, value in references])
        _scale(axes, np.unique(np.concatenate([curve.n_train for curve in curves])), highest)
        axes.set(xlabel="training images (log scale)", ylabel=fit(metric, width_pt=190))
        sheet.show_legend()
        sheet.alt_text = _efficiency_in_words(curves, clean(metric), references)
    return Path(path)


def _check_references(names: list[str], references: Sequence[tuple[str, float]]) -> None:
    most = len(_REFERENCE_DASHES)
    if len(references) > most:
        raise UsageError("too many horizontal lines", expected=f"at most {most}", found=str(len(references)))
    check_names(names + [name for name, _ in references], "methods", MAX_LINES + most)
    for name, value in references:
        if not abs(value) <= 1:
            raise UsageError(
                f"cannot draw the line of `{clean(name)}`", expected="a value within ±1", found=f"{value:g}"
            )


def _trace_curve(sheet: Canvas, axes: Axes, curve: Curve, number: int) -> None:
    look, order = line_style(number), np.argsort(curve.n_train, kind="stable")
    sizes, mean, sd = curve.n_train[order], curve.mean[order], np.nan_to_num(curve.sd[order])
    (line,) = axes.plot(sizes, mean, **look)
    if sizes.size > 1:
        top = np.minimum(mean + sd, np.maximum(mean, 1.0))  # no metric is better than 1
        axes.fill_between(sizes, mean - sd, top, color=look["color"], alpha=0.15, linewidth=0, zorder=1)
    elif sd[0] > 0:
        axes.errorbar(sizes, mean, sd, color=look["color"], linewidth=1.1, capsize=3, zorder=2)
    sheet.add_entry(line, curve.name)


def _scale(axes: Axes, sizes: Int64[np.ndarray, "k"], highest: float) -> None:
    """Put ticks at sizes that were measured, as far as their labels do not touch."""
    from matplotlib.ticker import NullLocator

    margin = float(sizes[-1] / sizes[0]) ** 0.03 if sizes.size > 1 else 2.0
    low, high = sizes[0] / margin, sizes[-1] * margin
    span, ticks = np.log(high / low), [int(sizes[0])]
    for size in map(int, sizes[1:]):
        # Digits are 0.08 inch wide, and the axis is at least 3.4 inches long.
        room = 0.04 * (len(f"{size:,}") + len(f"{ticks[-1]:,}")) + 0.1
        if np.log(size / ticks[-1]) / span * 3.4 >= room:
            ticks.append(size)
    axes.set(xscale="log", xlim=(low, high))
    axes.set_xticks(ticks, [f"{size:,}" for size in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    show_percent(axes.yaxis)
    # No metric is better than 1; the margin keeps the markers whole.
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, min(top, max(1.0, highest) + 0.03 * (top - bottom)))


def _efficiency_in_words(curves: Sequence[Curve], metric: str, references: Sequence[tuple[str, float]]) -> str:
    words = []
    for curve in curves:
        last = int(np.argmax(curve.n_train))
        words.append(f"{clean(curve.name)}: {as_percent(curve.mean[last])} with {curve.n_train[last]:,} images")
    words += [f"{clean(name)}: {as_percent(value)} without training images" for name, value in references]
    return f"{metric} against the number of training images. {'; '.join(words)}."
