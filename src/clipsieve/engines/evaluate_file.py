"""From a file of anyone's predictions to an evaluation, by the same code as our own."""

from __future__ import annotations

from pathlib import Path

from clipsieve.engines.evaluate import MethodResult
from clipsieve.engines.evaluation import Evaluation, build_evaluation
from clipsieve.engines.predictions import PredictionGroup, read_predictions

__all__ = ["evaluate_predictions"]


def evaluate_predictions(
    path: str | Path,
    *,
    threshold: float = 0.5,
    at_threshold: bool = False,
    low: float = 2.5,
    high: float = 3.5,
    reverse: bool = False,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> Evaluation:
    """Evaluate anyone's predictions with the same code.

    Parameters
    ----------
    path, threshold, at_threshold, low, high, reverse
        See `clipsieve.engines.predictions.read_predictions`.
    n_bootstrap, confidence
        As in `EvaluationOptions`.

    Raises
    ------
    UsageError
        If the file cannot be read or does not hold predictions.
    """
    found = read_predictions(path, threshold=threshold, at_threshold=at_threshold, low=low, high=high, reverse=reverse)
    results = [_as_result(group) for group in found.groups]
    several = len({result.name for result in results}) > 1
    facts = {
        "predictions": {"file": found.path.name, "sha256": found.sha256},
        "threshold": threshold,
        "at_threshold": at_threshold,
        "n_left_out": found.n_left_out,
    }
    notes = list(found.notes)
    if several and not found.has_images:
        notes.append("methods are not compared: the file has no column `image` that says which rows belong together")
    return build_evaluation(
        results,
        facts,
        notes=notes,
        can_compare=several and found.has_images,
        n_bootstrap=n_bootstrap,
        confidence=confidence,
    )


def _as_result(group: PredictionGroup) -> MethodResult:
    numbers = tuple(range(len(group.splits)))
    return MethodResult(group.method or "predictions", group.fraction, group.test_name, group.splits, numbers)
