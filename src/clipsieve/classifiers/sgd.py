"""The published recipe for soft prompts: stochastic gradient descent, without a prior."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64

from clipsieve.classifiers.losses import cross_entropy

__all__ = ["train_soft_prompts"]

TEXT_FEATURE_NORM = 10.0


def train_soft_prompts(
    prompts: Float64[np.ndarray, "k d"],
    embeddings: Float64[np.ndarray, "n d"],
    targets: Bool[np.ndarray, "n k"],
    *,
    logit_scale: float,
    start_norm: float = TEXT_FEATURE_NORM,
    learning_rate: float = 0.01,
    momentum: float = 0.9,
    batch_size: int = 64,
    n_epochs: int = 500,
    seed: int = 0,
) -> Float64[np.ndarray, "k d"]:
    """Return class vectors trained as Schramowski and Kersting (2021, arXiv:2110.04222, section 3) train theirs.

    Mini-batches in random order, the cross-entropy weighted so that each class counts the same, class vectors normalized in the
    forward pass alone; momentum as Sutskever, Martens, Dahl and Hinton 2013, "On the importance of initialization and momentum
    in deep learning", in torch's form: v = momentum x v + gradient, w = w - rate x v.

    Parameters
    ----------
    prompts : float64 array of shape (k, d)
        Unit norm, where training starts.
    embeddings : float64 array of shape (n, d)
        Unit norm, n >= 1.
    targets : bool array of shape (n, k)
        The classes that an image may belong to.
    logit_scale : float
        > 0.
    start_norm : float, default=10.0
        Length of the class vectors where training starts, > 0: the authors train text features as the tower gives them, before
        normalization, and the longer a vector is, the less a step turns it. Stored embeddings are unit norm, so the length is
        taken to be the usual one of OpenAI's models; the published vectors for ViT-B/32 end with 13.2 and 13.1.
    learning_rate, momentum, batch_size, n_epochs
        The published values by default.
    seed : int, default=0
        Decides the order of the images.

    Returns
    -------
    float64 array of shape (k, d)
        Unit-norm rows.
    """
    rng, n = np.random.default_rng(seed), len(embeddings)
    weights = _balanced(targets)
    at, velocity = start_norm * prompts, np.zeros_like(prompts)
    for _ in range(n_epochs):
        order = rng.permutation(n)
        for begin in range(0, n, batch_size):
            rows = order[begin : begin + batch_size]
            gradient = _gradient(at, embeddings[rows], targets[rows], weights[rows], logit_scale)
            velocity = momentum * velocity + gradient
            at = at - learning_rate * velocity
    return np.asarray(at / np.linalg.norm(at, axis=1, keepdims=True))


def _balanced(targets: Bool[np.ndarray, "n k"]) -> Float64[np.ndarray, "n"]:
    """Return a weight for each image, the same in sum for each kind of target, and 1 on average."""
    _, group, size = np.unique(targets, axis=0, return_inverse=True, return_counts=True)
    return np.asarray(len(targets) / (len(size) * size[group.reshape(-1)]))


def _gradient(
    at: Float64[np.ndarray, "k d"],
    embeddings: Float64[np.ndarray, "m d"],
    targets: Bool[np.ndarray, "m k"],
    weights: Float64[np.ndarray, "m"],
    logit_scale: float,
) -> Float64[np.ndarray, "k d"]:
    norms = np.linalg.norm(at, axis=1, keepdims=True)
    unit = at / norms
    logits = logit_scale * (unit @ embeddings.T)
    _, slope = cross_entropy(logits[None], np.ascontiguousarray(targets.T))
    gradient = logit_scale * ((slope[0] * (weights / weights.sum())) @ embeddings)
    return np.asarray((gradient - (gradient * unit).sum(axis=1, keepdims=True) * unit) / norms)
