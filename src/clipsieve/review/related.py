"""Which decided images stand or fall together: copies, near-duplicates, and images that one decision was about."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, Int64

from clipsieve.engines.rated_images import RatedImages

__all__ = ["Related", "relate"]

BLOCK = 256  # images that are compared with all before them at a time
MANY = 2000  # from so many images on, a bound of their cosines spares most of the products
RANK = 64  # directions that the bound looks at
ROUNDING = 1e-5  # of cosines in float32
MOST_PAIRS = 0.04  # of a block's pairs: to look at more of them one by one takes longer than all at once

Pairs: TypeAlias = tuple[Int64[np.ndarray, "p"], Int64[np.ndarray, "p"]]


@dataclass(frozen=True, slots=True, eq=False)
class Related:
    """What images have to do with one another.

    Attributes
    ----------
    group : int64 array of shape (n,)
        A number for each image, the same for those that are linked, be it through others.
    teaches : bool array of shape (n,)
        False for near-duplicates of an image before them with the same label that teaches: to learn from both would count
        one image twice, and let a choice by cross-validation see what it is tested on.
    """

    group: Int64[np.ndarray, "n"]
    teaches: Bool[np.ndarray, "n"]


def relate(rated: RatedImages, decisions: Sequence[Collection[str]], *, min_similarity: float = 0.95) -> Related:
    """Return which images are linked: by equal content, by a decision about a group, or by a cosine of `min_similarity`.

    Exact. All pairs are looked at, most of them through a bound of few dimensions.

    Parameters
    ----------
    rated : RatedImages
        With labels 0 and 1.
    decisions : sequence of collections of str
        For each image, the decisions about groups that it was part of.
    min_similarity : float, default=0.95
        The least cosine of near-duplicates. Above 1, no image is one.
    """
    group = _by_names(rated, decisions)
    teaches = np.ones(len(group), dtype=bool)
    bounds = _bounds(rated.embeddings)
    for start in range(0, len(group), BLOCK):
        rows, columns = _near(rated.embeddings, bounds, slice(start, min(start + BLOCK, len(group))), min_similarity)
        group = _merged(group, (group[rows], group[columns]))
        is_alike = rated.labels[rows] == rated.labels[columns]
        _thin(teaches, rows[is_alike], columns[is_alike])
    return Related(group, teaches)


def _by_names(rated: RatedImages, decisions: Sequence[Collection[str]]) -> Int64[np.ndarray, "n"]:
    first: dict[tuple[str, str], int] = {}
    pairs = [(i, first.setdefault(("content", digest), i)) for i, digest in enumerate(rated.digests)]
    pairs += [(i, first.setdefault(("decision", name), i)) for i, names in enumerate(decisions) for name in names]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return _merged(np.arange(len(rated.digests)), (rows, columns))


def _merged(group: Int64[np.ndarray, "n"], pairs: Pairs) -> Int64[np.ndarray, "n"]:
    """Return the groups after those of each pair have become one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(pairs[0]):
        return group
    n = int(group.max()) + 1
    links = coo_array((np.ones(len(pairs[0]), dtype=np.int8), pairs), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1][group], dtype=np.int64)


def _bounds(embeddings: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n r"] | None:
    """Return vectors whose products are nowhere below those of the embeddings; None for few images, or few dimensions.

    Their coordinates in the directions that hold most of them, and behind these the length of what is left: by the
    inequality of Cauchy and Schwarz, what is left of two images adds at most the product of these lengths.
    """
    n, d = embeddings.shape
    if n < MANY or d < 4 * RANK:
        return None
    directions = np.linalg.eigh(embeddings.T @ embeddings)[1][:, -RANK:]
    inside = embeddings @ directions
    left = np.sqrt(np.maximum(1 - np.einsum("ij,ij->i", inside, inside), 0))
    return np.concatenate([inside, left[:, None]], axis=1)


def _near(
    embeddings: Float32[np.ndarray, "n d"], bounds: Float32[np.ndarray, "n r"] | None, block: slice, least: float
) -> Pairs:
    """Return the pairs of an image of the block and one before it whose cosine is high enough, by the place of the first."""
    least = least - ROUNDING
    if bounds is not None:
        rows, columns = _above(bounds, block, least)
        if len(rows) <= MOST_PAIRS * (block.stop - block.start) * block.stop:
            is_near = np.einsum("ij,ij->i", embeddings[rows], embeddings[columns]) >= least
            return rows[is_near], columns[is_near]
    return _above(embeddings, block, least)


def _above(vectors: Float32[np.ndarray, "n d"], block: slice, least: float) -> Pairs:
    products = vectors[block] @ vectors[: block.stop].T
    rows, columns = np.nonzero(np.tril(products >= least, block.start - 1))
    return rows + block.start, columns


def _thin(teaches: Bool[np.ndarray, "n"], rows: Int64[np.ndarray, "p"], columns: Int64[np.ndarray, "p"]) -> None:
    """Let no image teach that is like one before it that does; in order, since each answer rests on those before it."""
    images, first = np.unique(rows, return_index=True)
    for image, like_it in zip(images, np.split(columns, first)[1:], strict=True):
        teaches[image] = not teaches[like_it].any()
