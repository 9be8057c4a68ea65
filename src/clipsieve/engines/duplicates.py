"""Near-duplicates in a whole run: groups of images that look alike, found through an index of vectors.

The only module that imports faiss; it needs the index extra.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64

from clipsieve.errors import MissingExtraError, UsageError
from clipsieve.store import Run, read_embedded_part, unit_blocks

__all__ = ["Duplicates", "find_duplicates"]

FLAT_UP_TO = 20_000  # rows; so few are compared with every leader
ROWS_PER_CELL, TRAIN_PER_CELL = 640, 40
N_PROBES = 16  # cells that are looked into for each image
N_REFINED = 16  # of the nearest by their short codes, so many are compared by their embeddings
N_CHECKED = 2048  # images that are compared with every leader, to see what the index overlooks
ROUNDING = 1e-4  # how far the cosine of an image with itself may be from 1
SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class Duplicates:
    """Which image of a run is a near-duplicate of which.

    Attributes
    ----------
    leader : int64 array of shape (n,)
        For each row of the run the row of its group's leader; its own if it leads a group or is in none, -1 if it has no
        embedding.
    similarity : float32 array of shape (n,)
        The cosine with the leader; 1 for a leader, NaN without an embedding.
    min_similarity : float
        What was asked for.
    n_checked, n_found : int
        Some images were compared with every leader: how many of them have a similar one, and for how many of these the index
        found one. Both are 0 where every image was compared so.
    """

    leader: Int64[np.ndarray, "n"]
    similarity: Float32[np.ndarray, "n"]
    min_similarity: float
    n_checked: int
    n_found: int

    def groups(self) -> list[Int64[np.ndarray, "_"]]:
        """Return the rows of each group of two and more, the largest group first; in each, the leader first."""
        rows = np.flatnonzero(self.leader >= 0)
        order = rows[np.argsort(self.leader[rows], kind="stable")]
        groups = np.split(order, np.flatnonzero(np.diff(self.leader[order])) + 1)
        return sorted((group for group in groups if len(group) > 1), key=lambda group: (-len(group), int(group[0])))


def find_duplicates(
    run: Run,
    *,
    min_similarity: float = 0.95,
    on_progress: Callable[[int, int], object] = lambda _n_done, _n_total: None,
) -> Duplicates:
    """Return the near-duplicates of a run.

    In the order of rows, an image joins the most similar leader if that is similar enough, and is a leader itself if none is. So
    members are similar to their leader, though not always to each other, and no chain of likenesses joins what differs.
    Only leaders are in the index: a picture that a data set holds a hundred thousand times costs no more than another one.

    Up to 20,000 images, all leaders are compared. Beyond, the index looks into the 16 nearest of one cell for 640 images,
    compares codes of half a byte for eight numbers there, and then the embeddings of the 16 nearest (inverted lists over
    k-means cells: Johnson et al. 2017, arXiv:1702.08734; codes: André et al. 2017, arXiv:1704.07355). It may overlook some:
    `n_checked` and `n_found` say how many.

    Parameters
    ----------
    run : Run
        A finished scan.
    min_similarity : float, default=0.95
        The least cosine of a member with its leader, above 0 and at most 1. Embeddings are stored as half floats, so above 0.9999
        no two images are told apart: 1 means 0.9999.
    on_progress : callable
        Called with the number of rows settled and listed.

    Raises
    ------
    UsageError
        If `min_similarity` is out of range.
    MissingExtraError
        If faiss is not installed.
    RunCorruptError
        If a part of the images is missing or damaged.
    """
    if not 0 < min_similarity <= 1:
        raise UsageError(
            "no images are that similar", expected="a cosine above 0, at most 1", found=f"{min_similarity}"
        )
    min_similarity = min(min_similarity, 1 - ROUNDING)
    n_rows = run.manifest.n_images
    index, leaders, n_leaders = _build_index(run), np.full(n_rows, -1, np.int64), 0
    leader, similarity = np.full(n_rows, -1, np.int64), np.full(n_rows, np.nan, np.float32)
    for rows, unit in _blocks(run):
        found, near = _nearest(index, unit)
        leads, leader[rows], similarity[rows] = _settle(rows, unit, leaders[found], near, min_similarity)
        index.add(unit[leads])  # the index numbers them one after the other, as `leaders` does
        leaders[n_leaders : index.ntotal], n_leaders = rows[leads], index.ntotal
        on_progress(int(rows[-1]) + 1, n_rows)
    on_progress(n_rows, n_rows)
    return Duplicates(leader, similarity, min_similarity, *_overlooked(index, run, leader, min_similarity))


def _blocks(run: Run) -> Iterator[tuple[Int64[np.ndarray, "b"], Float32[np.ndarray, "b d"]]]:
    """Yield rows that have an embedding, and their embeddings at unit norm."""
    first = 0
    for index in range(run.manifest.n_parts):
        part = read_embedded_part(run, index, [])
        rows = first + np.flatnonzero(part.present)
        for start, block in unit_blocks(part.values):
            if len(block):
                yield rows[start : start + len(block)], block
        first += len(part.present)


def _count_embeddings(run: Run) -> int:
    codes = [table.column("failure_code") for table in run.iter_images(["failure_code"])]
    return sum(column.null_count for column in codes)


def _settle(
    rows: Int64[np.ndarray, "b"],
    unit: Float32[np.ndarray, "b d"],
    leader: Int64[np.ndarray, "b"],
    similarity: Float32[np.ndarray, "b"],
    min_similarity: float,
) -> tuple[Bool[np.ndarray, "b"], Int64[np.ndarray, "b"], Float32[np.ndarray, "b"]]:
    """Return which rows of a block lead, and each one's leader and similarity, given the nearest leader before the block."""
    cosines = np.tril(unit @ unit.T, -1)  # with the rows before it
    leads = similarity < min_similarity
    for place in np.flatnonzero(leads).tolist():
        leads[place] = not (cosines[place, :place][leads[:place]] >= min_similarity).any()
    if leads.any():
        here = cosines[:, leads]
        best = here.argmax(axis=1)
        nearest = np.minimum(here[np.arange(len(rows)), best], np.float32(1))
        is_nearer = nearest > similarity
        leader = np.where(is_nearer, rows[leads][best], leader)
        similarity = np.where(is_nearer, nearest, similarity)
    return leads, np.where(leads, rows, leader), np.where(leads, np.float32(1), similarity)


