"""Which calibration to use: none, Platt's or isotonic, chosen by cross-validation on held-out margins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from clipsieve.classifiers.calibration import Calibration, fit_isotonic, fit_platt, sigmoid
from clipsieve.classifiers.folds import assign_folds

__all__ = ["CalibrationChoice", "choose_calibration"]

N_FOLDS = 5
FEWEST_FOR_ISOTONIC = 1000  # Niculescu-Mizil and Caruana 2005: below, it fits the noise


@dataclass(frozen=True, slots=True)
class CalibrationChoice:
    """What cross-validation chose.

    Attributes
    ----------
    calibration : Calibration or None
        Fitted on all margins; None if the classifier's own probabilities are better.
    facts : dict
        For a classifier's provenance: the method, how many images, and the held-out loss of each in nats.
    """

    calibration: Calibration | None
    facts: dict[str, Any]


def choose_calibration(
    margin: Float64[np.ndarray, "n"],
    labels: Int64[np.ndarray, "n"],
    *,
    own_margin: Float64[np.ndarray, "n"] | None = None,
    seed: int = 0,
) -> CalibrationChoice:
    """Choose the calibration whose held-out cross-entropy is lowest: none, Platt's, or isotonic; the first of them if they tie.

    By stratified 5-fold cross-validation; isotonic where there are at least 1,000 images (Niculescu-Mizil and Caruana 2005,
    "Predicting good probabilities with supervised learning", section 5).

    Parameters
    ----------
    margin : float64 array of shape (n,)
        Of images that the classifier was not tuned on.
    labels : int64 array of shape (n,)
        1 unwanted, 0 wanted; at least two of each.
    own_margin : float64 array of shape (n,), optional
        What the classifier gives without a calibration, if that is not `margin`.
    seed : int, default=0
        Decides the folds.
    """
    kinds: dict[str, Callable[[Any, Any], Calibration]] = {"platt": fit_platt}
    if len(margin) >= FEWEST_FOR_ISOTONIC:
        kinds["isotonic"] = fit_isotonic
    n_folds = max(2, min(N_FOLDS, int(np.bincount(labels, minlength=2).min())))
    folds = assign_folds(labels, n_folds, np.random.default_rng(seed))
    losses = {"none": _loss(sigmoid(margin if own_margin is None else own_margin), labels)}
    for name, fit in kinds.items():
        held_out = np.empty_like(margin)
        for fold in range(n_folds):
            inside = folds == fold
            held_out[inside] = fit(margin[~inside], labels[~inside]).probability(margin[inside])
        losses[name] = _loss(held_out, labels)
    best = min(losses, key=lambda name: losses[name])
    facts = {
        "method": best,
        "n_images": len(margin),
        "held_out_loss": {name: round(loss, 6) for name, loss in losses.items()},
    }
    return CalibrationChoice(kinds[best](margin, labels) if best in kinds else None, facts)


def _loss(probability: Float64[np.ndarray, "n"], labels: Int64[np.ndarray, "n"]) -> float:
    of_label = np.where(labels == 1, probability, 1 - probability)
    return float(-np.log(of_label.clip(1e-12)).mean())
