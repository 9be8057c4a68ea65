"""Sentences that a report says of thresholds and probabilities."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from clipsieve.engines.score_facts import Promise, ScoreCalibration

__all__ = ["as_percent", "calibration_words", "count_of", "name_of_source", "promise_words"]

_PATTERN_MARKS = frozenset("{}*?[]")
_METHODS = {"platt": "Platt", "isotonic": "isotonic regression"}


def count_of(n: int, thing: str) -> str:
    """Return a count with its noun.

    Examples
    --------
    >>> count_of(1, "image"), count_of(12345, "class")
    ('1 image', '12,345 classes')
    """
    plural = f"{thing}es" if thing.endswith("s") else f"{thing}s"
    return f"{n:,} {thing if n == 1 else plural}"


def calibration_words(calibration: ScoreCalibration | None) -> str:
    """Return whether probabilities are calibrated, by what and on how many images."""
    if calibration is None:
        return "not calibrated"
    method = _METHODS.get(calibration.method, calibration.method)
    on_images = "" if calibration.n_images is None else f", on {count_of(calibration.n_images, 'rated image')}"
    return f"calibrated ({method}{on_images})"


def promise_words(promises: Iterable[Promise]) -> tuple[str, ...]:
    """Return what the thresholds of a run promise, a sentence each."""
    return tuple(_promise(promise) for promise in promises)


def _promise(promise: Promise) -> str:
    point = promise.point
    sure = f"with {as_percent(point.confidence)} confidence, from {count_of(point.n_labels, 'rated image')}"
    if point.kind == "recall":
        return f"at least {as_percent(point.target)} of the unwanted images are flagged, {sure}"
    return f"at least {as_percent(point.target)} of the images at or above the removal threshold are unwanted, {sure}"


def as_percent(fraction: float) -> str:
    """Return a fraction as a percentage with the digits that it was given with."""
    return f"{100 * fraction:.6g} %"


def name_of_source(location: str, *, is_pattern: bool) -> str:
    """Return what a data set is called if nobody says: the last part of its place that is no pattern.

    Without patterns every part is a name, whatever marks it holds. Of a web address, what follows a question mark is no part of
    the place.

    Examples
    --------
    >>> name_of_source("/data/photos/", is_pattern=False), name_of_source("s3://b/laion/{000..099}.tar", is_pattern=True)
    ('photos', 'laion')
    >>> name_of_source("/data/what?/odd [2023]", is_pattern=False)
    'odd [2023]'
    """
    parts = location.split("?", 1)[0] if location.startswith(("http://", "https://")) else location
    names = [part for part in parts.split("/") if part and not (is_pattern and set(part) & _PATTERN_MARKS)]
    name = PurePosixPath(names[-1]).name if names else ""
    return name.removesuffix(":") or location or "data set"
