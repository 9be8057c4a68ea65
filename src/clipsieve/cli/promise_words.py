"""Words for thresholds: what was promised, whether probabilities are calibrated, and what becomes of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from clipsieve.engines import ScoreCalibration
    from clipsieve.evaluation.thresholds import OperatingPoint

__all__ = ["calibration_words", "percentage", "promise_lines", "threshold_words"]


def calibration_words(calibration: ScoreCalibration | None) -> str:
    """Return "not calibrated", or by what and on how many images."""
    if calibration is None:
        return "not calibrated"
    n = calibration.n_images
    on_images = "" if n is None else f" on {n:,} {'image' if n == 1 else 'images'}"
    return f"calibrated: {calibration.method}{on_images}"


def threshold_words(threshold: float) -> str:
    """Return a threshold in four digits; in as many as are needed where it would look like 0 or 1."""
    short = f"{threshold:.4g}"
    is_blurred = short in ("0", "1") and threshold not in (0, 1)
    return str(np.float32(threshold)) if is_blurred else short


def percentage(fraction: float) -> str:
    """Return a fraction as a percentage with the digits that it was given with."""
    return f"{100 * fraction:.6g} %"


def promise_lines(promises: Sequence[OperatingPoint], threshold: float, remove_threshold: float | None) -> list[str]:
    """Return what was promised, each promise in two lines of at most 70 characters."""
    lines = []
    for point in promises:
        sure = f"at least {percentage(point.target)} with {percentage(point.confidence)} confidence:"
        if point.kind == "recall":
            what = "recall of unwanted images"
            done = "review" if remove_threshold != threshold else "remove"
            lines += [f"{what} {sure}", f"{done} at >= {threshold_words(threshold)}"]
        else:
            lines += [f"precision of removal {sure}", f"remove at >= {threshold_words(point.threshold)}"]
    if len(promises) > 1:
        both = max(0.0, 1 - sum(1 - point.confidence for point in promises))
        lines.append(f"both together with {percentage(both)} confidence or more")
    return lines
