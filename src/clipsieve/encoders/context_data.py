"""What context vectors are learned from: embeddings, allowed classes, and how much each image counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32

from clipsieve.classifiers.similarity import check_unit_norm
from clipsieve.errors import UsageError

__all__ = ["check_data", "check_options", "image_weights"]


def check_data(
    embedding_dim: int,
    image_embeddings: Float32[np.ndarray, "n d"],
    targets: Bool[np.ndarray, "n k"],
    class_names: Sequence[str],
) -> None:
    """Refuse embeddings of another width or norm, and targets that do not belong to them or say nothing."""
    check_unit_norm(image_embeddings, embedding_dim, what="image embeddings")
    n, k = len(image_embeddings), len(class_names)
    if k < 2 or len(set(class_names)) < k:
        raise UsageError(
            "a classifier needs two or more distinct classes", found=", ".join(class_names)[:200] or "none"
        )
    if n == 0 or targets.shape != (n, k):
        raise UsageError(
            "each image needs a flag for each class, and there must be an image",
            expected=f"an array of shape ({n or 'n'}, {k})",
            found=f"shape {targets.shape} for {n:,} images",
        )
    n_allowed = targets.sum(axis=1)
    odd = np.flatnonzero((n_allowed == 0) | (n_allowed == k))
    if len(odd):
        raise UsageError(
            f"row {odd[0]} of the targets says nothing",
            expected=f"1 to {k - 1} allowed classes",
            found=f"{n_allowed[odd[0]]}; {len(odd):,} such rows",
        )


def check_options(n_context: int, epochs: int, lr: float, batch_size: int) -> None:
    """Refuse numbers with which nothing can be learned."""
    if n_context < 1 or epochs < 0 or batch_size < 1 or not 0 < lr < math.inf:
        raise UsageError(
            "the options make no sense together with learning",
            expected="n_context >= 1, epochs >= 0, batch_size >= 1, lr > 0 and finite",
            found=f"n_context {n_context}, epochs {epochs}, batch_size {batch_size}, lr {lr}",
        )


def image_weights(targets: Bool[np.ndarray, "n k"], *, balanced: bool) -> Float32[np.ndarray, "n"]:
    """Return the weight of each image; balanced, n / (sets x images with this set), as scikit-learn's for one-hot rows."""
    if not balanced:
        return np.ones(len(targets), dtype=np.float32)
    _, group, counts = np.unique(targets, axis=0, return_inverse=True, return_counts=True)
    weights: np.ndarray = len(targets) / (len(counts) * counts[group.reshape(-1)])
    return weights.astype(np.float32)
