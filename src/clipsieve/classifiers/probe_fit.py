"""Logistic regression with L2 regularization, many at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from clipsieve.classifiers.lbfgs import Objective, minimize
from clipsieve.classifiers.losses import cross_entropy
from clipsieve.classifiers.strength import Family

__all__ = ["ProbeFamily", "fit_probes", "probe_objective"]


def fit_probes(
    embeddings: Float[np.ndarray, "n d"],
    targets: Bool[np.ndarray, "n k"],
    weights: Float[np.ndarray, "b n"],
    strengths: Float64[np.ndarray, "b"],
    *,
    tolerance: float = 1e-6,
) -> Float[np.ndarray, "b k e"]:
    """Return weight vectors and biases of b probes on the same images.

    Minimizes the cross-entropy of softmax(w x + b), summed over the images, plus strength / 2 x |w|^2 (Radford et al. 2021,
    arXiv:2103.00020, section 3.2); the biases are free. scikit-learn's `LogisticRegression` minimizes the same with C = 1 /
    strength; with two classes, its one weight vector is the difference of these two and its strength is half of this.

    Parameters
    ----------
    embeddings, targets, weights, tolerance
        As for `fit_soft_prompts`.
    strengths : float64 array of shape (b,)
        > 0.

    Returns
    -------
    array of shape (b, k, d + 1)
        The bias stands last.
    """
    dtype, (_, d), k = embeddings.dtype, embeddings.shape, targets.shape[1]
    centre = embeddings.mean(axis=0)  # embeddings share a large mean, which would slow the search down
    objective = probe_objective(embeddings - centre, targets, weights.astype(dtype), strengths)
    start = np.zeros((len(weights), k * (d + 1)), dtype=dtype)
    found = minimize(objective, start, tolerance=tolerance).reshape(-1, k, d + 1)
    found[:, :, d] -= found[:, :, :d] @ centre
    return found


def probe_objective(
    embeddings: Float[np.ndarray, "n d"],
    targets: Bool[np.ndarray, "n k"],
    weights: Float[np.ndarray, "b n"],
    strengths: Float64[np.ndarray, "b"],
) -> Objective:
    """Return value and gradient of the penalized cross-entropy, per image."""
    (n, d), k = embeddings.shape, targets.shape[1]
    inputs = np.concatenate([embeddings, np.ones((n, 1), dtype=embeddings.dtype)], axis=1)
    penalty, total = strengths.astype(embeddings.dtype), weights.sum(axis=1)
    allowed = np.ascontiguousarray(targets.T)

    def objective(
        at: Float[np.ndarray, "c p"], which: Int64[np.ndarray, "c"]
    ) -> tuple[Float[np.ndarray, "c"], Float[np.ndarray, "c p"]]:
        rows = at.reshape(-1, k, d + 1)
        logits = (rows.reshape(-1, d + 1) @ inputs.T).reshape(len(rows), k, n)
        loss, slope = cross_entropy(logits, allowed)
        weight = weights[which]
        value = (weight * loss).sum(axis=1) + penalty[which] / 2 * (rows[:, :, :d] ** 2).sum(axis=(1, 2))
        slope *= weight[:, None, :]
        gradient = (slope.reshape(-1, n) @ inputs).reshape(rows.shape)
        gradient[:, :, :d] += penalty[which, None, None] * rows[:, :, :d]
        per_image = total[which]
        return value / per_image, gradient.reshape(len(rows), -1) / per_image[:, None]

    return objective


@dataclass(frozen=True, slots=True)
class ProbeFamily(Family):
    """Probes of some images, for each strength of the regularization and each choice of images; see `fit_probes`."""

    embeddings: Float[np.ndarray, "n d"]
    targets: Bool[np.ndarray, "n k"]

    def fit(
        self, weights: Float[np.ndarray, "b n"], strengths: Float64[np.ndarray, "b"], *, tolerance: float
    ) -> Float[np.ndarray, "b k e"]:
        """Return weights, with the bias last."""
        return fit_probes(self.embeddings, self.targets, weights, strengths, tolerance=tolerance)

    def logits(self, parameters: Float[np.ndarray, "b k e"]) -> Float[np.ndarray, "b k n"]:
        """Return affine maps of the embeddings."""
        products = parameters[:, :, :-1].reshape(-1, parameters.shape[2] - 1) @ self.embeddings.T
        return np.asarray(products.reshape(*parameters.shape[:2], -1) + parameters[:, :, -1:])
