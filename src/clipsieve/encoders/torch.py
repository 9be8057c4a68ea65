"""Encoders that run on torch: CLIP and SigLIP models of transformers, on CPU or GPU, and their graphs for ONNX.

The only module that imports transformers; with `context.py` and the `torch_*` modules beside it the only one that imports torch.
It needs the torch extra.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from jaxtyping import Float32, UInt8

from clipsieve.encoders.base import Encoder
from clipsieve.encoders.folder import hash_files
from clipsieve.encoders.huggingface import HuggingFaceFolder
from clipsieve.encoders.torch_export import export_towers
from clipsieve.encoders.torch_images import ImageTower, text_features, unit_rows
from clipsieve.encoders.torch_tuned import COMPILE_OPTIONS, TunedTower
from clipsieve.errors import ModelFileError, UsageError
from clipsieve.types import EncoderIdentity

__all__ = ["TorchEncoder", "text_features", "visible_gpus"]

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TEXT_BATCH = 64
CPU_BATCH = 16
GPU_CALLS = 3  # one batch computes, one is copied, one is made ready

# Compiling takes half a minute and saves a quarter of the time at best: it pays from some minutes of work on.
COMPILE_FROM_IMAGES = 200_000


class TorchEncoder(Encoder):
    """A CLIP or SigLIP model of transformers, from a local folder with safetensors.

    Parameters
    ----------
    path : Path
        Holds `config.json`, `*.safetensors`, `preprocessor_config.json` and the tokenizer. Nothing in it is run.
    name : str
        For people.
    location : str
        What loads it again.
    device : str, default="auto"
        "auto" takes a GPU if there is one; else "cpu", "cuda" or "cuda:N".
    precision : {"fp32", "fp16", "bf16"}
        Of the weights and activations; the last two need a GPU.
    threads : int, optional
        On a CPU; torch's own choice by default.
    batch_size : int, optional
        Images that the device works on at once; on a GPU found by trying when it is first needed, on a CPU 16. Another number
        changes embeddings by rounding, so a run that goes on should be given the one that it began with.
    compiled : bool, optional
        Whether the layers are compiled on a GPU, about half a minute; by default if :meth:`expect` was told of many images.

    Attributes
    ----------
    folder : HuggingFaceFolder
        What the small files say.

    Raises
    ------
    ModelFileError
        If a file is missing or damaged, or the model is none of CLIP and SigLIP.
    UsageError
        If the device is not there, or cannot do the precision.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        location: str,
        device: str = "auto",
        precision: str = "fp32",
        threads: int | None = None,
        batch_size: int | None = None,
        compiled: bool | None = None,
    ) -> None:
        self.folder = HuggingFaceFolder.open(path)
        self._name = name
        self._location = location
        self._device = _choose_device(device, precision)
        self._precision = precision
        self._batch_size = batch_size
        self._compiled = compiled
        self._n_expected = 0
        self._opening = threading.RLock()
        if threads is not None:
            torch.set_num_threads(threads)

    @cached_property
    def _model(self) -> torch.nn.Module:
        # Weights that are loaded where nothing is recorded could never be differentiated through.
        with _quiet(), torch.inference_mode(mode=False):
            try:
                model, report = transformers.AutoModel.from_pretrained(
                    self.folder.path,
                    local_files_only=True,
                    use_safetensors=True,
                    dtype=DTYPES[self._precision],
                    attn_implementation="sdpa",  # which takes a flash kernel where there is one
                    output_loading_info=True,
                )
            except Exception as error:  # transformers raises nearly everything for a damaged file
                raise ModelFileError(
                    f"cannot load the weights in `{self.folder.path}`", found=" ".join(str(error).split())[:300]
                ) from error
        if report["missing_keys"]:  # transformers would go on with random numbers in their place
            raise ModelFileError(
                f"the weights in `{self.folder.path}` are not whole",
                found="without " + ", ".join(sorted(report["missing_keys"])[:5]),
            )
        loaded: torch.nn.Module = model.eval().requires_grad_(requires_grad=False).to(self._device)
        return loaded

    @property
    def model(self) -> torch.nn.Module:
        """The frozen model itself, for what learns in front of it."""
        return self._model

    @cached_property
    def identity(self) -> EncoderIdentity:
        """What decides the embeddings; hashes the weights once."""
        return EncoderIdentity(
            name=self._name,
            weights_sha256=hash_files(self.folder.path, self.folder.weight_files()),
            preprocessing=self.folder.recipe,
            precision=self._precision,
            embedding_dim=self.folder.embedding_dim,
        )

    @property
    def location(self) -> str:
        """A name, or the absolute path of the folder."""
        return self._location

    @cached_property
    def logit_scale(self) -> float:
        """The exponential of what was learned."""
        return float(self._model.logit_scale.float().exp())  # type: ignore[operator]

    def encode_images(self, pixels: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n d"]:
        """Copy bytes to the device, normalize there and encode; see `Encoder.encode_images`."""
        self.check_size(pixels)
        if len(pixels) == 0:
            return np.zeros((0, self.folder.embedding_dim), dtype=np.float32)
        if self._device.type == "cuda":
            return self._tuned().encode(pixels)
        with torch.inference_mode():
            tower = ImageTower(self._model, self.folder.recipe, DTYPES[self._precision])
            rows: np.ndarray = tower(torch.tensor(np.ascontiguousarray(pixels))).numpy()
            return rows

    @property
    def n_parallel(self) -> int:
        """On a GPU several: while one batch is computed, others are copied. On a CPU one, with torch's own threads."""
        return GPU_CALLS if self._device.type == "cuda" else 1

    @property
    def best_batch_size(self) -> int:
        """The number given; else on a GPU one found by trying, which takes a few seconds the first time, and on a CPU 16."""
        return self._tuned().batch_size if self._device.type == "cuda" else self._batch_size or CPU_BATCH

    @property
    def facts(self) -> dict[str, object]:
        """What was found out of the device and done for it; for measurements."""
        found = self._tuned().facts if self._device.type == "cuda" else {}
        return {"device": str(self._device), "precision": self._precision, **found}

    def expect(self, *, n_images: int | None = None, batch_size: int | None = None) -> None:
        """Tell what comes, so that a GPU can be made ready for it; rows change by rounding only.

        What is ready stays so, unless this asks for another batch or is the first to make compiling worth its time.

        Parameters
        ----------
        n_images : int, optional
            In the whole job; from 200,000 on, compiling pays. All parts of a run should be told the same number.
        batch_size : int, optional
            Images that the device works on at once from now on.
        """
        with self._opening:
            compiled, tuned = self._compiles, self.__dict__.get("_images")
            self._n_expected = self._n_expected if n_images is None else n_images
            if tuned is None:
                self._batch_size = batch_size or self._batch_size
                return
            found = tuned.facts["batch_size"]
            is_same_batch = batch_size in (None, found, self._batch_size)  # perhaps halved since that was asked for
            if is_same_batch and compiled == self._compiles:
                return
            self._batch_size = found if is_same_batch else batch_size
            del self.__dict__["_images"]

    @property
    def _compiles(self) -> bool:
        return self._n_expected >= COMPILE_FROM_IMAGES if self._compiled is None else self._compiled

    def _tuned(self) -> TunedTower:
        with self._opening:  # the first calls may come from several threads at once
            return self._images

    @cached_property
    def _images(self) -> TunedTower:
        tower = ImageTower(self._model, self.folder.recipe, DTYPES[self._precision])
        tower.project_patches()
        tower.as_written()
        return TunedTower(
            tower,
            self._device,
            side_px=self.folder.recipe.size_px,
            dim=self.folder.embedding_dim,
            batch_size=self._batch_size,
            compile_options=COMPILE_OPTIONS if self._compiles else None,
            captured=True,
            n_slots=GPU_CALLS,
        )

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Tokenize and encode; see `Encoder.encode_texts`."""
        ids = self.folder.tokenizer(texts)
        if len(ids) == 0:
            return np.zeros((0, self.folder.embedding_dim), dtype=np.float32)
        with torch.inference_mode():
            batches = torch.split(torch.tensor(ids, device=self._device), TEXT_BATCH)
            rows = [unit_rows(text_features(self._model, batch)).cpu().numpy() for batch in batches]
            return np.concatenate(rows)

    def export_graphs(self, visual_path: Path, textual_path: Path) -> None:
        """Write both towers as ONNX graphs with a free batch side; inputs `image` (float32 NCHW) and `text` (int32)."""
        side = self.folder.recipe.size_px
        ids = torch.from_numpy(self.folder.tokenizer(["a", "b"]))
        with _quiet():
            export_towers(self._model, torch.zeros(2, 3, side, side), ids, visual_path, textual_path)

    def close(self) -> None:
        """Release the weights, and the device's memory."""
        for name in ("_images", "_model"):
            self.__dict__.pop(name, None)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that torch can use: "cuda:0" and so on."""
    return [f"cuda:{index}" for index in range(torch.cuda.device_count())]


def _choose_device(device: str, precision: str) -> torch.device:
    if precision not in DTYPES:
        raise UsageError(f"torch has no precision `{precision}`", expected=", ".join(DTYPES))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"there is no device `{device}`", expected="auto, cpu, cuda or cuda:N") from error
    if chosen.type not in ("cpu", "cuda"):
        raise UsageError(f"the torch backend does not know the device `{device}`", expected="auto, cpu, cuda or cuda:N")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"there is no device `{device}` here", found=f"{torch.cuda.device_count()} GPUs that torch can use"
        )
    if chosen.type == "cpu" and precision != "fp32":
        raise UsageError(f"{precision} needs a GPU", expected="--precision fp32 on a CPU")
    return chosen


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' progress bars and notes from a person's terminal, and give them back afterwards."""
    log: Any = transformers.utils.logging
    level = log.get_verbosity()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(level)
        log.enable_progress_bar()
