"""Logistic regression on embeddings, as a classifier."""

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

__all__ = ["LinearProbe"]

LARGEST = 1e9  # of a weight: no sum can leave float32


@dataclass(frozen=True, eq=False)
class LinearProbe(Classifier):
    """A softmax over affine maps of the embedding (Radford et al. 2021, arXiv:2103.00020, section 3.2).

    Parameters
    ----------
    weight : float32 array of shape (k, d)
        Finite, within +-1e9.
    bias : float32 array of shape (k,)
        Likewise.
    class_names, unwanted, encoder_name, encoder_weights_sha256, threshold, provenance, calibration, remove_threshold
        See `Classifier`.
    logit_scale : float, default=1.0
        Always 1: the weights hold the scale.

    Raises
    ------
    UsageError
        If the parts do not fit together.
    """

    method: ClassVar[str] = "linear-probe"

    weight: Float32[np.ndarray, "k d"]
    bias: Float32[np.ndarray, "k"]
    class_names: tuple[str, ...]
    unwanted: tuple[bool, ...]
    encoder_name: str
    encoder_weights_sha256: str | None = None
    logit_scale: float = 1.0
    threshold: float = 0.5
    provenance: dict[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    remove_threshold: float | None = None

    def __post_init__(self) -> None:
        self._check_common(len(self.weight))
        finite = (np.abs(self.weight) <= LARGEST).all() and (np.abs(self.bias) <= LARGEST).all()
        if len(self.bias) != len(self.weight) or not finite or self.logit_scale != 1 or not self.embedding_dim:
            raise UsageError("a linear probe needs one finite weight vector and bias for each class, and logit scale 1")

    @property
    def embedding_dim(self) -> int:
        """The width d."""
        return int(self.weight.shape[1])

    def logits(self, embeddings: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n k"]:
        """Return weight x embedding + bias; see `Classifier.logits`."""
        check_unit_norm(embeddings, self.embedding_dim)
        affine: np.ndarray = embeddings @ self.weight.T + self.bias
        return affine

    def arrays(self) -> dict[str, np.ndarray]:
        """Return `weight` and `bias`."""
        return {"weight": self.weight, "bias": self.bias}

    def parameters(self) -> dict[str, Any]:
        """Return nothing: weight and bias are all."""
        return {}

    @classmethod
    def from_parts(
        cls, arrays: Mapping[str, np.ndarray], parameters: Mapping[str, Any], common: Mapping[str, Any]
    ) -> LinearProbe:
        """See `Classifier.from_parts`."""
        if set(arrays) != {"weight", "bias"} or parameters:
            raise UsageError(f"the arrays {sorted(arrays)!r:.60} instead of `weight` and `bias`")
        weight, bias = arrays["weight"], arrays["bias"]
        if not (weight.dtype == bias.dtype == np.float32 and (weight.ndim, bias.ndim) == (2, 1)):
            raise UsageError(f"a weight of {weight.dtype} {weight.shape} with a bias of {bias.dtype} {bias.shape}")
        return cls(weight=weight, bias=bias, **common)
