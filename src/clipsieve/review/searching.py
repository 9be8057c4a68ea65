"""Find images by words, by another image, and what is nearly the same; nothing is opened."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int64

from clipsieve.classifiers.similarity import normalize
from clipsieve.engines.classify import open_text_encoder
from clipsieve.errors import RunConflictError
from clipsieve.review.options import MAX_GROUP
from clipsieve.review.preparing import Preparation
from clipsieve.review.vectors import VectorIndex
from clipsieve.store import Run

if TYPE_CHECKING:
    from clipsieve.encoders import Encoder

__all__ = ["Searcher", "near_duplicates", "require_index"]

MAX_KEPT_TEXTS = 256
COPY = 1 - 1e-6  # the cosine of an embedding with itself, as far as float32 tells


class Searcher:
    """The text tower of the run's encoder, opened once when somebody first searches.

    Parameters
    ----------
    run : Run
        Whose encoder.
    model : str or None
        Where it lies now.
    """

    def __init__(self, run: Run, model: str | None) -> None:
        self._run, self._model = run, model
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._encoder: Encoder | None = None
        self._known: dict[str, Float32[np.ndarray, "d"]] = {}

    def vector(self, text: str) -> Float32[np.ndarray, "d"]:
        """Return the unit-norm embedding of a text; ModelError and others if the encoder cannot be had."""
        with self._lock:
            if text not in self._known:
                if self._encoder is None:
                    self._encoder = self._stack.enter_context(open_text_encoder(self._run, self._model))
                if len(self._known) >= MAX_KEPT_TEXTS:
                    self._known.pop(next(iter(self._known)))
                self._known[text] = normalize(self._encoder.encode_texts([text]))[0]
            return self._known[text]

    def close(self) -> None:
        """Give the encoder back."""
        with self._lock:
            self._stack.close()
            self._encoder = None


def require_index(preparation: Preparation) -> VectorIndex:
    """Return the index; RunConflictError while it is being built or cannot be."""
    if preparation.index is None:
        if preparation.problem:
            raise RunConflictError(f"nothing can be found by its content: {preparation.problem}")
        raise RunConflictError(
            f"the embeddings are still being read ({preparation.share:.0%})", hint="ask again in some seconds"
        )
    return preparation.index


def near_duplicates(
    index: VectorIndex, row: int, min_similarity: float
) -> tuple[Int64[np.ndarray, "m"], Float32[np.ndarray, "m"]]:
    """Return the image itself and at most 499 others of the run that are at least so similar to it, the nearest first."""
    rows, similarity = index.nearest(index.embedding(row), MAX_GROUP)
    is_near = similarity >= min(min_similarity, COPY)
    others = is_near & (rows != row)
    own = np.array([row], dtype=np.int64)
    return (
        np.concatenate([own, rows[others]])[:MAX_GROUP],
        np.concatenate([np.ones(1, dtype=np.float32), similarity[others]])[:MAX_GROUP],
    )
