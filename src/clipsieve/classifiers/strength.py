"""How strongly to hold on to the prior: chosen by cross-validation among a few strengths, all fitted side by side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from clipsieve.classifiers.calibration import fit_platt, margins
from clipsieve.classifiers.folds import assign_folds

__all__ = ["Family", "StrengthChoice", "choose_strength", "has_enough"]

N_FOLDS = 5
FEWEST = 4  # images of each label: with fewer, cross-validation has nothing to say
FEW = 100  # below this many images, folds are drawn anew several times: one draw would be a matter of luck
N_DRAWS = 3
TOLERATED = 0.5  # standard errors


class Family(ABC):
    """Models that differ in weights of images and in strength alone."""

    targets: Bool[np.ndarray, "n k"]

    @abstractmethod
    def fit(
        self, weights: Float[np.ndarray, "b n"], strengths: Float64[np.ndarray, "b"], *, tolerance: float
    ) -> Float[np.ndarray, "b ..."]:
        """Return the parameters of b fitted models."""

    @abstractmethod
    def logits(self, parameters: Float[np.ndarray, "b ..."]) -> Float[np.ndarray, "b k n"]:
        """Return the logits of every image by each of b models."""

    def shifts(self, parameters: Float[np.ndarray, "b ..."]) -> Float[np.ndarray, "b k"]:
        """Return what `logits` adds for each class that the classifier itself will not have; nothing by default."""
        return np.zeros((len(parameters), self.targets.shape[1]), dtype=parameters.dtype)

    def fit_all(self, strength: float) -> Float[np.ndarray, "..."]:
        """Return the parameters of one model of all images, to the last digits that matter."""
        n = len(self.targets)
        return np.asarray(self.fit(np.ones((1, n)), np.array([strength]), tolerance=1e-5)[0])


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
    margins : float64 array of shape (n,)
        Between unwanted and wanted, at the chosen strength, of each image by the model that was fitted without it.
    own_margins : float64 array of shape (n,)
        The same without what was added while fitting: the margins of the classifier itself.
    """

    strength: float
    strengths: Float64[np.ndarray, "s"]
    losses: Float64[np.ndarray, "s"]
    errors: Float64[np.ndarray, "s"]
    margins: Float64[np.ndarray, "n"]
    own_margins: Float64[np.ndarray, "n"]


def has_enough(targets: Bool[np.ndarray, "n k"], unwanted: Bool[np.ndarray, "k"]) -> bool:
    """Return whether there are at least 4 unwanted and 4 wanted images, without which nothing can be held out."""
    n_unwanted = int((targets & unwanted).any(axis=1).sum())
    return min(n_unwanted, len(targets) - n_unwanted) >= FEWEST


def choose_strength(
    family: Family,
    targets: Bool[np.ndarray, "n k"],
    unwanted: Bool[np.ndarray, "k"],
    strengths: Float64[np.ndarray, "s"],
    *,
    seed: int = 0,
) -> StrengthChoice | None:
    """Choose a strength by stratified cross-validation, or return None where a label has fewer than 4 images.

    The strongest one whose held-out loss is within half a standard error of the best one's (after Breiman, Friedman, Olshen and
    Stone 1984, "Classification and Regression Trees", section 3.4.3, who take a whole one; here the error is that of the paired
    difference, and half of it lost less with 200 images and no more with 15): where the labels do not tell, the prior decides.

    The loss is the cross-entropy of unwanted and wanted after Platt's calibration of the held-out margins, two numbers for every
    strength: so a strength wins by how it tells images apart, and not by shifting all of them, which calibration does anyway.

    Parameters
    ----------
    family : Family
        What is fitted.
    targets : bool array of shape (n, k)
        The classes that each image may belong to.
    unwanted : bool array of shape (k,)
        Which classes are unwanted. Each image's allowed classes are all unwanted or all wanted.
    strengths : float64 array of shape (s,)
        The strongest first.
    seed : int, default=0
        Decides the folds.
    """
    if not has_enough(targets, unwanted):
        return None
    labels = (targets & unwanted).any(axis=1).astype(np.int64)
    by_label = np.column_stack([labels == 0, targets])  # a label's images are dealt in one go and reach every fold
    groups = np.unique(by_label, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    n_folds = min(N_FOLDS, int(np.bincount(labels).min()))
    rng, draws = np.random.default_rng(seed), range(N_DRAWS if len(labels) < FEW else 1)
    held_out = [_held_out(family, groups, unwanted, n_folds, strengths, rng) for _ in draws]
    losses = np.mean(
        [[_calibrated_loss(margin, labels) for margin in with_shifts] for with_shifts, _ in held_out], axis=0
    )
    means = losses.mean(axis=1)
    best = int(means.argmin())
    errors = (losses - losses[best]).std(axis=1, ddof=1) / np.sqrt(len(labels))
    chosen = int(np.flatnonzero(means <= means[best] + TOLERATED * errors)[0])
    # Of the first draw: means over several would be steadier than the margins of the one model that is kept.
    first, own = held_out[0]
    return StrengthChoice(float(strengths[chosen]), strengths, means, errors, first[chosen], own[chosen])


def _calibrated_loss(margin: Float64[np.ndarray, "n"], labels: Int64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    probability = fit_platt(margin, labels).probability(margin)
    return np.asarray(-np.log(np.where(labels == 1, probability, 1 - probability).clip(1e-12)))


def _held_out(
    family: Family,
    groups: Int64[np.ndarray, "n"],
    unwanted: Bool[np.ndarray, "k"],
    n_folds: int,
    strengths: Float64[np.ndarray, "s"],
    rng: np.random.Generator,
) -> tuple[Float64[np.ndarray, "s n"], Float64[np.ndarray, "s n"]]:
    """Return the margins of each image at each strength, by the model that was fitted without its fold; with shifts, without."""
    folds = assign_folds(groups, n_folds, rng)
    weights = np.repeat((folds != np.arange(n_folds)[:, None]).astype(np.float32), len(strengths), axis=0)
    parameters = family.fit(weights, np.tile(strengths, n_folds), tolerance=3e-3)
    logits = family.logits(parameters)
    own = logits - family.shifts(parameters)[:, :, None]
    both = []
    for each in (logits, own):
        by_fold = each.reshape(n_folds, len(strengths), *each.shape[1:])[folds, :, :, np.arange(len(folds))]
        both.append(np.stack([margins(by_fold[:, place], unwanted) for place in range(len(strengths))]))
    return both[0], both[1]
