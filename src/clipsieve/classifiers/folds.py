"""Folds for cross-validation."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

__all__ = ["assign_folds"]


def assign_folds(groups: Int64[np.ndarray, "n"], n_folds: int, rng: np.random.Generator) -> Int64[np.ndarray, "n"]:
    """Return a fold for each image, so that every fold has about the same share of every group."""
    order = rng.permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    folds = np.empty(len(groups), dtype=np.int64)
    folds[order] = np.arange(len(groups)) % n_folds
    return folds
