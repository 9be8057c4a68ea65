"""Classifiers that are one vector for each class in the joint space: prompts in words, and prompts tuned beyond words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32

from clipsieve.classifiers.base import Classifier
from clipsieve.classifiers.calibration import Calibration
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
    calibration : Calibration, optional
        See `Classifier`.
    remove_threshold : float, optional
        See `Classifier`.
    """

    class_embeddings: Float32[np.ndarray, "k d"]
    class_names: tuple[str, ...]
    unwanted: tuple[bool, ...]
    encoder_name: str
    encoder_weights_sha256: str | None = None
    logit_scale: float = 100.0
    threshold: float = 0.5
    provenance: dict[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    remove_threshold: float | None = None

    def __post_init__(self) -> None:
        self._check_common(len(self.class_embeddings))
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

    def arrays(self) -> dict[str, np.ndarray]:
        """Return `class_embeddings`."""
        return {"class_embeddings": self.class_embeddings}

    def parameters(self) -> dict[str, Any]:
        """Return nothing: the vectors are all."""
        return {}

    @classmethod
    def from_parts(
        cls, arrays: Mapping[str, np.ndarray], parameters: Mapping[str, Any], common: Mapping[str, Any]
    ) -> _ClassVectors:
        """See `Classifier.from_parts`."""
        if list(arrays) != ["class_embeddings"] or parameters:
            raise UsageError(f"the arrays {sorted(arrays)!r:.60} instead of `class_embeddings` alone")
        rows = arrays["class_embeddings"]
        if rows.dtype != np.float32 or rows.ndim != 2:
            raise UsageError(f"class_embeddings of dtype {rows.dtype} and shape {rows.shape}, not float32 (k, d)")
        return cls(class_embeddings=rows, **common)


@dataclass(frozen=True, eq=False)
class ZeroShot(_ClassVectors):
    """Prompts in words, through the text tower (Radford et al. 2021, arXiv:2103.00020, section 3.1.4)."""

    method: ClassVar[str] = "zero-shot"


@dataclass(frozen=True, eq=False)
class SoftPrompts(_ClassVectors):
    """Class vectors that were themselves trained (Schramowski and Kersting 2021, arXiv:2110.04222, section 3)."""

    method: ClassVar[str] = "soft-prompts"
