"""From what a person typed to an encoder."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clipsieve.encoders.base import Encoder
from clipsieve.encoders.catalog import EMBEDDED, find_model
from clipsieve.encoders.export import export_folder
from clipsieve.encoders.folder import hash_file
from clipsieve.encoders.hub import fetch, is_hub_id, pinned_folder
from clipsieve.encoders.onnx import OnnxEncoder
from clipsieve.encoders.place import EXPORT_FIRST, Place, check_graphs, find_place, has_graphs
from clipsieve.errors import MissingExtraError, ModelFileError, ModelNotFoundError, UsageError
from clipsieve.types import EncoderIdentity, Preprocessing

if TYPE_CHECKING:
    from clipsieve.encoders.torch import TorchEncoder

__all__ = ["EncoderChoice", "ModelInfo", "backend_of", "export_model", "fetch_model", "load_encoder", "model_info"]

OPENVINO_PRECISIONS = ("bf16", "int8")  # what other backends do not have on a CPU


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of a model on this machine.

    Attributes
    ----------
    identity : EncoderIdentity
        What decides its embeddings.
    path : str
        Where it lies.
    backend : str
        "onnx" or "torch".
    logit_scale : float
        The inverse temperature.
    recipe : Preprocessing
        The way from an image's pixels to what the encoder takes.
    repo, commit : str or None
        Where it was fetched from.
    files : dict of str to str
        The sha256 of each file.
    """

    identity: EncoderIdentity
    path: str
    backend: str
    logit_scale: float
    recipe: Preprocessing
    repo: str | None
    commit: str | None
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class EncoderChoice:
    """Which encoder to load and how, for another process or machine to do it; the fields are what `load_encoder` takes."""

    model: str = EMBEDDED
    backend: str = "auto"
    device: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    batch_size: int | None = None

    def load(self) -> Encoder:
        """Return the encoder; errors as for `load_encoder`."""
        return load_encoder(**{each.name: getattr(self, each.name) for each in fields(self)})


def load_encoder(
    model: str = EMBEDDED,
    *,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "fp32",
    threads: int | None = None,
    batch_size: int | None = None,
) -> Encoder:
    """Return the encoder of a name, a hub id or a folder.

    Parameters
    ----------
    model : str
        "pictogram" (embedded), a name of `clipsieve models list`, a hub id `owner/name`, or a folder. What is not on this
        machine is fetched from the hub once, and pinned.
    backend : {"auto", "onnx", "openvino", "torch"}
        "auto" takes ONNX graphs where the model has them, else torch; ONNX Runtime runs them in fp32, OpenVINO in bf16 and
        int8.
    device : str
        "auto" (a GPU if the torch backend finds one), "cpu", "cuda" or "cuda:N".
    precision : {"fp32", "bf16", "fp16", "int8"}
        Of the image tower, and with torch of the text tower too. bf16 is for OpenVINO on a processor with instructions for
        it, or for torch on a GPU; fp16 for torch on a GPU; int8 for OpenVINO, once the model was quantized. "int8" takes the
        tower that was made last; "int8-" and 12 hex digits, as an encoder's identity has them, that very one.
    threads : int, optional
        Calls of the encoder at once (torch: threads of one call); the cores of this process by default.
    batch_size : int, optional
        Images that the torch backend works on at once, >= 1; on a GPU found by trying by default. The other backends take
        batches of any length, as they come.

    Raises
    ------
    ModelNotFoundError, HubError
        If it is not here and cannot be fetched, or was never quantized.
    ModelFileError
        If a file is missing, damaged, or not the one that was pinned.
    MissingExtraError
        If it needs torch or OpenVINO and that is not installed.
    UsageError
        If backend, device and precision do not go together, or the batch size is below 1.
    """
    if batch_size is not None and batch_size < 1:
        raise UsageError(
            "a batch holds at least one image", expected="a batch size of 1 or more", found=str(batch_size)
        )
    if not re.fullmatch(r"auto|(cpu|cuda)(:\d+)?", device):
        raise UsageError(f"there is no device `{device}`", expected="auto, cpu, cuda or cuda:N")
    place = find_place(model)
    chosen = _choose_backend(place.path, backend, device, precision)
    if chosen == "torch":
        return _load_torch(place, device, precision, threads, batch_size)
    if chosen == "openvino":
        return _load_openvino(place, device, precision, threads)
    if precision != "fp32":
        has = "`--backend openvino` has" if precision in OPENVINO_PRECISIONS else "`--backend torch` has, on a GPU"
        raise UsageError(
            f"ONNX Runtime has no {precision} of its own here", expected="--precision fp32", found=precision, hint=has
        )
    device = "cpu" if device == "auto" else device
    return OnnxEncoder(place.path, name=place.name, location=place.location, threads=threads, device=device)


def backend_of(model: str, backend: str = "auto", device: str = "auto", precision: str = "fp32") -> str:
    """Return which backend `load_encoder` takes; fetches a model that is not here. Errors as for `load_encoder`."""
    return _choose_backend(find_place(model).path, backend, device, precision)


