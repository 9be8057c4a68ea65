"""What every classifier promises: from unit-norm embeddings to the probability of the unwanted class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32

from clipsieve.classifiers.calibration import Calibration, margins
from clipsieve.classifiers.similarity import softmax
from clipsieve.errors import UsageError

__all__ = ["Classifier"]

LARGEST_SCALE = 1e6  # CLIP's training stops at 100; beyond this, float32 logits would overflow


class Classifier(ABC):
    """A map from embeddings to classes, of which at least one is unwanted and at least one is not.

    Attributes
    ----------
    method : str
        "zero-shot", "soft-prompts", "linear-probe" or "network".
    class_names : tuple of str
        The k classes, in the order of the logits; k >= 2.
    unwanted : tuple of bool
        For each class, whether an image in it is unwanted.
    encoder_name : str
        The encoder that it was made for.
    encoder_weights_sha256 : str or None
        Of that encoder's weights; None where only the name is known, as for published heads.
    logit_scale : float
        What the cosine similarities are multiplied with; 1 where a method has its scale within.
    threshold : float
        Operating point: an image is flagged when its unwanted probability is >= this. 0-1.
    provenance : dict
        Whatever else is known, as JSON.
    calibration : Calibration or None
        What makes of the margin between unwanted and wanted a probability; None if it is not calibrated.
    remove_threshold : float or None
        Second operating point, >= `threshold`: at and above it an image is to be removed, between the two a person looks.
    """

    method: ClassVar[str]
    class_names: tuple[str, ...]
    unwanted: tuple[bool, ...]
    encoder_name: str
    encoder_weights_sha256: str | None
    logit_scale: float
    threshold: float
    provenance: dict[str, Any]
    calibration: Calibration | None
    remove_threshold: float | None

    @property
    @abstractmethod
    def embedding_dim(self) -> int:
        """The width d that it works on."""

    @abstractmethod
    def logits(self, embeddings: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n k"]:
        """Return one score for each image and class; their softmax is the classifier's own probability of each class.

        Raises
        ------
        EmbeddingError
            If the width is not `embedding_dim`, or a row is not unit norm within 1e-3; names the first such row.
        """

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Return the float32 arrays that it is made of, by name."""

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """Return what else it is made of and other methods have no word for, as JSON."""

    @classmethod
    @abstractmethod
    def from_parts(
        cls, arrays: Mapping[str, np.ndarray], parameters: Mapping[str, Any], common: Mapping[str, Any]
    ) -> Classifier:
        """Return the classifier that `arrays`, `parameters` and the fields of every classifier describe.

        Raises
        ------
        UsageError, ValueError
            If a part is missing, one is there that does not belong, or they do not fit together.
        """

    def predict_proba(self, embeddings: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n 2"]:
        """Return the probabilities of wanted (column 0) and unwanted (column 1); rows sum to 1.

        The probability of the unwanted is the sum over the unwanted classes; or, if there is a calibration, what it makes of
        their margin.
        """
        return self.proba_from_logits(self.logits(embeddings))

    def proba_from_logits(self, logits: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n 2"]:
        """Return what `predict_proba` does, from the logits of the same images."""
        unwanted = np.array(self.unwanted)
        if self.calibration is not None:
            probability = self.calibration.probability(margins(logits, unwanted))
            return np.stack([1 - probability, probability], axis=1).astype(np.float32)
        by_class = softmax(logits)
        sums = [by_class[:, flags].sum(axis=1) for flags in (~unwanted, unwanted)]
        pairs: np.ndarray = np.minimum(np.stack(sums, axis=1), np.float32(1))  # rounding may carry a sum past 1
        return pairs

    def _check_common(self, n_vectors: int) -> None:
        """Refuse fields that no classifier can have; for the `__post_init__` of each kind."""
        k = len(self.class_names)
        if not (k >= 2 and k == len(self.unwanted) == n_vectors == len(set(self.class_names))):
            raise UsageError("a classifier needs two or more distinct classes, each with one vector and one flag")
        if all(self.unwanted) or not any(self.unwanted):
            raise UsageError("a classifier needs a class that is unwanted and one that is not")
        if not 0 <= self.threshold <= 1 or not 0 < self.logit_scale <= LARGEST_SCALE:
            raise UsageError("a threshold lies between 0 and 1, and a logit scale above 0 and up to 1e6")
        if self.remove_threshold is not None and not self.threshold <= self.remove_threshold <= 1:
            raise UsageError("the threshold for removal lies between the other threshold and 1")
