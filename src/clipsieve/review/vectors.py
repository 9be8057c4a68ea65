"""Search by embedding over a whole run: exact, in a byte of memory for each number."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from clipsieve.cores import n_cores
from clipsieve.engines.concepts import ConceptVectors
from clipsieve.errors import EmbeddingError, RunConflictError
from clipsieve.review.quantize import Quantized, approximate, quantize
from clipsieve.review.run_parts import part_sizes
from clipsieve.review.scratch import ScratchRows
from clipsieve.store import Run, read_embedded_part

__all__ = ["VectorIndex"]

_BLOCK = 2048  # rows that are quantized at once
_EXACT_BLOCK = 4096  # rows that are compared exactly at once: 16 MiB at a width of 512


class VectorIndex:
    """The embeddings of a run: in memory a byte for each number, on disk as they are stored. Safe for threads.

    Use :meth:`build`. All rows are compared in bytes; whatever could belong to the nearest is compared again, in float64
    and with the stored numbers. What is found is therefore what comparing all of them exactly would find.

    Attributes
    ----------
    n, embedding_dim : int
        Rows, also those without an embedding, and d.
    is_present : bool array of shape (n,)
        Which rows have an embedding.
    concepts : tuple of str
        Titles; empty if nothing was assigned.
    concept_codes : int16 array of shape (n,)
        Places in `concepts`; -1 for "other", and where nothing was assigned.
    """

    def __init__(self, n: int, embedding_dim: int, exact: ScratchRows, concepts: ConceptVectors | None) -> None:
        self.n, self.embedding_dim = n, embedding_dim
        self.is_present: Bool[np.ndarray, "n"] = np.zeros(n, dtype=bool)
        self.concepts: tuple[str, ...] = (
            () if concepts is None or concepts.vectors is None else tuple(c.title for c in concepts.taxonomy.concepts)
        )
        self.concept_codes = np.full(n, -1, dtype=np.int16)
        self._codes = np.zeros((n, embedding_dim), dtype=np.int8)
        self._scale = np.zeros(n, dtype=np.float32)
        self._bound = np.zeros(n, dtype=np.float32)
        self._exact = exact
        self._n_cores = n_cores()
        self._pool = ThreadPoolExecutor(self._n_cores, thread_name_prefix="search")

    @classmethod
    def build(
        cls,
        run: Run,
        *,
        concepts: ConceptVectors | None = None,
        on_progress: Callable[[int, int], object] = lambda _n_done, _n_total: None,
    ) -> VectorIndex:
        """Read the embeddings of a run, a few parts at a time.

        Parameters
        ----------
        run : Run
            Complete; scores are not needed.
        concepts : ConceptVectors, optional
            What each image is assigned to while it is read; nothing is if they have no vectors.
        on_progress : callable, optional
            Called in this thread with the rows read and those in all; what it raises ends the work.

        Raises
        ------
        RunCorruptError, EncoderMismatchError
            As for `Run.iter_images`.
        RunConflictError
            If the run is scanned anew meanwhile.
        RunError
            If there is no room for the temporary file.
        """
        sizes = part_sizes(run)
        starts = np.cumsum([0, *sizes]).tolist()
        dtype = _stored_type(run)
        index = cls(
            starts[-1],
            run.manifest.encoder.embedding_dim,
            ScratchRows(run.manifest.encoder.embedding_dim, dtype),
            concepts,
        )
        pool = ThreadPoolExecutor(index._n_cores)
        try:
            tasks = ((run, part, starts[part], sizes[part], concepts) for part in range(len(sizes)))
            for n_done in pool.map(lambda task: index._add_part(*task), tasks):
                on_progress(n_done, index.n)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            index.close()
            raise
        pool.shutdown()
        return index

    def close(self) -> None:
        """Give threads and disk back; afterwards nothing can be found."""
        self._pool.shutdown()
        self._exact.close()

    def nearest(
        self, vector: Float32[np.ndarray, "d"], n: int, *, allowed: Bool[np.ndarray, "n_rows"] | None = None
    ) -> tuple[Int64[np.ndarray, "m"], Float32[np.ndarray, "m"]]:
        """Return the rows with the highest cosine, the best first; of equal ones the first of the run.

        Parameters
        ----------
        vector : float32 array of shape (d,)
            Of any norm but 0.
        n : int
            How many; m = n unless there are fewer.
        allowed : bool array of shape (n_rows,), optional
            Among which rows of the run; by default all. Rows without an embedding are never found.

        Returns
        -------
        rows : int64 array of shape (m,)
            Of the run.
        similarity : float32 array of shape (m,)
            Cosines with the stored embeddings, -1 to 1.

        Raises
        ------
        EmbeddingError
            If the vector has another width, or no direction.
        """
        query = self._query(vector)
        near = self._approximate(query.astype(np.float32))
        possible = self.is_present if allowed is None else self.is_present & allowed
        n = min(n, int(possible.sum()))
        if n <= 0:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        near[~possible] = -np.inf
        first = np.argpartition(near, self.n - n)[self.n - n :]
        # n rows are at least so similar, so nothing that cannot reach this belongs to the nearest.
        least = float(self._cosines(query, np.sort(first)).min())
        near += self._bound
        candidates = np.flatnonzero(near >= least)
        candidates = candidates[np.argsort(-near[candidates], kind="stable")]
        return self._best(query, candidates, near[candidates], n)

    def embedding(self, row: int) -> Float32[np.ndarray, "d"]:
        """Return the embedding of a row at unit norm; EmbeddingError if it has none."""
        if not (0 <= row < self.n and self.is_present[row]):
            raise EmbeddingError(f"row {row} of the run has no embedding")
        found: np.ndarray = self.embeddings(np.array([row], dtype=np.int64))[0]
        return found

    def embeddings(self, rows: Int64[np.ndarray, "m"]) -> Float32[np.ndarray, "m d"]:
        """Return the embeddings of some rows at unit norm; zeros for one without."""
        order = np.argsort(rows, kind="stable")
        found = np.zeros((len(rows), self.embedding_dim), dtype=np.float32)
        for start in range(0, len(rows), _EXACT_BLOCK):
            some = order[start : start + _EXACT_BLOCK]
            some = some[self.is_present[rows[some]]]
            found[some] = quantize(self._exact.read(rows[some])).unit
        return found

    def _add_part(self, run: Run, part: int, start: int, size: int, concepts: ConceptVectors | None) -> int:
        found = read_embedded_part(run, part, [])
        if len(found.present) != size:
            raise RunConflictError(
                f"`{run.path}` was scanned anew while it was read", hint="open it again to see what it holds now"
            )
        n_before = np.concatenate([[0], np.cumsum(found.present)])
        for at in range(0, size, _BLOCK):
            to = min(at + _BLOCK, size)
            stored = found.values[n_before[at] : n_before[to]]
            self._add(start + at, stored, quantize(stored), found.present[at:to], concepts)
        return start + size

    def _add(
        self,
        start: int,
        stored: np.ndarray,
        quantized: Quantized,
        is_there: Bool[np.ndarray, "m"],
        concepts: ConceptVectors | None,
    ) -> None:
        rows = start + np.flatnonzero(is_there)
        self._exact.write(start, _spread(stored, is_there))
        self._codes[rows], self._scale[rows], self._bound[rows] = quantized.codes, quantized.scale, quantized.bound
        self.is_present[rows] = quantized.is_present
        if concepts is not None and self.concepts:
            here = quantized.is_present
            found = concepts.assign(np.ascontiguousarray(quantized.unit[here]))[0]
            self.concept_codes[rows[here]] = np.where(found == concepts.taxonomy.other, -1, found)

    def _query(self, vector: Float32[np.ndarray, "d"]) -> Float64[np.ndarray, "d"]:
        exact = vector.astype(np.float64)
        norm = float(np.sqrt(exact @ exact))
        if len(vector) != self.embedding_dim or not (np.isfinite(norm) and norm > 0):
            raise EmbeddingError(
                "what is looked for is no embedding of this run",
                expected=f"{self.embedding_dim} finite numbers, not all 0",
                found=f"{len(vector)} numbers of norm {norm:.3g}",
            )
        return np.asarray(exact / norm)

    def _approximate(self, query: Float32[np.ndarray, "d"]) -> Float32[np.ndarray, "n_rows"]:
        found = np.empty(self.n, dtype=np.float32)
        edges = np.linspace(0, self.n, self._n_cores + 1).astype(int).tolist()

        def one(start: int, stop: int) -> None:
            approximate(self._codes[start:stop], self._scale[start:stop], query, found[start:stop])

        list(self._pool.map(one, edges[:-1], edges[1:]))
        return found

    def _cosines(self, query: Float64[np.ndarray, "d"], rows: Int64[np.ndarray, "m"]) -> Float64[np.ndarray, "m"]:
        """Return the cosines of stored rows; row by row, so that equal rows have equal ones."""
        stored = self._exact.read(rows).astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", stored, stored))
        return np.asarray(np.einsum("ij,j->i", stored, query) / norms)

    def _best(
        self,
        query: Float64[np.ndarray, "d"],
        candidates: Int64[np.ndarray, "c"],
        upper: Float32[np.ndarray, "c"],
        n: int,
    ) -> tuple[Int64[np.ndarray, "m"], Float32[np.ndarray, "m"]]:
        """Return the n best of some rows, which come in the order of what each can reach at most."""
        rows, cosines = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float64)
        for start in range(0, len(candidates), _EXACT_BLOCK):
            if len(rows) == n and upper[start] < cosines[-1]:
                break
            block = np.sort(candidates[start : start + _EXACT_BLOCK])
            rows = np.concatenate([rows, block])
            cosines = np.concatenate([cosines, self._cosines(query, block)])
            order = np.lexsort((rows, -cosines))[:n]
            rows, cosines = rows[order], cosines[order]
        return rows, np.clip(cosines, -1, 1).astype(np.float32)


def _stored_type(run: Run) -> np.dtype[np.float16] | np.dtype[np.float32]:
    files = run.external.files if run.external is not None else []
    is_wide = any(file.dtype == "float32" for file in files)
    return np.dtype(np.float32) if is_wide else np.dtype(np.float16)


def _spread(stored: np.ndarray, is_there: Bool[np.ndarray, "m"]) -> np.ndarray:
    """Return a row for each place, zeros where there is none."""
    if is_there.all():
        return stored
    found = np.zeros((len(is_there), stored.shape[1]), dtype=stored.dtype)
    found[is_there] = stored
    return found
