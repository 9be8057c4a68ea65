"""A run's rows as arrays: opened in a moment, since no embedding and no caption is read."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float32, Int64

from clipsieve.engines.score_facts import chosen_scores
from clipsieve.review.describing import Described, Describer
from clipsieve.review.run_images import N_READERS, RunImages
from clipsieve.review.run_parts import read_probability, stamp_of_run
from clipsieve.store import Run

__all__ = ["Catalog", "Described"]


class Catalog:
    """The rows of a run with some scores; nothing in it changes, so many threads may read it.

    Use :meth:`open`.

    Attributes
    ----------
    run : Run
        What was opened.
    scores_name : str
        Of the scores.
    n : int
        Rows, also those that failed.
    threshold : float
        From which probability on an image is flagged, 0-1.
    probability : float32 array of shape (n,)
        Of the unwanted class, 0-1; NaN without one.
    is_seen, is_blocked, is_flagged : bool arrays of shape (n,)
        Has an embedding and a score; is on the block list; its probability is at or above the threshold.
    labels : tuple of str
        The classes that the data set names, sorted.
    label_codes : int32 array of shape (n,)
        Places in `labels`; -1 for none.
    """

    def __init__(
        self,
        run: Run,
        scores_name: str,
        images: RunImages,
        describer: Describer,
        stamp: tuple[tuple[int, int, int] | None, ...],
    ) -> None:
        self.run, self.scores_name, self.n = run, scores_name, images.n
        self.threshold = float(run.score_facts(scores_name)["threshold"])
        self.probability: Float32[np.ndarray, "n"] = _probabilities(run, scores_name, images)
        self.is_blocked: Bool[np.ndarray, "n"] = images.is_blocked
        self.is_seen: Bool[np.ndarray, "n"] = ~images.is_failed & ~np.isnan(self.probability)
        # Compared in float32, as `score` does: a threshold is one of these numbers.
        self.is_flagged: Bool[np.ndarray, "n"] = self.is_seen & (self.probability >= np.float32(self.threshold))
        self.labels, self.label_codes = images.labels, images.label_codes
        self._images, self._describer, self._stamp = images, describer, stamp

    @classmethod
    def open(cls, run: Run, scores_name: str | None = None) -> Catalog:
        """Read a run's rows and scores.

        Parameters
        ----------
        run : Run
            Of images, or of embeddings that lie elsewhere.
        scores_name : str, optional
            By default the only ones there are.

        Raises
        ------
        UsageError
            If no scores were named and there is not exactly one.
        RunNotFoundError, RunCorruptError, EncoderMismatchError
            As for `Run.iter_scores`.
        """
        name = chosen_scores(run, scores_name)
        run.score_facts(name)
        stamp = stamp_of_run(run, name)  # before anything is read: what changes from here on is noticed
        images = RunImages.read(run)
        return cls(run, name, images, Describer(run, images.starts), stamp)

    def rescored(self, scores_name: str) -> Catalog:
        """Return the same images with other scores; the memory is shared.

        Raises
        ------
        RunNotFoundError, RunCorruptError
            As for `Run.iter_scores`.
        """
        self.run.score_facts(scores_name)
        stamp = stamp_of_run(self.run, scores_name)
        return Catalog(self.run, scores_name, self._images, self._describer, stamp)

    def is_current(self) -> bool:
        """Return whether no file of the run or of these scores was written anew since; thousands of files take milliseconds."""
        return stamp_of_run(self.run, self.scores_name) == self._stamp

    def image_id(self, row: int) -> str:
        """Return the id of a row."""
        return self._images.image_id(row)

    def sha256(self, row: int) -> str | None:
        """Return the hash of the file of a row in hex, or None if the run does not know it."""
        return self._images.sha256(row)

    def row_of(self, image_id: str) -> int | None:
        """Return the row of an id, or None if it is not in the run."""
        found = int(self.rows_of([image_id])[0])
        return None if found < 0 else found

    def rows_of(self, image_ids: Sequence[str]) -> Int64[np.ndarray, "m"]:
        """Return the row of each id, -1 for one that is not in the run; the first call takes longer than the others."""
        return self._images.rows_of(image_ids)

    def place(self, row: int) -> tuple[int, int]:
        """Return the part that holds a row, and which of its rows it is."""
        part = int(np.searchsorted(self._images.starts, row, side="right")) - 1
        return part, row - int(self._images.starts[part])

    def describe(self, rows: Sequence[int]) -> list[Described]:
        """Return what the data set says of some images, in their order; see `Describer.describe`."""
        return self._describer.describe(rows)

    def copies(self, row: int) -> Int64[np.ndarray, "_"]:
        """Return all rows with the same file as this one, itself included, in order."""
        return self._images.copies(row)

    def contents(self, rows: Int64[np.ndarray, "m"]) -> Int64[np.ndarray, "m"]:
        """Return a number for each of some rows, the same for the same file; -1 where its hash is not known."""
        return self._images.contents(rows)


def _probabilities(run: Run, name: str, images: RunImages) -> Float32[np.ndarray, "n"]:
    sizes = np.diff(images.starts).tolist()

    def read(index: int) -> Float32[np.ndarray, "m"]:
        column = read_probability(run, name, index, images.inputs[index], sizes[index])
        found: np.ndarray = pc.fill_null(column, pa.scalar(np.nan, pa.float32())).to_numpy()
        return found.astype(np.float32, copy=False)

    with ThreadPoolExecutor(N_READERS) as pool:
        return np.concatenate([np.zeros(0, dtype=np.float32), *pool.map(read, range(len(sizes)))])
