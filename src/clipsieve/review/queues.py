"""The orders in which images can be reviewed: pure, and not filtered by what anybody has decided.

An image without a score, or on the block list, is in none of them. What is equal stands in the order of the run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer

from clipsieve.engines.verdicts import SampledImage
from clipsieve.review.catalog import Catalog

__all__ = ["audit", "highest", "of_class", "of_concept", "uncertain"]

_MAX_LOGIT = 110.0  # beyond what any float32 but 0 and 1 gives, so that only these two are cut


def uncertain(catalog: Catalog) -> Int64[np.ndarray, "m"]:
    """Return all images, the nearest to the threshold first.

    Near is measured between log-odds, |log(p / (1 - p)) - log(t / (1 - t))|: a classifier adds up evidence there. Between
    probabilities, with a threshold of 0.9, an image at 0.81 would count as near as one at 0.99, though it takes twice the odds
    to move the one to the threshold, and eleven times the odds to move the other.
    """
    rows = np.flatnonzero(catalog.is_seen)
    limit = float(_logits(np.array([np.float32(catalog.threshold)], dtype=np.float64))[0])
    distance = np.abs(_logits(catalog.probability[rows].astype(np.float64)) - limit)
    return np.asarray(rows[np.argsort(distance, kind="stable")], dtype=np.int64)


def highest(catalog: Catalog) -> Int64[np.ndarray, "m"]:
    """Return all images, the highest score first."""
    return _by_score(catalog, catalog.is_seen)


def of_class(catalog: Catalog, code: int) -> Int64[np.ndarray, "m"]:
    """Return the images of one class, the highest score first; none for a code that is no place in `catalog.labels`."""
    return _by_score(catalog, catalog.is_seen & _has_code(catalog.label_codes, code))


def of_concept(catalog: Catalog, concept_codes: Integer[np.ndarray, "n"], code: int) -> Int64[np.ndarray, "m"]:
    """Return the images of one concept, the highest score and so the flagged first.

    Parameters
    ----------
    catalog : Catalog
        With n rows.
    concept_codes : integer array of shape (n,)
        As in `VectorIndex`; -1 for none.
    code : int
        Of the concept.
    """
    return _by_score(catalog, catalog.is_seen & _has_code(concept_codes, code))


def audit(catalog: Catalog, sample: Sequence[SampledImage]) -> Int64[np.ndarray, "m"]:
    """Return the images of a sample in its own order; those that the run no longer holds or has not scored are left out."""
    rows = catalog.rows_of([image.image_id for image in sample])
    rows = rows[rows >= 0]
    return np.asarray(rows[catalog.is_seen[rows]])


def _has_code(codes: Integer[np.ndarray, "n"], code: int) -> Bool[np.ndarray, "n"]:
    return np.asarray((codes == code) & (codes >= 0))


def _by_score(catalog: Catalog, chosen: Bool[np.ndarray, "n"]) -> Int64[np.ndarray, "m"]:
    rows = np.flatnonzero(chosen)
    return np.asarray(rows[np.argsort(-catalog.probability[rows], kind="stable")], dtype=np.int64)


def _logits(probability: Float64[np.ndarray, "m"]) -> Float64[np.ndarray, "m"]:
    with np.errstate(divide="ignore"):
        found = np.log(probability) - np.log1p(-probability)
    return np.asarray(np.clip(found, -_MAX_LOGIT, _MAX_LOGIT))
