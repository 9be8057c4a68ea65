"""Classifiers that are one vector for each class in the joint space: prompts in words, and prompts tuned beyond words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32

from clipsieve.classifiers.base import Classifier
from clipsieve.classifiers.similarity import check_unit_norm
from clipsieve.errors import UsageError

__all__ = ["SoftPrompts", "ZeroShot"]


@dataclass(frozen=True, eq=False)
class _ClassVectors(Classifier):
    """A softmax over scaled cosine similarities to one vector for each class.

    Parameters
    ----------
    class_embeddings : float32 array of shape (k, d)
        Unit-norm rows.
    class_names : tuple of str
        k distinct names.
    unwanted : tuple of bool
        k flags, neither all nor none set.
    encoder_name, encoder_weights_sha256 : str, str or None
        What the vectors were made for.
    logit_scale : float, default=100.0
        Inverse temperature, > 0.
    threshold : float, default=0.5
        Operating point on the unwanted probability, 0-1.
    provenance : dict, optional
        Whatever else is known, as JSON: prompts, training data's hash, metrics.
    """

    class_embeddings: Float32[np.ndarray, "k d"]
    class_names: tuple[str, ...]
    unwanted: tuple[bool, ...]
    encoder_name: str
    encoder_weights_sha256: str | None = None
    logit_scale: float = 100.0
    threshold: float = 0.5
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        k = len(self.class_names)
        if not (k >= 2 and k == len(self.unwanted) == len(self.class_embeddings) == len(set(self.class_names))):
            raise UsageError("a classifier needs two or more distinct classes, each with one vector and one flag")
        if all(self.unwanted) or not any(self.unwanted):
            raise UsageError("a classifier needs a class that is unwanted and one that is not")
        if not 0 <= self.threshold <= 1 or not 0 < self.logit_scale < np.inf:
            raise UsageError("a threshold lies between 0 and 1, and a logit scale above 0")
        check_unit_norm(self.class_embeddings, self.embedding_dim, what="class embeddings")

    @property
    def embedding_dim(self) -> int:
        """The width d."""
        return int(self.class_embeddings.shape[1])

    def logits(self, embeddings: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n k"]:
        """Return logit scale times cosine; see `Classifier.logits`."""
        check_unit_norm(embeddings, self.embedding_dim)
        scaled: np.ndarray = np.float32(self.logit_scale) * (embeddings @ self.class_embeddings.T)
        return scaled


@dataclass(frozen=True, eq=False)
class ZeroShot(_ClassVectors):
    """Prompts in words, through the text tower (Radford et al. 2021, arXiv:2103.00020, section 3.1.4)."""

    method: ClassVar[str] = "zero-shot"


@dataclass(frozen=True, eq=False)
class SoftPrompts(_ClassVectors):
    """Class vectors that were themselves trained (Schramowski and Kersting 2021, arXiv:2110.04222, section 3)."""

    method: ClassVar[str] = "soft-prompts"
