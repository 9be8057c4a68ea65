"""Encoders that run on ONNX Runtime: the default, with no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8

from clipsieve.encoders.base import Encoder
from clipsieve.encoders.folder import ModelFolder
from clipsieve.encoders.tokenizer import TextTokenizer
from clipsieve.errors import EmbeddingError, ModelFileError, UsageError
from clipsieve.types import EncoderIdentity

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["OnnxEncoder"]

TEXT_BATCH = 64


class _Tower:
    """One graph: batches of any length in, unit-norm rows out.

    A graph with a fixed batch gets its batches cut to that length, the last one padded with repetitions whose rows are
    dropped: rows do not depend on their neighbours.
    """

    def __init__(self, path: Path, input_name: str, embedding_dim: int, threads: int, device: str) -> None:
        self._path = path
        self._dim = embedding_dim
        self._session = _open_session(path, threads, device)
        inputs = {node.name: node for node in self._session.get_inputs()}
        if input_name not in inputs:
            raise ModelFileError(
                f"the graph `{path}` has other inputs",
                expected=f"`{input_name}`",
                found=", ".join(f"`{n}`" for n in inputs),
            )
        self._input = inputs[input_name]
        first = self._input.shape[0]
        self._fixed_batch = first if isinstance(first, int) and first > 0 else None

    @property
    def shape(self) -> list[int | str | None]:
        """The input's shape as the graph states it; a free side is a name or None."""
        return list(self._input.shape)

    @property
    def dtype(self) -> str:
        """The input's element type: "tensor(float)", "tensor(uint8)", "tensor(int32)"."""
        return str(self._input.type)

    def run(self, batch: np.ndarray) -> Float32[np.ndarray, "n d"]:
        """Return one unit-norm row for each row of the batch."""
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
            output: np.ndarray = self._session.run(None, {self._input.name: chunk})[0]
        except Exception as error:  # again classes of the runtime's own
            raise ModelFileError(
                f"the graph `{self._path}` cannot be run on its input",
                expected=f"{self.dtype} of shape {tuple(self.shape)}, as the folder's other files give it",
                found=" ".join(str(error).split())[:300],
            ) from error
        return output[:n].astype(np.float32)


def _open_session(path: Path, threads: int, device: str) -> InferenceSession:
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 4  # what goes wrong is raised, and said once
    providers = ["CPUExecutionProvider"]
    if device.startswith("cuda"):
        number = int(device.partition(":")[2] or 0)
        providers = [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]  # type: ignore[list-item]
    try:
        return ort.InferenceSession(str(path), settings, providers=providers)
    except Exception as error:  # the runtime raises classes of its own for each kind of damage
        raise ModelFileError(
            f"cannot load the graph `{path}`",
            found=" ".join(str(error).split())[:300],
            hint="the file is damaged or cut short; fetch or export the model again",
        ) from error


def _require_cuda(device: str) -> None:
    import onnxruntime as ort

    available = ort.get_available_providers()
    if "CUDAExecutionProvider" not in available:
        raise UsageError(
            f"ONNX Runtime cannot use `{device}` here",
            expected="its build for CUDA (the package onnxruntime-gpu)",
            found=", ".join(available),
            hint="install that build, take `--backend torch`, or `--device cpu`",
        )


class OnnxEncoder(Encoder):
    """Two ONNX graphs and a tokenizer, from a model folder.

    A graph is loaded when it is first used: a scan never loads the text tower.

    Parameters
    ----------
    path : Path
        The model folder.
    name : str
        For people.
    location : str
        What loads it again.
    threads : int, optional
        Of one graph; the cores of this process by default.
    device : str, default="cpu"
        "cpu", "cuda" or "cuda:N".

    Raises
    ------
    ModelFileError
        If a file is missing or damaged.
    UsageError
        If the device is not there.
    """

    def __init__(
        self, path: Path, *, name: str, location: str, threads: int | None = None, device: str = "cpu"
    ) -> None:
        self._folder = ModelFolder.open(path)
        self._name = name
        self._location = location
        self._threads = threads or len(os.sched_getaffinity(0))
        self._device = device
        if device.startswith("cuda"):
            _require_cuda(device)

    @cached_property
    def identity(self) -> EncoderIdentity:
        """What decides the embeddings; hashes the weights once."""
        return EncoderIdentity(
            name=self._name,
            weights_sha256=self._folder.weights_sha256(),
            preprocessing=self._folder.recipe,
            precision="fp32",
            embedding_dim=self._folder.embedding_dim,
        )

    @property
    def location(self) -> str:
        """A name, or the absolute path of the folder."""
        return self._location

    @property
    def logit_scale(self) -> float:
        """The folder's."""
        return self._folder.logit_scale

    @cached_property
    def _visual(self) -> _Tower:
        return self._tower("visual/model.onnx", "image")

    @cached_property
    def _textual(self) -> _Tower:
        return self._tower("textual/model.onnx", "text")

    @cached_property
    def _tokenizer(self) -> TextTokenizer:
        path = self._folder.path / "textual/tokenizer.json"
        return TextTokenizer.from_file(
            path, self._folder.context_length, self._folder.pad_token, clean=self._folder.clean
        )

    def _tower(self, name: str, input_name: str) -> _Tower:
        return _Tower(self._folder.path / name, input_name, self._folder.embedding_dim, self._threads, self._device)

    def encode_images(self, pixels: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n d"]:
        """Scale, normalize and encode; see `Encoder.encode_images`."""
        side = self._folder.recipe.size_px
        if pixels.shape[1:] != (side, side, 3):
            raise EmbeddingError(
                "the images have another size than the encoder's input",
                expected=f"(n, {side}, {side}, 3)",
                found=str(pixels.shape),
            )
        takes_pixels = self._visual.dtype == "tensor(uint8)"
        return self._visual.run(np.ascontiguousarray(pixels) if takes_pixels else self._normalize(pixels))

    def _normalize(self, pixels: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n 3 s s"]:
        recipe = self._folder.recipe
        mean, std = np.array(recipe.mean, dtype=np.float32), np.array(recipe.std, dtype=np.float32)
        # One multiplication and one subtraction for a pixel: (x / 255 - mean) / std.
        scaled = pixels * (1 / (255 * std)) - mean / std
        return np.ascontiguousarray(scaled.astype(np.float32).transpose(0, 3, 1, 2))

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Tokenize and encode; see `Encoder.encode_texts`."""
        ids = self._tokenizer(texts)
        if self._textual.dtype == "tensor(int64)":
            ids = ids.astype(np.int64)
        batches = [self._textual.run(ids[start : start + TEXT_BATCH]) for start in range(0, len(ids), TEXT_BATCH)]
        return np.concatenate(batches) if batches else np.zeros((0, self._folder.embedding_dim), dtype=np.float32)

    def close(self) -> None:
        """Release both graphs."""
        for name in ("_visual", "_textual"):
            self.__dict__.pop(name, None)
