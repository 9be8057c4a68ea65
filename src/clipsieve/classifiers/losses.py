"""Cross-entropy where a rating may allow several classes: "unwanted" says one of the unwanted ones, not which."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

__all__ = ["cross_entropy"]


def cross_entropy(
    logits: Float[np.ndarray, "b k n"], allowed: Bool[np.ndarray, "k n"]
) -> tuple[Float[np.ndarray, "b n"], Float[np.ndarray, "b k n"]]:
    """Return the loss of each image, and its gradient in the logits.

    The loss is -log of the softmax probability of the allowed classes together; its gradient is p - q, with p the softmax over
    all classes and q that over the allowed ones (Cour, Sapp and Taskar 2011, "Learning from partial labels", J. Mach. Learn.
    Res. 12, for the sum; with one allowed class it is the usual cross-entropy).

    Parameters
    ----------
    logits : array of shape (b, k, n)
        Finite.
    allowed : bool array of shape (k, n)
        At least one class of each image.
    """
    if logits.shape[1] == 2 and (allowed[0] != allowed[1]).all():
        return _two_classes(logits, allowed[1])
    p, highest, total = _softmax(logits)
    q, highest_allowed, total_allowed = _softmax(np.where(allowed, logits, -np.inf))
    loss = (highest - highest_allowed) + np.log(total / total_allowed)  # large logits cancel before they round
    return loss, p - q


def _softmax(
    logits: Float[np.ndarray, "b k n"],
) -> tuple[Float[np.ndarray, "b k n"], Float[np.ndarray, "b n"], Float[np.ndarray, "b n"]]:
    """Return shares, the highest logit, and the sum of the exponentials of what the logits lie below it."""
    highest = logits.max(axis=1)
    exponents = np.exp(logits - highest[:, None])
    total = exponents.sum(axis=1)
    return exponents / total[:, None], highest, total


def _two_classes(
    logits: Float[np.ndarray, "b 2 n"], is_second: Bool[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "b n"], Float[np.ndarray, "b 2 n"]]:
    """Do the same with a third of the exponentials."""
    sign = np.where(is_second, 1, -1).astype(logits.dtype)
    margin = sign * (logits[:, 1] - logits[:, 0])
    small = np.exp(-np.abs(margin))
    loss = np.maximum(-margin, 0) + np.log1p(small)
    wrong = np.where(margin >= 0, small, 1) / (1 + small)
    slope = sign * wrong
    return loss, np.stack([slope, -slope], axis=1)
