"""Soft prompts: class vectors trained on few rated images, held near the prompts in words.

The loss of an image is the cross-entropy of softmax(s x cosine) over the classes, summed over those that its rating allows
(Schramowski and Kersting 2021, arXiv:2110.04222, section 3; both towers stay frozen). Beside it stands a penalty for leaving the
text prompts: half the strength times the squared distance of each unit vector from its prompt's, which is strength x
(1 - cosine). It is a prior: with no images, or an endless strength, the result is the text prompts.

Where a calibration follows, one number is added to all unwanted logits while the vectors are fitted, free of any penalty. It
says how frequent unwanted images are, which the calibration finds out again; without it, the vectors would have to leave the
prompts for that alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from clipsieve.classifiers.calibration import sigmoid
from clipsieve.classifiers.lbfgs import Objective, minimize
from clipsieve.classifiers.losses import cross_entropy
from clipsieve.classifiers.strength import Family

__all__ = ["PromptFamily", "fit_soft_prompts", "soft_prompt_objective"]

MOST_STEPS = 50  # of halving a bracket, until 1e-6 of it is left and more


def fit_soft_prompts(
    prompts: Float[np.ndarray, "k d"],
    embeddings: Float[np.ndarray, "n d"],
    targets: Bool[np.ndarray, "n k"],
    weights: Float[np.ndarray, "b n"],
    strengths: Float64[np.ndarray, "b"],
    *,
    logit_scale: float,
    shifted: Bool[np.ndarray, "k"] | None = None,
    tolerance: float = 1e-6,
) -> Float[np.ndarray, "b k e"]:
    """Return the class vectors of b problems on the same images, and what is added to their logits.

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
    shifted : bool array of shape (k,), optional
        Classes whose logits have a free number in common while fitting; none by default.
    tolerance : float, default=1e-6
        See `minimize`.

    Returns
    -------
    array of shape (b, k, d + 1)
        Unit-norm rows, or the very prompts where the strength is endless or no image counts; behind each, the number that was
        added to the logits of its class, 0 where nothing is shifted.
    """
    dtype, (k, d) = embeddings.dtype, prompts.shape
    prior = prompts.astype(dtype)
    found = np.concatenate([np.tile(prior, (len(weights), 1, 1)), np.zeros((len(weights), k, 1), dtype)], axis=2)
    free = np.flatnonzero(np.isfinite(strengths) & (weights.sum(axis=1) > 0))
    if free.size:
        basis = _span(prior, embeddings)
        inside, images = (prior, embeddings) if basis is None else (prior @ basis, embeddings @ basis)
        settings = inside, images, targets, weights[free].astype(dtype), strengths[free], logit_scale, shifted
        start = np.tile(np.append(inside.reshape(-1), dtype.type(0)), (len(free), 1))
        if shifted is not None:
            logits = np.asarray(logit_scale * (inside @ images.T), dtype)
            start[:, -1] = _best_shift(logits[None], targets, weights[free], shifted) / logit_scale
        fitted = minimize(soft_prompt_objective(*settings), start, tolerance=tolerance)
        rows = fitted[:, :-1].reshape(len(free), k, -1)
        rows /= np.linalg.norm(rows, axis=2, keepdims=True)
        if shifted is not None:
            logits = logit_scale * (rows.reshape(-1, rows.shape[2]) @ images.T).reshape(len(free), k, -1)
            found[free, :, d] = _best_shift(logits, targets, weights[free], shifted)[:, None] * shifted
        found[free, :, :d] = rows if basis is None else rows @ basis.T
    return found


def _best_shift(
    logits: Float[np.ndarray, "c k n"],
    targets: Bool[np.ndarray, "n k"],
    weights: Float[np.ndarray, "b n"],
    shifted: Bool[np.ndarray, "k"],
) -> Float64[np.ndarray, "b"]:
    """Return the number that, added to the logits of the shifted classes, gives the lowest loss; c is 1 or b.

    A search that stops early leaves it near where it began, since the vectors make up for it; the calibration takes it over,
    and needs it to mean the same in every fold.
    """
    of_both = [np.logaddexp.reduce(logits[:, flags], axis=1) for flags in (shifted, ~shifted)]
    weights = weights / weights.sum(axis=1, keepdims=True)
    share = (weights * (targets & shifted).any(axis=1)).sum(axis=1, dtype=np.float64)
    return _solve((of_both[0] - of_both[1]).astype(np.float64), weights, share.clip(1e-3, 1 - 1e-3))


def _solve(
    margin: Float64[np.ndarray, "c n"], weights: Float[np.ndarray, "b n"], share: Float64[np.ndarray, "b"]
) -> Float64[np.ndarray, "b"]:
    """Return the shift at which the mean of sigmoid(margin + shift) is the share: Newton's method, bisection where it fails."""
    odds = np.log(share / (1 - share))
    low, high = odds - margin.max(axis=1), odds - margin.min(axis=1)
    shift = odds - margin.mean(axis=1)
    for _ in range(MOST_STEPS):
        p = sigmoid(margin + shift[:, None])
        excess = (weights * p).sum(axis=1) - share
        slope = (weights * p * (1 - p)).sum(axis=1)
        low, high = np.where(excess < 0, shift, low), np.where(excess > 0, shift, high)
        tried = shift - excess / np.maximum(slope, 1e-12)
        moved = np.where((tried > low) & (tried < high), tried, (low + high) / 2)
        is_found, shift = np.abs(moved - shift) < 1e-6, moved
        if is_found.all():
            break
    return np.asarray(shift)


