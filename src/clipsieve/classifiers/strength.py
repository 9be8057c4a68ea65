"""How strongly to hold on to the prior: chosen by cross-validation among a few strengths, all fitted side by side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from clipsieve.classifiers.losses import cross_entropy

__all__ = ["Family", "StrengthChoice", "assign_folds", "choose_strength"]

N_FOLDS = 5
FEW = 100  # below this many images, folds are drawn anew several times: one draw would be a matter of luck
N_DRAWS = 4


class Family(ABC):
    """Models that differ in weights of images and in strength alone."""

    @abstractmethod
    def fit(
        self, weights: Float[np.ndarray, "b n"], strengths: Float64[np.ndarray, "b"], *, tolerance: float
    ) -> Float[np.ndarray, "b ..."]:
        """Return the parameters of b fitted models."""

    @abstractmethod
    def logits(self, parameters: Float[np.ndarray, "b ..."]) -> Float[np.ndarray, "b k n"]:
        """Return the logits of every image by each of b models."""


@dataclass(frozen=True, slots=True, eq=False)
class StrengthChoice:
    """What cross-validation found.

    Attributes
    ----------
    strength : float
        The chosen one.
    strengths : float64 array of shape (s,)
        Those that were tried, the strongest first.
    losses, errors : float64 arrays of shape (s,)
        Mean held-out cross-entropy in nats, and the standard error of its difference to the best.
    held_out : float32 array of shape (n, k)
        Logits at the chosen strength, each image by the models that were fitted without it.
    """

    strength: float
    strengths: Float64[np.ndarray, "s"]
    losses: Float64[np.ndarray, "s"]
    errors: Float64[np.ndarray, "s"]
    held_out: Float32[np.ndarray, "n k"]


def assign_folds(groups: Int64[np.ndarray, "n"], n_folds: int, rng: np.random.Generator) -> Int64[np.ndarray, "n"]:
    """Return a fold for each image, so that every fold has about the same share of every group."""
    order = rng.permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    folds = np.empty(len(groups), dtype=np.int64)
    folds[order] = np.arange(len(groups)) % n_folds
    return folds


def choose_strength(
    family: Family, targets: Bool[np.ndarray, "n k"], strengths: Float64[np.ndarray, "s"], *, seed: int = 0
) -> StrengthChoice | None:
    """Choose a strength by stratified cross-validation, or return None where a group has fewer than two images.

    The strongest one whose held-out loss is within one standard error of the best one's (Breiman, Friedman, Olshen and Stone
    1984, "Classification and Regression Trees", section 3.4.3; the error is that of the paired difference): where the labels
    do not tell, the prior decides.

    Parameters
    ----------
    family : Family
        What is fitted.
    targets : bool array of shape (n, k)
        The classes that each image may belong to.
    strengths : float64 array of shape (s,)
        The strongest first.
    seed : int, default=0
        Decides the folds.
    """
    groups = np.unique(targets, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    smallest = int(np.bincount(groups).min()) if len(groups) else 0
    if smallest < 2 or groups.max() == 0:
        return None
    rng, n_folds = np.random.default_rng(seed), max(2, min(N_FOLDS, smallest))
    draws = range(N_DRAWS if len(groups) < FEW else 1)
    held_out = np.mean([_held_out(family, groups, n_folds, strengths, rng) for _ in draws], axis=0)
    losses = cross_entropy(held_out, targets.T)[0].astype(np.float64)
    means = losses.mean(axis=1)
    best = int(means.argmin())
    errors = (losses - losses[best]).std(axis=1, ddof=1) / np.sqrt(len(groups))
    chosen = int(np.flatnonzero(means <= means[best] + errors)[0])
    return StrengthChoice(
        float(strengths[chosen]), strengths, means, errors, np.ascontiguousarray(held_out[chosen].T, dtype=np.float32)
    )


def _held_out(
    family: Family,
    groups: Int64[np.ndarray, "n"],
    n_folds: int,
    strengths: Float64[np.ndarray, "s"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "s k n"]:
    """Return the logits of each image at each strength, by the model that was fitted without its fold."""
    folds = assign_folds(groups, n_folds, rng)
    weights = np.repeat((folds != np.arange(n_folds)[:, None]).astype(np.float32), len(strengths), axis=0)
    parameters = family.fit(weights, np.tile(strengths, n_folds), tolerance=1e-3)
    logits = family.logits(parameters)
    by_fold = logits.reshape(n_folds, len(strengths), *logits.shape[1:])
    return np.asarray(by_fold[folds, :, :, np.arange(len(folds))].transpose(1, 2, 0))
