"""What every classifier promises: from unit-norm embeddings to the probability of the unwanted class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32

from clipsieve.classifiers.similarity import softmax

__all__ = ["Classifier"]


class Classifier(ABC):
    """A map from embeddings to classes, of which at least one is unwanted and at least one is not.

    Attributes
    ----------
    method : str
        "zero-shot" or "soft-prompts".
    class_names : tuple of str
        The k classes, in the order of the logits; k >= 2.
    unwanted : tuple of bool
        For each class, whether an image in it is unwanted.
    encoder_name : str
        The encoder that it was made for.
    encoder_weights_sha256 : str or None
        Of that encoder's weights; None where only the name is known, as for published heads.
    logit_scale : float
        What the cosine similarities are multiplied with.
    threshold : float
        Operating point: an image is flagged when its unwanted probability is >= this. 0-1.
    provenance : dict
        Whatever else is known, as JSON.
    """

    method: ClassVar[str]
    class_names: tuple[str, ...]
    unwanted: tuple[bool, ...]
    encoder_name: str
    encoder_weights_sha256: str | None
    logit_scale: float
    threshold: float
    provenance: dict[str, Any]

    @property
    @abstractmethod
    def embedding_dim(self) -> int:
        """The width d that it works on."""

    @abstractmethod
    def logits(self, embeddings: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n k"]:
        """Return one score for each image and class; their softmax is the probability of each class.

        Raises
        ------
        EmbeddingError
            If the width is not `embedding_dim`, or a row is not unit norm within 1e-3; names the first such row.
        """

    def predict_proba(self, embeddings: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n 2"]:
        """Return the probabilities of wanted (column 0) and unwanted (column 1); rows sum to 1.

        The probability of the unwanted is the sum over the unwanted classes.
        """
        return self.proba_from_logits(self.logits(embeddings))

    def proba_from_logits(self, logits: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n 2"]:
        """Return what `predict_proba` does, from the logits of the same images."""
        by_class = softmax(logits)
        unwanted = np.array(self.unwanted)
        sums = [by_class[:, flags].sum(axis=1) for flags in (~unwanted, unwanted)]
        pairs: np.ndarray = np.minimum(np.stack(sums, axis=1), np.float32(1))  # rounding may carry a sum past 1
        return pairs
