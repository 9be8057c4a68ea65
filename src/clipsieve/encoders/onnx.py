"""Encoders made of ONNX graphs. ONNX Runtime runs them: the default, with no torch; another runtime may run the image tower."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from threading import Lock

import numpy as np
from jaxtyping import Float32, UInt8

from clipsieve.cores import n_cores
from clipsieve.encoders.base import Encoder
from clipsieve.encoders.folder import ModelFolder
from clipsieve.encoders.quantize_towers import precision_of
from clipsieve.encoders.tokenizer import TextTokenizer
from clipsieve.encoders.tower import Graph, GraphInput, Normalizer, Tower
from clipsieve.errors import ModelFileError, UsageError
from clipsieve.types import EncoderIdentity

__all__ = ["OnnxEncoder", "OnnxRuntimeGraph"]

TEXT_BATCH = 64
IMAGE_BATCH = 16


class OnnxRuntimeGraph:
    """A graph in ONNX Runtime, with as many threads as one call has; see `Graph`.

    Parameters
    ----------
    path : Path
        An ONNX file.
    threads : int
        Of one call. With 1, a call runs in the caller's thread alone.
    device : str, default="cpu"
        "cpu", "cuda" or "cuda:N".
    """

    def __init__(self, path: Path, threads: int, *, device: str = "cpu") -> None:
        import onnxruntime as ort

        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.log_severity_level = 4  # what goes wrong is raised, and said once
        providers = ["CPUExecutionProvider"]
        if device.startswith("cuda"):
            number = int(device.partition(":")[2] or 0)
            providers = [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]  # type: ignore[list-item]
        self._session = ort.InferenceSession(str(path), settings, providers=providers)

    @property
    def inputs(self) -> tuple[GraphInput, ...]:
        """All that it takes."""
        return tuple(_describe(node.name, node.type, node.shape) for node in self._session.get_inputs())

    def run(self, name: str, batch: np.ndarray) -> np.ndarray:
        """Return the first output for a batch at the named input; see `Graph.run`."""
        output: np.ndarray = self._session.run(None, {name: batch})[0]
        return output


def _open_for_one_core(path: Path, n_parallel: int, *, device: str) -> Graph:  # noqa: ARG001 - others need to know
    return OnnxRuntimeGraph(path, 1, device=device)


def _describe(name: str, kind: str, shape: Sequence[int | str | None]) -> GraphInput:
    dtype = kind.removeprefix("tensor(").removesuffix(")")  # "tensor(uint8)"; a free side is a name or None
    sides = tuple(side if isinstance(side, int) and side > 0 else None for side in shape)
    return GraphInput(name, "float32" if dtype == "float" else dtype, sides)


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

    A graph is loaded when it is first used: a scan never loads the text tower. Texts are always encoded by ONNX Runtime in
    fp32, so that a prompt has the same embedding whatever the images are computed in.

    Parameters
    ----------
    path : Path
        The model folder.
    name : str
        For people.
    location : str
        What loads it again.
    threads : int, optional
        Calls of `encode_images` at once, and threads of one call of `encode_texts`; the cores of this process by default.
    device : str, default="cpu"
        "cpu", "cuda" or "cuda:N".
    precision : str, default="fp32"
        Of the image tower, as `open_image_graph` computes it.
    open_image_graph : callable, optional
        From the image tower's file and the number of calls at once to a loaded graph; ONNX Runtime by default.
    image_graph : Path, optional
        An int8 image tower that is run in place of the folder's.

    Raises
    ------
    ModelFileError
        If a file is missing or damaged.
    UsageError
        If the device is not there.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        location: str,
        threads: int | None = None,
        device: str = "cpu",
        precision: str = "fp32",
        open_image_graph: Callable[[Path, int], Graph] | None = None,
        image_graph: Path | None = None,
    ) -> None:
        self._folder = ModelFolder.open(path)
        self._name = name
        self._location = location
        self._threads = threads or n_cores()
        self._device = device
        if device.startswith("cuda"):
            _require_cuda(device)
        self._precision = precision
        self._image_graph = image_graph
        self._open_image_graph = open_image_graph or partial(_open_for_one_core, device=device)
        self._normalizer = Normalizer(self._folder.recipe)
        self._images: Tower | None = None
        self._texts: Tower | None = None
        self._threads_of_one_call: ThreadPoolExecutor | None = None
        self._loading = Lock()  # threads that come first at the same moment must not load a graph twice

    @cached_property
    def identity(self) -> EncoderIdentity:
        """What decides the embeddings; hashes the weights once."""
        return EncoderIdentity(
            name=self._name,
            weights_sha256=self._folder.weights_sha256(),
            preprocessing=self._folder.recipe,
            precision=self._precision_and_graph(),
            embedding_dim=self._folder.embedding_dim,
        )

    def _precision_and_graph(self) -> str:
        """Return the precision; with the hash of a graph that takes the place of the folder's, which is made of its weights."""
        return self._precision if self._image_graph is None else precision_of(self._image_graph)

    @property
    def location(self) -> str:
        """A name, or the absolute path of the folder."""
        return self._location

    @property
    def logit_scale(self) -> float:
        """The folder's."""
        return self._folder.logit_scale

    @property
    def n_parallel(self) -> int:
        """One call for each core on a CPU; a GPU works at one call."""
        return 1 if self._device.startswith("cuda") else self._threads

    @property
    def best_batch_size(self) -> int:
        """The same for every model and runtime: `benchmarks/encoders.py` has the figures."""
        return IMAGE_BATCH

    def _image_tower(self) -> Tower:
        with self._loading:
            if self._images is None:
                path = self._image_graph or self._folder.path / "visual/model.onnx"
                self._images = self._load(path, "image", lambda: self._open_image_graph(path, self.n_parallel))
            return self._images

    def _text_tower(self) -> Tower:
        with self._loading:
            if self._texts is None:
                path = self._folder.path / "textual/model.onnx"
                # Few callers have texts, and mostly one at a time: a call has all cores.
                opened = partial(OnnxRuntimeGraph, path, self._threads, device=self._device)
                self._texts = self._load(path, "text", opened)
            return self._texts

    def _load(self, path: Path, input_name: str, opened: Callable[[], Graph]) -> Tower:
        try:
            graph = opened()
        except Exception as error:  # runtimes raise classes of their own for each kind of damage
            raise ModelFileError(
                f"cannot load the graph `{path}`",
                found=" ".join(str(error).split())[:300],
                hint="the file is damaged or cut short; fetch or export the model again",
            ) from error
        return Tower(graph, path, input_name, self._folder.embedding_dim)

    @cached_property
    def _tokenizer(self) -> TextTokenizer:
        path = self._folder.path / "textual/tokenizer.json"
        return TextTokenizer.from_file(
            path, self._folder.context_length, self._folder.pad_token, clean=self._folder.clean
        )

    def encode_images(self, pixels: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n d"]:
        """Scale, normalize and encode; more than `best_batch_size` images are shared among the cores."""
        self.check_size(pixels)
        step = self.best_batch_size
        if len(pixels) <= step:
            return self._encode_batch(pixels)
        batches = [pixels[start : start + step] for start in range(0, len(pixels), step)]
        return np.concatenate(list(self._pool().map(self._encode_batch, batches)))

    def _encode_batch(self, pixels: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n d"]:
        tower = self._image_tower()
        if tower.dtype == "uint8":  # the graph itself normalizes
            return tower.run(np.ascontiguousarray(pixels))
        with self._normalizer(pixels) as floats:
            return tower.run(floats)

    def _pool(self) -> ThreadPoolExecutor:
        with self._loading:
            if self._threads_of_one_call is None:
                self._threads_of_one_call = ThreadPoolExecutor(self.n_parallel, thread_name_prefix="encode")
            return self._threads_of_one_call

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Tokenize and encode; see `Encoder.encode_texts`."""
        ids = self._tokenizer(texts)
        if len(ids) == 0:
            return np.zeros((0, self._folder.embedding_dim), dtype=np.float32)
        tower = self._text_tower()
        if tower.dtype == "int64":
            ids = ids.astype(np.int64)
        return np.concatenate([tower.run(ids[start : start + TEXT_BATCH]) for start in range(0, len(ids), TEXT_BATCH)])

    def close(self) -> None:
        """Release both graphs, the buffers and the threads; of a call that is under way, what has not begun is cancelled."""
        with self._loading:
            pool, self._threads_of_one_call = self._threads_of_one_call, None
            self._images = self._texts = None
            self._normalizer = Normalizer(self._folder.recipe)
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