def _build_index(run: Run) -> Any:  # noqa: ANN401
    faiss = _faiss()
    dim = run.manifest.encoder.embedding_dim
    flat = faiss.IndexFlatIP(dim)
    if run.manifest.n_images <= FLAT_UP_TO:
        return flat
    n_embeddings = _count_embeddings(run)  # of a list of dead links, few have one
    if n_embeddings <= FLAT_UP_TO:
        return flat
    n_cells = n_embeddings // ROWS_PER_CELL
    n_codes = dim // next(size for size in (8, 4, 2, 1) if dim % size == 0)
    index = faiss.index_factory(dim, f"IVF{n_cells},PQ{n_codes}x4fs,Refine(SQfp16)", faiss.METRIC_INNER_PRODUCT)
    cells = faiss.extract_index_ivf(index)
    cells.cp.seed, cells.cp.spherical = SEED, True
    cells.nprobe, index.k_factor = min(N_PROBES, n_cells), N_REFINED
    index.train(_sample(run, n_embeddings, n_cells * TRAIN_PER_CELL))
    return index


def _sample(run: Run, n_embeddings: int, n: int) -> Float32[np.ndarray, "m d"]:
    """Return n embeddings, drawn from all parts."""
    chosen = np.zeros(n_embeddings, dtype=bool)
    chosen[np.random.default_rng(SEED).permutation(n_embeddings)[:n]] = True
    found, start = [], 0
    for rows, unit in _blocks(run):
        found.append(unit[chosen[start : start + len(rows)]])
        start += len(rows)
    return np.concatenate(found)


def _nearest(index: Any, unit: Float32[np.ndarray, "b d"]) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN401
    """Return the number of the nearest leader of each row and its cosine; -1 where there is none yet."""
    if index.ntotal == 0:
        return np.full(len(unit), -1, np.int64), np.full(len(unit), -1, np.float32)
    near, found = index.search(unit, 1)
    return found[:, 0], np.where(found[:, 0] < 0, np.float32(-1), np.minimum(near[:, 0], np.float32(1)))


def _overlooked(index: Any, run: Run, leader: Int64[np.ndarray, "n"], min_similarity: float) -> tuple[int, int]:  # noqa: ANN401
    """Compare some images with every leader before them; return how many have a similar one, and for how many it was found."""
    if not hasattr(index, "k_factor"):
        return 0, 0
    has_embedding = np.flatnonzero(leader >= 0)
    chosen = np.sort(np.random.default_rng(SEED).permutation(has_embedding)[:N_CHECKED])
    wanted = np.concatenate([unit[np.isin(rows, chosen)] for rows, unit in _blocks(run)])
    has_leader = np.zeros(len(chosen), dtype=bool)
    for rows, unit in _blocks(run):
        leads = leader[rows] == rows
        earlier = rows[leads][None] < chosen[:, None]  # an image can only join a leader that was there before it
        # A little above the least cosine, so that what rounding decides is not taken for overlooked.
        has_leader |= ((wanted @ unit[leads].T >= min_similarity + ROUNDING / 2) & earlier).any(axis=1)
    return int(has_leader.sum()), int((leader[chosen] != chosen)[has_leader].sum())


def _faiss() -> Any:  # noqa: ANN401
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the index of vectors is not installed",
            expected="the index extra",
            found=f"no module `{error.name}`",
            hint="`pip install 'clipsieve[index]'`",
        ) from error
    return faiss
