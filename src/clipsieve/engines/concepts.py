"""What the flagged images of a run show, as far as words can tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from clipsieve.classifiers.taxonomy import Taxonomy, assign, concept_vectors
from clipsieve.engines.classify import open_text_encoder
from clipsieve.engines.private_places import without_folders
from clipsieve.errors import EmbeddingError, EncoderMismatchError, MissingExtraError, ModelError
from clipsieve.store import Run

__all__ = ["ConceptVectors", "build_concepts"]


@dataclass(frozen=True, slots=True)
class ConceptVectors:
    """A taxonomy as vectors of one encoder, or why there are none.

    Attributes
    ----------
    taxonomy : Taxonomy
        With k concepts.
    vectors : float32 array of shape (k, d), or None
        Unit norm; None if the encoder could not read the prompts.
    logit_scale : float
        The encoder's inverse temperature.
    problem : str or None
        Why there are no vectors, in words; a report says it, so no folder of this machine stands in it.
    """

    taxonomy: Taxonomy
    vectors: Float32[np.ndarray, "k d"] | None
    logit_scale: float
    problem: str | None = None

    def assign(
        self, embeddings: Float32[np.ndarray, "n d"]
    ) -> tuple[Int64[np.ndarray, "n"], Float32[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
        """Return concept, margin and nearest concept of each image, as `clipsieve.classifiers.taxonomy.assign` does."""
        assert self.vectors is not None, "nothing can be assigned without vectors"  # noqa: S101
        return assign(
            embeddings,
            self.vectors,
            other=self.taxonomy.other,
            logit_scale=self.logit_scale,
            min_margin=self.taxonomy.min_margin,
        )


def build_concepts(run: Run, taxonomy: Taxonomy, *, model: str | None = None) -> ConceptVectors:
    """Let the encoder of a run read a taxonomy.

    A report can do without: where the encoder cannot be loaded, or is another, that is written down as the problem.

    Parameters
    ----------
    run : Run
        Whose images are to be assigned.
    taxonomy : Taxonomy
        Concepts in words.
    model : str, optional
        Where the run's encoder lies now; by default where it lay when the run was scanned.
    """
    try:
        with open_text_encoder(run, model) as encoder:
            return ConceptVectors(taxonomy, concept_vectors(taxonomy, encoder.encode_texts), encoder.logit_scale)
    except (EmbeddingError, EncoderMismatchError, MissingExtraError, ModelError) as error:
        return ConceptVectors(taxonomy, None, 100.0, without_folders(error.what))
