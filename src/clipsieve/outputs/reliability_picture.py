"""A picture of how far predicted probabilities can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from clipsieve.errors import UsageError
from clipsieve.outputs.canvas import GUIDE, MAX_LINES, Canvas, canvas, line_style, share_axes
from clipsieve.outputs.lettering import check_names, clean
from clipsieve.outputs.method_pictures import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any

__all__ = ["draw_reliability"]


def draw_reliability(path: str | Path, series: Sequence[Series], n_bins: int = 10) -> Path:
    """Draw how often images are unwanted that are given a probability, above a histogram of the probabilities.

    Bins hold about the same number of images (equal mass): their edges are quantiles of the probabilities, and equal
    probabilities stay together. Niculescu-Mizil and Caruana 2005, "Predicting good probabilities with supervised
    learning", ICML; equal mass: Nixon et al. 2019, "Measuring calibration in deep learning", CVPR workshops. A method
    below the diagonal claims too much.

    Parameters
    ----------
    path : str or Path
        A file that ends in .png or .svg; an older one is replaced.
    series : sequence of Series
        1-8 methods.
    n_bins : int, default=10
        Bins per method, at least 1; fewer where probabilities coincide.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    UsageError
        If there are none or too many methods, two of one name, no bins, or the file cannot be written.
    """
    check_names([one.name for one in series], "methods", MAX_LINES)
    if n_bins < 1:
        raise UsageError("cannot draw a reliability diagram", expected="at least 1 bin", found=str(n_bins))
    with canvas(Path(path), 5.8) as sheet:
        above, below = sheet.figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
        share_axes(above)
        for number, one in enumerate(series):
            _trace_reliability(sheet, above, below, one, number, n_bins)
        (diagonal,) = above.plot([0, 1], [0, 1], **GUIDE)
        sheet.add_entry(diagonal, "as often as predicted")
        above.set_ylabel("share of images that are unwanted")
        below.set(xlabel="predicted probability of unwanted", ylabel="images\n(log scale)")
        _count_axis(below, max(one.labels.size for one in series))
        sheet.show_legend()
        names = "; ".join(f"{clean(one.name)}: {one.labels.size:,} images" for one in series)
        sheet.alt_text = f"Reliability diagram: share of unwanted images against predicted probability. {names}."
    return Path(path)


def _count_axis(axes: Axes, n_most: int) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set(yscale="log", ylim=(0.7, 1.5 * n_most))
    axes.yaxis.set_major_locator(LogLocator(numticks=4))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))


def _trace_reliability(sheet: Canvas, above: Axes, below: Axes, one: Series, number: int, n_bins: int) -> None:
    predicted, observed = _equal_mass_bins(one, n_bins)
    look = line_style(number)
    (line,) = above.plot(predicted, observed, **look)
    counts, edges = np.histogram(one.probability, bins=20, range=(0.0, 1.0))
    # The floor lies below one image, and a bin without images on the floor.
    below.stairs(np.maximum(counts, 0.1), edges, baseline=0.1, color=look["color"], linestyle=look["linestyle"])
    sheet.add_entry(line, one.name, f"{one.labels.size:,} image{'s' if one.labels.size > 1 else ''}")


def _equal_mass_bins(one: Series, n_bins: int) -> tuple[Float64[np.ndarray, "b"], Float64[np.ndarray, "b"]]:
    """Return the mean probability and the share of unwanted images of each bin that is not empty."""
    edges = np.quantile(one.probability, np.linspace(0, 1, n_bins + 1))
    bins = np.searchsorted(edges[1:-1], one.probability)
    counts = np.bincount(bins, minlength=n_bins)
    filled = counts > 0
    predicted = np.bincount(bins, one.probability, minlength=n_bins)[filled] / counts[filled]
    observed = np.bincount(bins, one.labels.astype(np.float64), minlength=n_bins)[filled] / counts[filled]
    return predicted, observed
