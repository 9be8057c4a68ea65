"""Pictures of how well methods tell unwanted from wanted images: ROC, precision and recall."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64, Int64

from clipsieve.errors import UsageError
from clipsieve.outputs.canvas import GUIDE, MAX_LINES, Canvas, canvas, line_style, load, share_axes
from clipsieve.outputs.lettering import as_percent, check_names, clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any

__all__ = ["Series", "draw_precision_recall", "draw_roc"]

_FOUND = "share of unwanted images found (recall)"


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """What one method says of labelled images.

    Attributes
    ----------
    name : str
        The method, as the legend names it.
    labels : Int64[np.ndarray, "n"]
        The truth: 1 is unwanted, 0 is wanted. At least one image.
    probability : Float64[np.ndarray, "n"]
        Predicted probability of unwanted, 0-1.

    Raises
    ------
    UsageError
        If there is no image, a label is neither 0 nor 1, or a probability is not within 0-1.
    """

    name: str
    labels: Int64[np.ndarray, "n"]
    probability: Float64[np.ndarray, "n"]

    def __post_init__(self) -> None:
        shapes = f"{self.labels.shape} labels, {self.probability.shape} probabilities"
        if self.labels.ndim != 1 or self.labels.shape != self.probability.shape or not self.labels.size:
            expected = "one label and one probability for each of at least one image"
            raise UsageError(f"cannot draw the results of `{clean(self.name)}`", expected=expected, found=shapes)
        _check_values(self.labels, np.isin(self.labels, (0, 1)), f"label of `{clean(self.name)}`", "0 or 1")
        inside = (self.probability >= 0) & (self.probability <= 1)  # so written, NaN is not inside
        _check_values(self.probability, inside, f"probability of `{clean(self.name)}`", "0 to 1")

    @property
    def unwanted_share(self) -> float:
        """The fraction of unwanted images, 0-1: the precision of a method that flags by chance."""
        return float(self.labels.mean())

    @property
    def has_both_classes(self) -> bool:
        """Whether there are wanted and unwanted images, without which nothing can be told apart."""
        return 0 < self.unwanted_share < 1


def _check_values(values: np.ndarray, good: np.ndarray, what: str, expected: str) -> None:
    bad = np.flatnonzero(~good)
    if bad.size:
        raise UsageError(f"a {what} makes no sense, at index {bad[0]}", expected=expected, found=f"{values[bad[0]]:g}")


def draw_roc(path: str | Path, series: Sequence[Series]) -> Path:
    """Draw receiver operating characteristics, with the area under each (AUC) in the legend.

    Fawcett 2006, "An introduction to ROC analysis", Pattern Recognition Letters 27. Curves and areas are
    scikit-learn's `roc_curve` and `roc_auc_score`.

    Parameters
    ----------
    path : str or Path
        A file that ends in .png or .svg; an older one is replaced.
    series : sequence of Series
        1-8 methods. One whose images are all of one class gets words in place of a curve.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    UsageError
        If there are none or too many methods, two of one name, or the file cannot be written.

    Examples
    --------
    >>> draw_roc("roc.svg", [Series("zero-shot", labels, probability)])  # doctest: +SKIP
    PosixPath('roc.svg')
    """
    metrics = load("sklearn.metrics")

    def trace(axes: Axes, one: Series, look: dict[str, Any]) -> tuple[object, str]:
        wrongly_flagged, found, _ = metrics.roc_curve(one.labels, one.probability)
        (line,) = axes.plot(wrongly_flagged, found, **look)
        return line, f"AUC {metrics.roc_auc_score(one.labels, one.probability):.3f}"

    check_names([one.name for one in series], "methods", MAX_LINES)
    with canvas(Path(path), 4.8) as sheet:
        axes = _square(sheet, "share of wanted images flagged (false positive rate)", _FOUND)
        results = _trace_all(sheet, axes, series, trace)
        (chance,) = axes.plot([0, 1], [0, 1], **GUIDE)
        sheet.add_entry(chance, "chance", "AUC 0.500")
        sheet.show_legend()
        sheet.alt_text = f"ROC curves: recall against false positive rate. {results}. Chance: AUC 0.500."
    return Path(path)


def draw_precision_recall(path: str | Path, series: Sequence[Series]) -> Path:
    """Draw precision against recall, with the average precision (AP) in the legend.

    Davis and Goadrich 2006, "The relationship between precision-recall and ROC curves", ICML. Steps, not slopes,
    join the points, as the average precision sums them up. Curves and averages are scikit-learn's
    `precision_recall_curve` and `average_precision_score`.

    Parameters, returns and errors are those of `draw_roc`.
    """
    metrics = load("sklearn.metrics")

    def trace(axes: Axes, one: Series, look: dict[str, Any]) -> tuple[object, str]:
        precision, recall, _ = metrics.precision_recall_curve(one.labels, one.probability, drop_intermediate=True)
        (line,) = axes.plot(recall, precision, drawstyle="steps-post", **look)
        return line, f"AP {metrics.average_precision_score(one.labels, one.probability):.3f}"

    check_names([one.name for one in series], "methods", MAX_LINES)
    with canvas(Path(path), 4.8) as sheet:
        axes = _square(sheet, _FOUND, "share of flagged images that\nare unwanted (precision)")
        results = _trace_all(sheet, axes, series, trace)
        shares = sorted({one.unwanted_share for one in series if one.has_both_classes})
        lines = [axes.axhline(share, **GUIDE) for share in shares]
        words = " to ".join(dict.fromkeys(as_percent(share) for share in shares[:1] + shares[-1:]))
        if lines:
            sheet.add_entry(lines[0], "chance", f"precision {words}")
        sheet.show_legend()
        chance = f" Chance: precision {words}." if lines else ""
        sheet.alt_text = f"Precision against recall. {results}.{chance}"
    return Path(path)


def _square(sheet: Canvas, x: str, y: str) -> Axes:
    axes: Axes = sheet.figure.add_subplot()
    share_axes(axes)
    axes.set(xlabel=x, ylabel=y, aspect="equal", anchor="NW")
    return axes


def _look(number: int) -> dict[str, Any]:
    """Return a style whose markers are spread along the line, away from those of the others."""
    return {**line_style(number), "markevery": (0.02 + 0.018 * number, 0.15)}


def _trace_all(
    sheet: Canvas,
    axes: Axes,
    series: Sequence[Series],
    trace: Callable[[Axes, Series, dict[str, Any]], tuple[object, str]],
) -> str:
    """Draw each method and its entry in the legend; return all results in words."""
    results = []
    for number, one in enumerate(series):
        if one.has_both_classes:
            handle, value = trace(axes, one, _look(number))
        else:
            (handle,) = axes.plot([], [], **_look(number))
            value = f"no curve: all {'unwanted' if one.unwanted_share else 'wanted'}"
        sheet.add_entry(handle, one.name, value)
        results.append(f"{clean(one.name)}: {value}")
    if not any(one.has_both_classes for one in series):
        words = "No curve can be drawn:\nthe images are all of one class."
        axes.text(0.5, 0.5, words, ha="center", va="center", color="#404040", backgroundcolor="white", zorder=5)
    return "; ".join(results)