def _span(prompts: Float[np.ndarray, "k d"], embeddings: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d r"] | None:
    """Return an orthonormal basis of prompts and images where they are far fewer than dimensions, else None.

    Neither loss nor penalty has a gradient that leads out of their span; what little lies inside is quicker to search.
    """
    n_rows, d = len(prompts) + len(embeddings), prompts.shape[1]
    if 2 * n_rows > d:
        return None
    return np.asarray(np.linalg.qr(np.concatenate([prompts, embeddings]).T)[0])


def soft_prompt_objective(
    prompts: Float[np.ndarray, "k d"],
    embeddings: Float[np.ndarray, "n d"],
    targets: Bool[np.ndarray, "n k"],
    weights: Float[np.ndarray, "b n"],
    strengths: Float64[np.ndarray, "b"],
    logit_scale: float,
    shifted: Bool[np.ndarray, "k"] | None = None,
) -> Objective:
    """Return value and gradient of the penalized cross-entropy, per image.

    Parameters of a problem are the k unnormalized class vectors and, last, the number that is added to the cosines of the shifted
    classes; see `fit_soft_prompts` for the rest. With u = w / |w|, z = s x . u, p = softmax(z) and q = p over the allowed
    classes alone, the gradient in z is p - q, and the gradient in w is that in u less its part along u, divided by |w|.
    """
    k, d = prompts.shape
    total = weights.sum(axis=1)
    penalty = (strengths * logit_scale**2).astype(embeddings.dtype)
    scale = embeddings.dtype.type(logit_scale)
    allowed = np.ascontiguousarray(targets.T)
    moved = np.zeros(k, dtype=bool) if shifted is None else shifted

    def objective(
        at: Float[np.ndarray, "c p"], which: Int64[np.ndarray, "c"]
    ) -> tuple[Float[np.ndarray, "c"], Float[np.ndarray, "c p"]]:
        rows = at[:, :-1].reshape(-1, k, d)
        norms = np.linalg.norm(rows, axis=2, keepdims=True)
        unit = rows / norms
        # A softmax does not change when all logits of an image fall by that of its first class: one product less.
        logits = np.zeros((len(rows), k, len(embeddings)), dtype=at.dtype)
        relative = (unit[:, 1:] - unit[:, :1]).reshape(-1, d)
        logits[:, 1:] = scale * (relative @ embeddings.T).reshape(len(rows), k - 1, -1)
        logits[:, moved] += scale * at[:, -1, None, None]
        loss, slope = cross_entropy(logits, allowed)
        weight = weights[which]
        away = unit - prompts
        value = (weight * loss).sum(axis=1) + penalty[which] / 2 * (away**2).sum(axis=(1, 2))
        slope *= weight[:, None, :]
        shift = scale * slope[:, moved].sum(axis=(1, 2))
        gradient = penalty[which, None, None] * away
        pulls = scale * (slope[:, 1:].reshape(-1, slope.shape[2]) @ embeddings).reshape(len(rows), k - 1, d)
        gradient[:, 1:] += pulls
        gradient[:, 0] -= pulls.sum(axis=1)  # the slopes of an image add up to 0
        gradient -= (gradient * unit).sum(axis=2, keepdims=True) * unit
        gradient /= norms
        per_image = total[which]
        flat = np.concatenate([gradient.reshape(len(rows), -1), shift[:, None]], axis=1)
        return value / per_image, flat / per_image[:, None]

    return objective


@dataclass(frozen=True, slots=True)
class PromptFamily(Family):
    """Soft prompts of some images, for each strength of the prior and each choice of images; see `fit_soft_prompts`."""

    prompts: Float[np.ndarray, "k d"]
    logit_scale: float
    embeddings: Float[np.ndarray, "n d"]
    targets: Bool[np.ndarray, "n k"]
    shifted: Bool[np.ndarray, "k"] | None = None

    def fit(
        self, weights: Float[np.ndarray, "b n"], strengths: Float64[np.ndarray, "b"], *, tolerance: float
    ) -> Float[np.ndarray, "b k e"]:
        """Return class vectors, each with what is added to its logits behind it."""
        return fit_soft_prompts(
            self.prompts,
            self.embeddings,
            self.targets,
            weights,
            strengths,
            logit_scale=self.logit_scale,
            shifted=self.shifted,
            tolerance=tolerance,
        )

    def logits(self, parameters: Float[np.ndarray, "b k e"]) -> Float[np.ndarray, "b k n"]:
        """Return scaled cosines, and what is added to them."""
        cosines = parameters[:, :, :-1].reshape(-1, parameters.shape[2] - 1) @ self.embeddings.T
        scaled = self.logit_scale * cosines.reshape(*parameters.shape[:2], -1)
        return np.asarray(scaled + parameters[:, :, -1:])

    def shifts(self, parameters: Float[np.ndarray, "b k e"]) -> Float[np.ndarray, "b k"]:
        """Return the numbers behind the class vectors."""
        return parameters[:, :, -1]