def _choose_backend(path: Path, wanted: str, device: str = "cpu", precision: str = "fp32") -> str:
    if wanted != "auto":
        return wanted
    if has_graphs(path):
        is_openvinos = _kind(precision) in OPENVINO_PRECISIONS and not device.startswith("cuda")
        return "openvino" if is_openvinos else "onnx"
    if not any(path.glob("*.safetensors")):
        raise ModelFileError(
            f"`{path}` holds no model",
            expected="`visual/model.onnx` and `textual/model.onnx`, or `config.json` and `*.safetensors`",
            found=", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "an empty folder",
            hint="pickled weights (.bin, .pt) are not loaded; convert them to safetensors first",
        )
    return "openvino" if _kind(precision) == "int8" else "torch"


def _kind(precision: str) -> str:
    """Return what kind of numbers a precision means: "int8" where it names one of several towers in int8."""
    return "int8" if precision.startswith("int8-") else precision


def _load_openvino(place: Place, device: str, precision: str, threads: int | None) -> OnnxEncoder:
    from clipsieve.encoders.openvino import OpenVinoGraph, require_openvino

    if device.startswith("cuda"):
        raise UsageError(
            f"OpenVINO does not run on `{device}`",
            expected="--device cpu",
            hint="`--backend torch` has bf16 and fp16, on a GPU",
        )
    check_graphs(place)
    kind = _kind(precision)
    require_openvino(kind)
    return OnnxEncoder(
        place.path,
        name=place.name,
        location=place.location,
        threads=threads,
        precision=kind,
        open_image_graph=partial(OpenVinoGraph, precision=kind),
        image_graph=_quantized(place, precision) if kind == "int8" else None,
    )


def _quantized(place: Place, precision: str) -> Path:
    from clipsieve.encoders.quantize_towers import Towers

    towers = Towers(place.path)
    wanted = towers.current if precision == "int8" else precision
    if wanted is None:
        raise ModelNotFoundError(
            f"there is no int8 form of `{place.name}` yet",
            expected="an image tower that was quantized on this machine",
            hint="`clipsieve scan … --precision int8` makes it from the images to scan, `clipsieve models quantize` from others",
        )
    return towers.graph(wanted)


def _load_torch(place: Place, device: str, precision: str, threads: int | None, batch_size: int | None) -> TorchEncoder:
    try:
        from clipsieve.encoders.torch import TorchEncoder
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the torch backend is not installed",
            expected="the torch extra",
            found=f"no module `{error.name}`",
            hint="`pip install 'clipsieve[torch]'`, or a model in ONNX (`clipsieve models list`)",
        ) from error
    try:
        return TorchEncoder(
            place.path,
            name=place.name,
            location=place.location,
            device=device,
            precision=precision,
            threads=threads,
            batch_size=batch_size,
        )
    except UsageError as error:
        if error.hint is None and precision in OPENVINO_PRECISIONS:  # what torch has on GPUs alone
            error.hint = f"on a CPU OpenVINO has {precision}; " + EXPORT_FIRST.format(place.location)
        raise


def model_info(model: str) -> ModelInfo:
    """Return what is known of a model, hashing all of its files; fetches nothing that is here already."""
    place = find_place(model)
    backend = _choose_backend(place.path, "auto")
    with load_encoder(model, device="cpu") as encoder:
        identity, logit_scale, recipe = encoder.identity, encoder.logit_scale, encoder.recipe
    found = sorted(file for file in place.path.rglob("*") if file.is_file() and not file.name.startswith("."))
    files = {file.relative_to(place.path).as_posix(): hash_file(file) for file in found}
    return ModelInfo(identity, str(place.path), backend, logit_scale, recipe, place.repo, place.commit, files)


def fetch_model(model: str, *, revision: str | None = None) -> ModelInfo:
    """Download a model from the hub and pin it, or check that it is still what was pinned; return what is known of it."""
    known = find_model(model)
    repo = known.repo if known and known.repo else model
    if model != EMBEDDED and is_hub_id(repo) and (revision is not None or pinned_folder(repo) is None):
        fetch(repo, revision)
    return model_info(model)


def export_model(model: str, destination: str | Path) -> ModelInfo:
    """Write the ONNX model folder of a CLIP or SigLIP model of transformers.

    Parameters
    ----------
    model : str
        A hub id or a folder with `config.json` and `*.safetensors`.
    destination : str or Path
        A new or empty folder. It appears only once it was checked: features of both formats agree within 1e-3.

    Raises
    ------
    MissingExtraError
        If torch is not installed.
    ModelError
        If the model cannot be loaded or converted, or the destination holds something.
    """
    place = find_place(model)
    encoder = _load_torch(place, "cpu", "fp32", None, None)
    with encoder:
        export_folder(encoder, Path(destination))
    return model_info(os.path.realpath(destination))
