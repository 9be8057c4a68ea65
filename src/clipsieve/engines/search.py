"""Which images of a run fit some words best: every stored embedding is compared, no image is opened."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int64

from clipsieve.classifiers.similarity import normalize
from clipsieve.engines.base import Engine
from clipsieve.engines.classify import open_text_encoder
from clipsieve.engines.parts import map_parts
from clipsieve.errors import EmbeddingError, UsageError
from clipsieve.store import Run, normed_blocks, read_embedded_part

__all__ = ["FoundImage", "nearest_images", "search"]


@dataclass(frozen=True, slots=True)
class FoundImage:
    """One image that was found.

    Attributes
    ----------
    row : int
        Its position in the data set, from 0; images that failed count, too.
    image_id, uri : str
        As in the run.
    similarity : float
        Cosine of its embedding and that of the words, -1 to 1.
    """

    row: int
    image_id: str
    uri: str
    similarity: float


def search(
    run: Run, texts: Sequence[str], k: int = 20, *, model: str | None = None, engine: Engine | None = None
) -> list[list[FoundImage]]:
    """Find the images of a run that are nearest to some words.

    Parameters
    ----------
    run : Run
        A finished scan.
    texts : sequence of str
        Each is looked for by itself; in one pass over the embeddings.
    k : int, default=20
        How many images for each, > 0.
    model : str, optional
        Where the run's encoder lies now; by default where it lay when the run was scanned.
    engine : Engine, optional
        What works on the parts; by default the cores of this machine. The words are encoded by this process.

    Returns
    -------
    list of list of FoundImage
        For each text the nearest images, the best first; of equally near ones the first of the run. Fewer than k if the run
        has fewer embeddings.

    Raises
    ------
    UsageError
        If there is no text, or k < 1.
    EncoderMismatchError, ModelError, MissingExtraError
        If the text tower of the encoder that made the run cannot be had.
    RunCorruptError
        If a part of the images is missing or damaged.
    """
    if not texts or k < 1:
        raise UsageError("there is nothing to look for", expected="one text at least, and k >= 1")
    with open_text_encoder(run, model) as encoder:
        vectors = normalize(encoder.encode_texts(list(texts)))
    return nearest_images(run, vectors, k, engine=engine)


def nearest_images(
    run: Run, vectors: Float32[np.ndarray, "q d"], k: int, *, engine: Engine | None = None
) -> list[list[FoundImage]]:
    """Find the images of a run that are nearest to some vectors of the joint space.

    Parameters
    ----------
    run : Run
        A finished scan.
    vectors : float32 array of shape (q, d)
        Unit-norm rows.
    k : int
        How many images for each, > 0.
    engine : Engine, optional
        What works on the parts; by default the cores of this machine. The workers of a cluster read the run where this process
        finds it; of each part no more than its k nearest comes back.

    Returns
    -------
    list of list of FoundImage
        See `search`.

    Raises
    ------
    EmbeddingError
        If the vectors are not as wide as the run's embeddings.
    RunCorruptError, EncoderMismatchError
        As for `Run.read_images`.
    """
    if vectors.shape[1] != run.manifest.encoder.embedding_dim:
        raise EmbeddingError(
            "what is looked for is no embedding of this run",
            expected=f"{run.manifest.encoder.embedding_dim} numbers",
            found=f"{vectors.shape[1]}",
        )
    best, start = [_Nearest.none() for _ in vectors], 0
    places: list[int] = []
    with closing(map_parts(run, partial(_in_part, run, vectors, k), engine)) as parts:
        for n_rows, found in parts:
            places.append(start)
            best = [mine.joined(theirs.moved(start), k) for mine, theirs in zip(best, found, strict=True)]
            start += n_rows
    return _described(run, best, np.array(places, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class _Nearest:
    """The rows that are nearest so far, the best first."""

    rows: Int64[np.ndarray, "m"]
    similarity: Float32[np.ndarray, "m"]

    @classmethod
    def none(cls) -> _Nearest:
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))

    def moved(self, by: int) -> _Nearest:
        return _Nearest(self.rows + by, self.similarity)

    def joined(self, other: _Nearest, k: int) -> _Nearest:
        rows = np.concatenate([self.rows, other.rows])
        similarity = np.concatenate([self.similarity, other.similarity])
        order = np.lexsort((rows, -similarity))[:k]
        return _Nearest(rows[order], similarity[order])


def _in_part(run: Run, vectors: Float32[np.ndarray, "q d"], k: int, index: int) -> tuple[int, list[_Nearest]]:
    """Return the number of rows of a part, and what is nearest in it to each vector."""
    part = read_embedded_part(run, index, [])
    rows = np.flatnonzero(part.present)
    best = [_Nearest.none() for _ in vectors]
    for start, block, norms in normed_blocks(part.values):
        near = block @ vectors.T / norms[:, None]
        for q, vector in enumerate(vectors):
            places, similarity = _in_block(block, norms, near[:, q], vector, best[q], k)
            best[q] = best[q].joined(_Nearest(rows[start + places], similarity), k)
    return len(part.present), best


def _in_block(
    block: Float32[np.ndarray, "b d"],
    norms: Float32[np.ndarray, "b"],
    near: Float32[np.ndarray, "b"],
    vector: Float32[np.ndarray, "d"],
    best: _Nearest,
    k: int,
) -> tuple[Int64[np.ndarray, "c"], Float32[np.ndarray, "c"]]:
    """Return the rows of a block that may be among the k nearest, with their cosines.

    A product of matrices gives equal rows cosines that differ in the last digits; those that are compared in the end are
    computed row by row, so that equal rows are equally near.
    """
    near = np.nan_to_num(near, nan=-np.inf)  # of a damaged number, which would be taken for the nearest
    least = float(np.partition(near, len(near) - k)[len(near) - k]) if len(near) > k else -np.inf
    if len(best.rows) == k:
        least = max(least, float(best.similarity[-1]))
    slack = 2 * len(vector) * float(np.finfo(np.float32).eps)
    places = np.flatnonzero(near >= least - slack)
    similarity = np.einsum("ij,j->i", block[places] / norms[places, None], vector)
    return places, np.clip(similarity, -1, 1, dtype=np.float32)


def _described(run: Run, best: Sequence[_Nearest], starts: Int64[np.ndarray, "p"]) -> list[list[FoundImage]]:
    """Return what is known of the rows that were found; only the parts that they lie in are read."""
    wanted = np.unique(np.concatenate([found.rows for found in best]))
    names: dict[int, tuple[str, str]] = {}
    # The last part that begins at or before a row: parts without rows begin where the next one does.
    parts = np.searchsorted(starts, wanted, side="right") - 1
    for index in np.unique(parts).tolist():
        rows = wanted[parts == index]
        # Handed an array of numpy's, pyarrow looks whether it is one of pandas, and for that imports it: 0.3 s.
        places = pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows - starts[index])])
        picked = run.read_images(index, ["image_id", "uri"]).take(places)
        for row, facts in zip(rows.tolist(), picked.to_pylist(), strict=True):
            names[row] = (facts["image_id"], facts["uri"])
    return [
        [FoundImage(row, *names[row], value) for row, value in zip(f.rows.tolist(), f.similarity.tolist(), strict=True)]
        for f in best
    ]
