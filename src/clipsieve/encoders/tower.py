"""One tower: a graph that some runtime has loaded, with batches of any length in and unit-norm rows out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from clipsieve.errors import ModelFileError
from clipsieve.types import Preprocessing

__all__ = ["Graph", "GraphInput", "Normalizer", "Tower"]


@dataclass(frozen=True, slots=True)
class GraphInput:
    """What a graph takes.

    Attributes
    ----------
    name : str
        As the graph calls it.
    dtype : str
        "float32", "uint8", "int32", "int64"; the runtime's own word for any other.
    shape : tuple of int or None
        None for a free side.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@runtime_checkable
class Graph(Protocol):
    """A graph that a runtime has loaded. Several threads may run it at once."""

    @property
    def inputs(self) -> tuple[GraphInput, ...]:
        """All that it takes."""

    def run(self, name: str, batch: np.ndarray) -> np.ndarray:
        """Return the first output for a batch at the named input, in memory of its own; raises what the runtime raises."""


class Tower:
    """A graph with one input of a known name, and the width of its rows.

    A graph with a fixed batch gets its batches cut to that length, the last one padded with repetitions whose rows are
    dropped: rows do not depend on their neighbours.

    Parameters
    ----------
    graph : Graph
        Loaded.
    path : Path
        Its file, for messages.
    input_name : str
        "image" or "text".
    embedding_dim : int
        d.

    Raises
    ------
    ModelFileError
        If the graph has no input of that name.
    """

    def __init__(self, graph: Graph, path: Path, input_name: str, embedding_dim: int) -> None:
        self._graph, self._path, self._dim = graph, path, embedding_dim
        inputs = {item.name: item for item in graph.inputs}
        if input_name not in inputs:
            raise ModelFileError(
                f"the graph `{path}` has other inputs",
                expected=f"`{input_name}`",
                found=", ".join(f"`{name}`" for name in inputs),
            )
        self._input = inputs[input_name]
        self._fixed_batch = self._input.shape[0] if self._input.shape else None

    @property
    def dtype(self) -> str:
        """The input's element type."""
        return self._input.dtype

    def run(self, batch: np.ndarray) -> Float32[np.ndarray, "n d"]:
        """Return one unit-norm row for each row of the batch; ModelFileError if the graph does not fit its input."""
        step = self._fixed_batch or max(len(batch), 1)
        chunks = [self._run_chunk(batch[start : start + step]) for start in range(0, len(batch), step)]
        if not chunks:
            return np.zeros((0, self._dim), dtype=np.float32)
        features = np.concatenate(chunks)
        if features.shape != (len(batch), self._dim):
            raise ModelFileError(
                f"the graph `{self._path}` gives another shape",
                expected=f"({len(batch)}, {self._dim})",
                found=str(features.shape),
            )
        with np.errstate(invalid="ignore", divide="ignore"):
            unit: np.ndarray = features / np.linalg.norm(features, axis=1, keepdims=True)
        return unit

    def _run_chunk(self, chunk: np.ndarray) -> np.ndarray:
        n = len(chunk)
        if self._fixed_batch and n < self._fixed_batch:
            chunk = np.concatenate([chunk, np.repeat(chunk[-1:], self._fixed_batch - n, axis=0)])
        try:
            output = self._graph.run(self._input.name, chunk)
        except Exception as error:  # classes of the runtime's own
            raise ModelFileError(
                f"the graph `{self._path}` cannot be run on its input",
                expected=f"{self.dtype} of shape {self._input.shape}, as the folder's other files give it",
                found=" ".join(str(error).split())[:300],
            ) from error
        return output[:n].astype(np.float32)


class Normalizer:
    """Brings bytes to a graph's floats, (x / 255 - mean) / std, in buffers that are used again.

    There are as many buffers as calls were under way at once, each as long as the longest batch it was lent for.

    Parameters
    ----------
    recipe : Preprocessing
        The side, the means and the deviations.
    """

    def __init__(self, recipe: Preprocessing) -> None:
        mean, std = (np.array(values, dtype=np.float32).reshape(3, 1, 1) for values in (recipe.mean, recipe.std))
        self._scale, self._shift = 1 / (255 * std), mean / std
        self._side = recipe.size_px
        self._free: deque[np.ndarray] = deque()

    @contextmanager
    def __call__(self, pixels: UInt8[np.ndarray, "n s s 3"]) -> Iterator[Float32[np.ndarray, "n 3 s s"]]:
        """Lend the floats; afterwards their memory belongs to another call."""
        buffer = self._take(len(pixels))
        # One image after the other, so that it is still in the core's cache for the multiplication and the subtraction.
        for plane, image in zip(buffer, pixels, strict=False):
            np.copyto(plane, image.transpose(2, 0, 1))
            np.multiply(plane, self._scale, out=plane)
            np.subtract(plane, self._shift, out=plane)
        try:
            yield buffer[: len(pixels)]
        finally:
            self._free.append(buffer)

    def _take(self, n: int) -> np.ndarray:
        try:
            buffer = self._free.pop()
        except IndexError:
            buffer = np.empty((0, 3, self._side, self._side), dtype=np.float32)
        return buffer if len(buffer) >= n else np.empty((n, 3, self._side, self._side), dtype=np.float32)
