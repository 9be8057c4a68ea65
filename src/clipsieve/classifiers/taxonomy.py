"""Concepts in words, and which of them an image is nearest to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from clipsieve.classifiers.similarity import normalize, zero_shot_probabilities

__all__ = ["DEFAULT_MIN_MARGIN", "Taxonomy", "TaxonomyConcept", "assign", "concept_vectors"]

DEFAULT_MIN_MARGIN = 0.1
"""Where two concepts share all probability, 0.55 against 0.45: a difference of 0.002 in cosine at CLIP's scale of 100.

Another wording of one prompt moves a cosine by more than that, so below it the assignment would be an accident of words.
"""


@dataclass(frozen=True, slots=True)
class TaxonomyConcept:
    """One concept in words.

    Attributes
    ----------
    name, title : str
        For files, and for people.
    prompts : tuple of str
        What is put into the templates; one or more.
    is_other : bool
        Whether it stands for ordinary things: what is nearest to it, or near to nothing, counts as "other".
    """

    name: str
    title: str
    prompts: tuple[str, ...]
    is_other: bool


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """Concepts in words, and the templates around them.

    Attributes
    ----------
    name, source : str
        What it is called, and where its words come from.
    sha256 : str
        Hex digest of its file.
    templates : tuple of str
        Sentences with one `{}` each, where a prompt goes.
    min_margin : float
        See `assign`.
    concepts : tuple of TaxonomyConcept
        Two or more, of which exactly one is "other".
    """

    name: str
    source: str
    sha256: str
    templates: tuple[str, ...]
    min_margin: float
    concepts: tuple[TaxonomyConcept, ...]

    @property
    def other(self) -> int:
        """The place of the concept that is left over."""
        return next(place for place, concept in enumerate(self.concepts) if concept.is_other)

    def texts(self, concept: TaxonomyConcept) -> list[str]:
        """Return every prompt of a concept in every template."""
        return [template.replace("{}", prompt) for prompt in concept.prompts for template in self.templates]


def concept_vectors(
    taxonomy: Taxonomy, encode_texts: Callable[[Sequence[str]], Float32[np.ndarray, "n d"]]
) -> Float32[np.ndarray, "k d"]:
    """Return a unit-norm vector for each concept: the mean over its prompts in all templates, as `build_zero_shot` does.

    Parameters
    ----------
    taxonomy : Taxonomy
        With k concepts.
    encode_texts : callable
        The encoder's: a sequence of n texts to a float32 array of shape (n, d), unit-norm rows.
    """
    means = [normalize(encode_texts(taxonomy.texts(concept))).mean(axis=0) for concept in taxonomy.concepts]
    return normalize(np.stack(means))


def assign(
    embeddings: Float32[np.ndarray, "n d"],
    concepts: Float32[np.ndarray, "k d"],
    *,
    other: int,
    logit_scale: float = 100.0,
    min_margin: float = DEFAULT_MIN_MARGIN,
) -> tuple[Int64[np.ndarray, "n"], Float32[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
    """Return the concept of each image, or "other" where none stands out.

    Softmax over the concepts of the scaled cosine similarity, as `zero_shot_probabilities`; the margin is the highest
    probability less the second. An image whose margin is below `min_margin` is "other".

    Parameters
    ----------
    embeddings : float32 array of shape (n, d)
        One unit-norm row per image. n may be 0.
    concepts : float32 array of shape (k, d)
        One unit-norm row per concept, k >= 2.
    other : int
        The row of the concept for what is left over.
    logit_scale : float, default=100.0
        The encoder's inverse temperature.
    min_margin : float, default=0.1
        0-1. At 0, every image gets the concept that is nearest.

    Returns
    -------
    index : int64 array of shape (n,)
        The row of the concept that each image is assigned to.
    margin : float32 array of shape (n,)
        0-1, also of those that are "other".
    nearest : int64 array of shape (n,)
        The row of the most probable concept; of equal ones the first.

    Raises
    ------
    EmbeddingError
        If widths differ, k < 2, or a row is not unit norm within 1e-3.

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [0.71, 0.704]], dtype=np.float32)
    >>> index, margin, nearest = assign(x, np.eye(2, dtype=np.float32), other=1, logit_scale=10.0)
    >>> index, margin.round(2), nearest
    (array([0, 1]), array([1.  , 0.03], dtype=float32), array([0, 0]))
    """
    probability = zero_shot_probabilities(embeddings, concepts, logit_scale=logit_scale)
    nearest = probability.argmax(axis=1).astype(np.int64)
    two_best = np.partition(probability, -2, axis=1)[:, -2:]
    margin: np.ndarray = two_best[:, 1] - two_best[:, 0]
    # The margin is compared as it is stored and shown, in float32.
    index = np.where(margin >= np.float32(min_margin), nearest, other)
    return index, margin, nearest
