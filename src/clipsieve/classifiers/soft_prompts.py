"""Soft prompts: class vectors trained on few rated images, held near the prompts in words.

The loss of an image is the cross-entropy of softmax(s x cosine) over the classes, summed over those that its rating allows
(Schramowski and Kersting 2021, arXiv:2110.04222, section 3; both towers stay frozen). Beside it stands a penalty for leaving the
text prompts: half the strength times the squared distance of each unit vector from its prompt's, which is strength x
(1 - cosine). It is a prior: with no images, or an endless strength, the result is the text prompts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from clipsieve.classifiers.lbfgs import Objective, minimize
from clipsieve.classifiers.losses import cross_entropy
from clipsieve.classifiers.strength import Family

__all__ = ["PromptFamily", "fit_soft_prompts", "soft_prompt_objective"]


def fit_soft_prompts(
    prompts: Float[np.ndarray, "k d"],
    embeddings: Float[np.ndarray, "n d"],
    targets: Bool[np.ndarray, "n k"],
    weights: Float[np.ndarray, "b n"],
    strengths: Float64[np.ndarray, "b"],
    *,
    logit_scale: float,
    start: Float[np.ndarray, "b k d"] | None = None,
    tolerance: float = 1e-6,
) -> Float[np.ndarray, "b k d"]:
    """Return the class vectors of b problems on the same images.

    Parameters
    ----------
    prompts : array of shape (k, d)
        Unit norm; the text prompts, where every problem starts and what the penalty pulls towards.
    embeddings : array of shape (n, d)
        Unit norm. Its dtype, float32 or float64, is that of the computation.
    targets : bool array of shape (n, k)
        The classes that an image may belong to; at least one, and not all, in each row.
    weights : array of shape (b, n)
        How often each image counts in each problem, >= 0; 0 leaves it out.
    strengths : float64 array of shape (b,)
        Of the penalty, in units of images x logit scale squared: 1 weighs a prompt moved so far that a logit may change by
        1 like half a nat of one image. >= 0; infinity keeps the prompts.
    logit_scale : float
        Inverse temperature s, > 0.
    start : array of shape (b, k, d), optional
        Where to begin, instead of the prompts.
    tolerance : float, default=1e-6
        See `minimize`.

    Returns
    -------
    array of shape (b, k, d)
        Unit-norm rows.
    """
    dtype, (k, d) = embeddings.dtype, prompts.shape
    found = np.tile(prompts.astype(dtype), (len(weights), 1, 1)) if start is None else start.astype(dtype)
    free = np.flatnonzero(np.isfinite(strengths) & (weights.sum(axis=1) > 0))
    if free.size:
        objective = soft_prompt_objective(
            prompts.astype(dtype), embeddings, targets, weights[free].astype(dtype), strengths[free], logit_scale
        )
        found[free] = minimize(objective, found[free].reshape(-1, k * d), tolerance=tolerance).reshape(-1, k, d)
    fixed = np.setdiff1d(np.arange(len(weights)), free)
    found[fixed] = prompts
    unit: np.ndarray = found / np.linalg.norm(found, axis=2, keepdims=True)
    return unit


def soft_prompt_objective(
    prompts: Float[np.ndarray, "k d"],
    embeddings: Float[np.ndarray, "n d"],
    targets: Bool[np.ndarray, "n k"],
    weights: Float[np.ndarray, "b n"],
    strengths: Float64[np.ndarray, "b"],
    logit_scale: float,
) -> Objective:
    """Return value and gradient of the penalized cross-entropy, per image, as a function of unnormalized class vectors.

    With u = w / |w|, z = s x . u, p = softmax(z) and q = p over the allowed classes alone, the gradient in z is p - q, and the
    gradient in w is that in u less its part along u, divided by |w|.
    """
    k, d = prompts.shape
    total = weights.sum(axis=1)
    penalty = (strengths * logit_scale**2).astype(embeddings.dtype)
    scale = embeddings.dtype.type(logit_scale)
    allowed = np.ascontiguousarray(targets.T)

    def objective(
        at: Float[np.ndarray, "c p"], which: Int64[np.ndarray, "c"]
    ) -> tuple[Float[np.ndarray, "c"], Float[np.ndarray, "c p"]]:
        rows = at.reshape(-1, k, d)
        norms = np.linalg.norm(rows, axis=2, keepdims=True)
        unit = rows / norms
        logits = (scale * (unit.reshape(-1, d) @ embeddings.T)).reshape(len(rows), k, -1)
        loss, slope = cross_entropy(logits, allowed)
        weight = weights[which]
        away = unit - prompts
        value = (weight * loss).sum(axis=1) + penalty[which] / 2 * (away**2).sum(axis=(1, 2))
        slope *= (scale * weight)[:, None, :]
        gradient = (slope.reshape(-1, slope.shape[2]) @ embeddings).reshape(rows.shape)
        gradient += penalty[which, None, None] * away
        gradient -= (gradient * unit).sum(axis=2, keepdims=True) * unit
        gradient /= norms
        per_image = total[which]
        return value / per_image, gradient.reshape(len(rows), -1) / per_image[:, None]

    return objective


@dataclass(frozen=True, slots=True)
class PromptFamily(Family):
    """Soft prompts of some images, for each strength of the prior and each choice of images; see `fit_soft_prompts`."""

    prompts: Float[np.ndarray, "k d"]
    logit_scale: float
    embeddings: Float[np.ndarray, "n d"]
    targets: Bool[np.ndarray, "n k"]

    def fit(
        self, weights: Float[np.ndarray, "b n"], strengths: Float64[np.ndarray, "b"], *, tolerance: float
    ) -> Float[np.ndarray, "b k d"]:
        """Return class vectors."""
        return fit_soft_prompts(
            self.prompts,
            self.embeddings,
            self.targets,
            weights,
            strengths,
            logit_scale=self.logit_scale,
            tolerance=tolerance,
        )

    def logits(self, parameters: Float[np.ndarray, "b k d"]) -> Float[np.ndarray, "b k n"]:
        """Return scaled cosines."""
        cosines = parameters.reshape(-1, parameters.shape[2]) @ self.embeddings.T
        return np.asarray(self.logit_scale * cosines.reshape(*parameters.shape[:2], -1))
