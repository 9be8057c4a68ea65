"""Cosine similarity, softmax and zero-shot probabilities: pure arithmetic on embeddings."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Real

from clipsieve.errors import EmbeddingError

__all__ = ["check_unit_norm", "normalize", "softmax", "zero_shot_probabilities"]

TOLERANCE = 1e-3


def check_unit_norm(embeddings: Float[np.ndarray, "n d"], embedding_dim: int, *, what: str = "embeddings") -> None:
    """Refuse an array that is not of n unit-norm rows of a given width.

    Raises
    ------
    EmbeddingError
        Names the first row whose norm is off by more than 1e-3, NaN included.
    """
    if embeddings.shape[1] != embedding_dim:
        raise EmbeddingError(
            f"the {what} have another width", expected=f"{embedding_dim} columns", found=f"{embeddings.shape[1]}"
        )
    rows = embeddings.astype(np.float32, copy=False)
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    off = np.flatnonzero(~(np.abs(norms - 1) <= TOLERANCE))  # so written, NaN is off as well
    if off.size:
        raise EmbeddingError(
            f"row {off[0]} of the {what} is not unit norm", expected="1 within 0.001", found=f"{norms[off[0]]:.4g}"
        )


def normalize(rows: Real[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    """Return the rows at unit norm; EmbeddingError for a row that is zero or not finite."""
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    bad = np.flatnonzero(~((norms[:, 0] > 0) & np.isfinite(norms[:, 0])))
    if bad.size:
        raise EmbeddingError(f"row {bad[0]} cannot be normalized", expected="a finite vector other than 0")
    unit: np.ndarray = (rows / norms).astype(np.float32)
    return unit


def softmax(logits: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n k"]:
    """Return the softmax of each row, computed so that large logits do not overflow."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = exponents / exponents.sum(axis=1, keepdims=True)
    return shares


def zero_shot_probabilities(
    image_embeddings: Float32[np.ndarray, "n d"],
    class_embeddings: Float32[np.ndarray, "k d"],
    *,
    logit_scale: float = 100.0,
) -> Float32[np.ndarray, "n k"]:
    """Return the probability of each class for each image.

    Softmax over classes of the scaled cosine similarity (Radford et al. 2021, arXiv:2103.00020, section 3.1.2).

    Parameters
    ----------
    image_embeddings : float32 array of shape (n, d)
        One unit-norm row per image. n may be 0.
    class_embeddings : float32 array of shape (k, d)
        One unit-norm row per class, after prompt ensembling. k >= 2.
    logit_scale : float, default=100.0
        Inverse temperature, dimensionless, > 0. Take it from the encoder; 100 is where CLIP's training clips it.

    Returns
    -------
    float32 array of shape (n, k)
        Rows sum to 1. Relative to the classes given, not calibrated.

    Raises
    ------
    EmbeddingError
        If widths differ, k < 2, or a row is not unit norm within 1e-3; names the first such row.

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    >>> w = np.array([[1.0, 0.0], [0.6, 0.8]], dtype=np.float32)
    >>> zero_shot_probabilities(x, w, logit_scale=1.0).round(3)
    array([[0.599, 0.401],
           [0.31 , 0.69 ]], dtype=float32)
    """
    if class_embeddings.shape[0] < 2:
        raise EmbeddingError(
            "there are too few classes to choose from", expected="k >= 2", found=f"k = {class_embeddings.shape[0]}"
        )
    check_unit_norm(class_embeddings, image_embeddings.shape[1], what="class embeddings")
    check_unit_norm(image_embeddings, class_embeddings.shape[1], what="image embeddings")
    return softmax(np.float32(logit_scale) * (image_embeddings @ class_embeddings.T))
