"""What passes through a float graph's products: the range of every channel, over calibration images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float32, UInt8

from clipsieve.encoders.quantize_graph import FloatGraph
from clipsieve.encoders.tower import Normalizer
from clipsieve.types import Preprocessing

__all__ = ["OnImage", "Ranges", "embed_each", "measure_ranges"]

OnImage: TypeAlias = Callable[[], object]  # called whenever an image has gone through a graph


@dataclass(frozen=True, slots=True)
class Ranges:
    """What one source of products holds.

    Attributes
    ----------
    low, high : float32 array of shape (c,)
        The least and the greatest value of each channel.
    mean_size : float32 array of shape (c,)
        The mean of its absolute values.
    """

    low: Float32[np.ndarray, "c"]
    high: Float32[np.ndarray, "c"]
    mean_size: Float32[np.ndarray, "c"]

    @classmethod
    def of(cls, values: np.ndarray, channel_axis: int) -> Ranges:
        """Return those of one image's values."""
        rows = np.moveaxis(values, channel_axis, -1).reshape(-1, values.shape[channel_axis])
        return cls(rows.min(axis=0), rows.max(axis=0), np.abs(rows).mean(axis=0))

    def joined(self, other: Ranges, n: int) -> Ranges:
        """Return those of n images and one more."""
        mean_size = (self.mean_size * np.float32(n) + other.mean_size) / np.float32(n + 1)
        return Ranges(np.minimum(self.low, other.low), np.maximum(self.high, other.high), mean_size)

    def divided(self, factors: Float32[np.ndarray, "c"]) -> Ranges:
        """Return those of the values divided by a positive factor for each channel."""
        return Ranges(self.low / factors, self.high / factors, self.mean_size / factors)


def measure_ranges(
    graph: FloatGraph,
    scratch: Path,
    recipe: Preprocessing,
    pixels: UInt8[np.ndarray, "n s s 3"],
    on_image: OnImage = lambda: None,
) -> tuple[dict[str, Ranges], Float32[np.ndarray, "n d"]]:
    """Run the graph on images, one at a time, so that memory does not grow with their number.

    Parameters
    ----------
    graph : FloatGraph
        The float one.
    scratch : Path
        A file to write beside the graph's weights.
    recipe : Preprocessing
        In front of the graph.
    pixels : uint8 array of shape (n, s, s, 3)
        n >= 1.
    on_image : callable
        Called after each of them.

    Returns
    -------
    dict of str to Ranges
        By the name of each source.
    float32 array of shape (n, d)
        The features.
    """
    graph.write_with_sources(scratch)
    run = _Run(scratch, recipe)
    axes = {product.source: product.channel_axis for product in graph.products}
    ranges: dict[str, Ranges] = {}
    features = []
    for n, image in enumerate(pixels):
        values = run(image)
        features.append(values[run.features][0])
        for name, axis in axes.items():
            found = Ranges.of(values[name], axis)
            ranges[name] = ranges[name].joined(found, n) if n else found
        on_image()
    return ranges, np.stack(features)


def embed_each(
    graph: Path, recipe: Preprocessing, pixels: UInt8[np.ndarray, "n s s 3"], on_image: OnImage = lambda: None
) -> Float32[np.ndarray, "n d"]:
    """Return the features that a graph gives for images, one at a time; not at unit norm."""
    run = _Run(graph, recipe)
    features = []
    for image in pixels:
        features.append(run(image)[run.features][0])
        on_image()
    return np.stack(features)


class _Run:
    """A graph in ONNX Runtime that gives all of its outputs, and its input, for one image."""

    def __init__(self, path: Path, recipe: Preprocessing) -> None:
        import onnxruntime as ort

        settings = ort.SessionOptions()
        settings.log_severity_level = 4
        self._session = ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0]
        self._names = [output.name for output in self._session.get_outputs()]
        self._normalizer = Normalizer(recipe)
        self.features = self._names[0]

    def __call__(self, image: UInt8[np.ndarray, "s s 3"]) -> dict[str, np.ndarray]:
        first = self._input.shape[0]
        batch = np.repeat(image[None], first if isinstance(first, int) else 1, axis=0)
        if self._input.type == "tensor(uint8)":
            return self._run(batch)
        with self._normalizer(batch) as floats:
            return self._run(floats.copy())

    def _run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        outputs: list[Any] = self._session.run(None, {self._input.name: batch})
        return dict(zip(self._names, outputs, strict=True)) | {self._input.name: batch}
