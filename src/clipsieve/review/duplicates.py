"""Near-duplicates: groups of images that look alike, so that one decision can hold for many."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float32, Int64

from clipsieve.errors import UsageError
from clipsieve.review.vectors import VectorIndex

__all__ = ["find_groups"]

_LEADERS = 512  # candidates that are made leaders, or not, at once
_OTHERS = 8192  # candidates that these are compared with at once: 16 MiB of cosines


def find_groups(
    vectors: VectorIndex | Float32[np.ndarray, "m d"],
    rows: Int64[np.ndarray, "m"],
    *,
    min_similarity: float = 0.95,
    contents: Int64[np.ndarray, "m"] | None = None,
    on_progress: Callable[[int, int], object] = lambda _n_done, _n_total: None,
) -> list[Int64[np.ndarray, "_"]]:
    """Return groups of near-duplicates, each around the image of the highest priority in it.

    In order of priority, an image joins the first leader that it is similar enough to, and is a leader itself if there is none.
    So members are similar to their leader, though not always to each other, and no chain of likenesses joins what differs.

    Parameters
    ----------
    vectors : VectorIndex, or float32 array of shape (m, d)
        The embeddings, or those of these rows; an image whose numbers are all 0 is in no group, unless by its content.
        Memory: m x d float32, and 32 MiB beside it.
    rows : int64 array of shape (m,)
        Candidates in order of priority, each once.
    min_similarity : float, default=0.95
        The least cosine of a member with its leader, above 0 and at most 1, compared in float32.
    contents : int64 array of shape (m,), optional
        The same number for the same file, -1 if not known, as `Catalog.contents` gives: the same files are always together.
    on_progress : callable, optional
        Called with the candidates that are settled and all of them; what it raises ends the work.

    Returns
    -------
    list of int64 arrays
        Groups of two and more, by the priority of their leaders; the leader first, the others by priority.

    Raises
    ------
    UsageError
        If `min_similarity` is out of range.
    """
    if not 0 < min_similarity <= 1:
        raise UsageError(
            "no images are that similar", expected="a cosine above 0, at most 1", found=f"{min_similarity}"
        )
    first_of = _first_copies(rows, contents)
    chosen = np.flatnonzero(first_of == np.arange(len(rows)))
    exact = vectors.embeddings(rows[chosen]) if isinstance(vectors, VectorIndex) else vectors[chosen]
    leaders = chosen[_lead(_unit(exact), min_similarity, on_progress)]
    leader_of = np.empty(len(rows), dtype=np.int64)
    leader_of[chosen] = leaders
    leader_of = leader_of[first_of]
    order = np.argsort(leader_of, kind="stable")
    found = np.split(order, np.flatnonzero(np.diff(leader_of[order])) + 1)
    return [rows[group] for group in found if len(group) > 1]


def _first_copies(rows: Int64[np.ndarray, "m"], contents: Int64[np.ndarray, "m"] | None) -> Int64[np.ndarray, "m"]:
    """Return for each candidate the place of the first one with the same content."""
    own = np.arange(len(rows), dtype=np.int64)
    if contents is None or not len(rows):
        return own
    _, first, group = np.unique(contents, return_index=True, return_inverse=True)
    return np.where(contents < 0, own, first[group.reshape(-1)]).astype(np.int64)


def _unit(rows: Float32[np.ndarray, "m d"]) -> Float32[np.ndarray, "m d"]:
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return np.asarray(rows / np.where(norms > 0, norms, np.float32(1))[:, None])


def _lead(
    unit: Float32[np.ndarray, "m d"], min_similarity: float, on_progress: Callable[[int, int], object]
) -> Int64[np.ndarray, "m"]:
    """Return the place of each candidate's leader; its own if it leads, or is alone."""
    leader_of = np.arange(len(unit), dtype=np.int64)
    left = leader_of.copy()
    while len(left):
        block, left = left[:_LEADERS], left[_LEADERS:]
        leaders = _settle(unit, block, leader_of, min_similarity)
        for start in range(0, len(left), _OTHERS):
            others = left[start : start + _OTHERS]
            near = _is_near(unit, others, leaders, min_similarity)
            joins = near.any(axis=1)
            leader_of[others[joins]] = leaders[near[joins].argmax(axis=1)]
        left = left[leader_of[left] == left]
        on_progress(len(unit) - len(left), len(unit))
    return leader_of


def _settle(
    unit: Float32[np.ndarray, "m d"],
    block: Int64[np.ndarray, "b"],
    leader_of: Int64[np.ndarray, "m"],
    min_similarity: float,
) -> Int64[np.ndarray, "l"]:
    """Let the candidates of a block lead or follow one another; return those that lead."""
    near = _is_near(unit, block, block, min_similarity)
    is_free = np.ones(len(block), dtype=bool)
    leaders = []
    for place, candidate in enumerate(block.tolist()):
        if is_free[place]:
            leaders.append(candidate)
            joining = near[place] & is_free
            joining[: place + 1] = False
            leader_of[block[joining]] = candidate
            is_free[joining] = False
    return np.array(leaders, dtype=np.int64)


def _is_near(
    unit: Float32[np.ndarray, "m d"],
    some: Int64[np.ndarray, "a"],
    others: Int64[np.ndarray, "b"],
    min_similarity: float,
) -> Bool[np.ndarray, "a b"]:
    """Return who is similar to whom; what float32 cannot tell, float64 does, whatever the order and number of threads."""
    cosines = unit[some] @ unit[others].T
    limit = np.float32(min_similarity)
    found: np.ndarray = cosines >= limit
    slack = np.float32(4 * (unit.shape[1] + 32) * 2.0**-24)
    one, other = np.nonzero(np.abs(cosines - limit) <= slack)
    for start in range(0, len(one), _OTHERS):
        pair = slice(start, start + _OTHERS)
        x, y = unit[some[one[pair]]].astype(np.float64), unit[others[other[pair]]].astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", x, x) * np.einsum("ij,ij->i", y, y))
        exact = np.einsum("ij,ij->i", x, y) / np.where(norms > 0, norms, 1)
        found[one[pair], other[pair]] = exact.astype(np.float32) >= limit
    return found
