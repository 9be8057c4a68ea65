"""What takes longer than opening a page: embeddings for the search, concepts, near-duplicates, the audit's sample."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

from clipsieve.classifiers import builtin_taxonomy, load_taxonomy
from clipsieve.classifiers.taxonomy import Taxonomy
from clipsieve.engines.concepts import ConceptVectors, build_concepts
from clipsieve.engines.verdicts import SampledImage
from clipsieve.errors import ClipsieveError
from clipsieve.review.audit import draw
from clipsieve.review.catalog import Catalog
from clipsieve.review.duplicates import find_groups
from clipsieve.review.options import DeskOptions
from clipsieve.review.queues import highest
from clipsieve.review.vectors import VectorIndex

if TYPE_CHECKING:
    from clipsieve.review.ledger import Ledger

__all__ = ["MAX_CANDIDATES", "Preparation"]

MAX_CANDIDATES = 20_000  # flagged images among which near-duplicates are looked for beforehand, the highest scores


class Preparation:
    """Made in the background, step by step; each step is None until it is done.

    Raises PromptSetError if the taxonomy's file is none.

    Attributes
    ----------
    index : VectorIndex or None
        For search, "more like this" and groups.
    sample : tuple of SampledImage, or None
        The random sample of the run; it is drawn once, and then stays.
    groups : list of int64 arrays, or None
        Near-duplicates among the flagged, leaders first.
    share : float
        How much of the index is built, 0-1.
    problem : str or None
        Why there will be none, in words.
    """

    def __init__(self, catalog: Catalog, ledger: Ledger, options: DeskOptions) -> None:
        self.index: VectorIndex | None = None
        self.sample: tuple[SampledImage, ...] | None = None
        self.groups: list[Int64[np.ndarray, "_"]] | None = None
        self.share = 0.0
        self.problem: str | None = None
        self._catalog, self._ledger, self._options = catalog, ledger, options
        # At once: whoever named a file that is none should be told before the page is served.
        self._taxonomy = _load(options.taxonomy)
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="preparation", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Give up what is not done, and wait for the thread."""
        self._is_stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until all is done, or the time is over."""
        self._thread.join(timeout_s)

    def regroup(self, catalog: Catalog) -> None:
        """Find the groups again among what other scores flag."""
        self._catalog = catalog
        if self.index is not None:
            self.groups = self._find_groups(self.index)

    def _run(self) -> None:
        try:
            run, name, options = self._catalog.run, self._catalog.scores_name, self._options
            self.sample = draw(run, name, self._ledger, width=options.audit_width, seed=options.audit_seed)
            index = VectorIndex.build(self._catalog.run, concepts=self._concepts(), on_progress=self._on_progress)
            self.index, self.share = index, 1.0
            self.groups = self._find_groups(index)
        except _Stopped:
            return
        except ClipsieveError as error:
            self.problem = error.what
        except MemoryError:
            self.problem = "there is not enough memory for the embeddings of this run"

    def _on_progress(self, n_done: int, n_total: int) -> None:
        if self._is_stopped.is_set():
            raise _Stopped
        self.share = n_done / max(n_total, 1)

    def _concepts(self) -> ConceptVectors | None:
        if self._taxonomy is None:
            return None
        found = build_concepts(self._catalog.run, self._taxonomy, model=self._options.model)
        return found if found.vectors is not None else None

    def _find_groups(self, index: VectorIndex) -> list[Int64[np.ndarray, "_"]]:
        rows = highest(self._catalog)
        rows = rows[self._catalog.is_flagged[rows]][:MAX_CANDIDATES]
        contents = self._catalog.contents(rows)
        return find_groups(index, rows, min_similarity=self._options.min_similarity, contents=contents)


def _load(taxonomy: str | Path | None) -> Taxonomy | None:
    if taxonomy == "none":
        return None
    return builtin_taxonomy() if taxonomy is None else load_taxonomy(taxonomy)


class _Stopped(Exception):  # noqa: N818 - no fault: somebody closes the desk
    """The desk is being closed."""
