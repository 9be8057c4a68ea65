"""Encoders that run on torch: CLIP and SigLIP models of transformers, on CPU or GPU, and their graphs for ONNX.

The only module that imports transformers, and with `context.py` the only one that imports torch; it needs the torch extra.
"""

from __future__ import annotations

import contextlib
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
from clipsieve.errors import EmbeddingError, ModelFileError, UsageError
from clipsieve.types import EncoderIdentity

__all__ = ["TorchEncoder"]

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TEXT_BATCH = 64
OPSET = 17


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
    ) -> None:
        self.folder = HuggingFaceFolder.open(path)
        self._name = name
        self._location = location
        self._device = _choose_device(device, precision)
        self._precision = precision
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
        side = self.folder.recipe.size_px
        if pixels.shape[1:] != (side, side, 3):
            raise EmbeddingError(
                "the images have another size than the encoder's input",
                expected=f"(n, {side}, {side}, 3)",
                found=str(pixels.shape),
            )
        if len(pixels) == 0:
            return np.zeros((0, self.folder.embedding_dim), dtype=np.float32)
        with torch.inference_mode():
            on_device = torch.tensor(np.ascontiguousarray(pixels), device=self._device)
            return _unit(image_features(self._model, self._normalize(on_device)))

    def _normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        recipe = self.folder.recipe
        mean = torch.tensor(recipe.mean, device=self._device)
        std = torch.tensor(recipe.std, device=self._device)
        scaled = (pixels.float() / 255 - mean) / std
        return scaled.permute(0, 3, 1, 2).contiguous().to(DTYPES[self._precision])

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Tokenize and encode; see `Encoder.encode_texts`."""
        ids = self.folder.tokenizer(texts)
        if len(ids) == 0:
            return np.zeros((0, self.folder.embedding_dim), dtype=np.float32)
        with torch.inference_mode():
            batches = torch.split(torch.tensor(ids, device=self._device), TEXT_BATCH)
            return np.concatenate([_unit(text_features(self._model, batch)) for batch in batches])

    def export_graphs(self, visual_path: Path, textual_path: Path) -> None:
        """Write both towers as ONNX graphs with a free batch side; inputs `image` (float32 NCHW) and `text` (int32)."""
        side = self.folder.recipe.size_px
        ids = torch.from_numpy(self.folder.tokenizer(["a", "b"]))
        _export(_ImageTower(self._model), torch.zeros(2, 3, side, side), visual_path, "image")
        _export(_TextTower(self._model), ids, textual_path, "text")

    def close(self) -> None:
        """Release the weights."""
        self.__dict__.pop("_model", None)


def image_features(model: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Return the image tower's features, before normalization."""
    output: Any = model.get_image_features(pixel_values=image)  # type: ignore[operator]
    features: torch.Tensor = output if isinstance(output, torch.Tensor) else output.pooler_output
    return features


def text_features(model: torch.nn.Module, text: torch.Tensor) -> torch.Tensor:
    """Return the text tower's features, before normalization; padding is part of the input, as it was in training."""
    output: Any = model.get_text_features(input_ids=text.long())  # type: ignore[operator]
    features: torch.Tensor = output if isinstance(output, torch.Tensor) else output.pooler_output
    return features


def _unit(features: torch.Tensor) -> Float32[np.ndarray, "n d"]:
    values = features.float()
    rows: np.ndarray = (values / values.norm(dim=1, keepdim=True)).cpu().numpy()
    return rows


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


class _ImageTower(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image_features(self.model, image)


class _TextTower(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        return text_features(self.model, text)


def _export(tower: torch.nn.Module, example: torch.Tensor, path: Path, name: str) -> None:
    with _quiet():
        torch.onnx.export(
            tower.eval(),
            (example,),
            path,
            input_names=[name],
            output_names=["features"],
            dynamic_axes={name: {0: "n"}, "features": {0: "n"}},
            opset_version=OPSET,
            dynamo=False,  # the tracing exporter needs no further package, and these towers have no branches
        )
