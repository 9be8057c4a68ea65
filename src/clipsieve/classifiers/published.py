"""Heads that others have published, told apart by their content and read without running anything."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clipsieve.classifiers.base import Classifier
from clipsieve.classifiers.imported import import_q16_prompts
from clipsieve.classifiers.keras_head import (
    HeadError,
    as_float32,
    is_converted,
    keras_variables,
    nsfw_from_keras,
    nsfw_from_torch,
)
from clipsieve.classifiers.network import Layer, Network
from clipsieve.classifiers.torch_zip import LEGACY_MAGIC, read_tensors
from clipsieve.classifiers.zip_members import MAX_BYTES, ZipMembers
from clipsieve.errors import ClassifierFileError, UsageError

__all__ = ["KINDS", "read_head"]

KINDS = ("q16", "laion-nsfw", "aesthetic", "unsafe-diffusion")
SOURCES = {
    "laion-nsfw": "LAION-AI/CLIP-based-NSFW-Detector",
    "aesthetic": "LAION-AI/aesthetic-predictor",
    "unsafe-diffusion": "Unsafe Diffusion, arXiv:2305.13873",
}
BATCH_NORM_EPSILON = 1e-5  # torch.nn.BatchNorm1d
UNSAFE_DIFFUSION = frozenset(
    {"0.weight", "0.bias", "3.weight", "3.bias", "3.running_mean", "3.running_var", "4.weight", "4.bias"}
)
CATEGORIES = ("sexual", "violent", "disturbing", "hateful", "political")  # the names of its files

Arrays = Mapping[str, np.ndarray]


def read_head(
    path: str | Path,
    *,
    kind: str = "auto",
    encoder_name: str,
    encoder_weights_sha256: str | None = None,
    embedding_norm: float | None = None,
) -> Classifier:
    """Read a published head.

    Parameters
    ----------
    path : str or Path
        The file as it was published, at most 256 MiB.
    kind : {"auto", "q16", "laion-nsfw", "aesthetic", "unsafe-diffusion"}, default="auto"
        "q16" : `prompts.p`, see `import_q16_prompts`.
        "laion-nsfw" : `clip_autokeras_binary_nsfw.zip` (ViT-L/14) and `clip_autokeras_nsfw_b32.zip` (ViT-B/32), a Keras
        SavedModel in a zip; or `clip_ViT-..._nsfw_head.pth`, their authors' conversion to torch. They were made for unit-norm
        embeddings.
        "aesthetic" : `sa_0_4_vit_l_14_linear.pth` and its siblings, one linear score of unit-norm embeddings. A low score is
        taken as unwanted, with even odds at 5; that is a score and no probability, so fit a calibration.
        "unsafe-diffusion" : one category of the multi-headed classifier of Qu et al. 2023 (arXiv:2305.13873, section 4.1), for
        OpenAI's ViT-L/14. Its authors feed the image tower's output as it is, not at unit norm (`train.py`, `forward`), and
        the head has biases, so the norm matters and unit-norm embeddings cannot give the published numbers. It is refused
        unless `embedding_norm` is given.
        "auto" tells them apart by their content.
    encoder_name : str
        The encoder that it was trained on; the width alone does not tell.
    encoder_weights_sha256 : str, optional
        Of that encoder's weights, where known.
    embedding_norm : float, optional
        For "unsafe-diffusion" alone: the norm that every embedding is multiplied with before the first layer, such as the mean
        norm that the encoder gives before normalization on images like yours. The result is an approximation, and the
        provenance says so.

    Returns
    -------
    Classifier
        `SoftPrompts` for Q16, `Network` for the others; threshold 0.9 for Q16 and 0.5 for the others. The provenance has
        `imported_from`, `kind` and `file_sha256`; for Q16 see there.

    Raises
    ------
    UsageError
        If `kind` is unknown, or `embedding_norm` is given for a head that does not need it, or is not above 0.
    UnsafeFileError
        If a pickle in it holds anything but plain arrays; nothing in it was run.
    ClassifierFileError
        If it cannot be read, is of another kind than said, or its arrays do not fit together.
    """
    path = Path(path)
    if kind not in ("auto", *KINDS):
        raise UsageError(f"unknown kind of head `{kind[:60]}`", expected="auto, " + ", ".join(KINDS))
    content = _read(path)
    made_for: dict[str, Any] = {"encoder_name": encoder_name, "encoder_weights_sha256": encoder_weights_sha256}
    if kind == "q16" or (kind == "auto" and not content.startswith((b"PK", LEGACY_MAGIC))):
        _check_norm("q16", embedding_norm, path)
        return import_q16_prompts(path, **made_for)
    found, arrays = _recognized(content, path, kind)
    _check_norm(found, embedding_norm, path)
    try:
        fields = READERS[found](arrays, path, embedding_norm)
        known = {"imported_from": SOURCES[found], "kind": found, "file_sha256": hashlib.sha256(content).hexdigest()}
        known |= fields.pop("provenance", {})
        return Network(**fields, **made_for, unwanted=(False, True), provenance=known)
    except (HeadError, UsageError) as error:
        raise _refusal(path, found, error.what if isinstance(error, UsageError) else str(error)) from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ClassifierFileError(f"cannot read `{path}`: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise ClassifierFileError(f"`{path}` is too large for a head", expected=f"at most {MAX_BYTES:,} bytes")
    return content


def _recognized(content: bytes, path: Path, kind: str) -> tuple[str, Arrays]:
    """Return the kind of an archive, and the arrays in it."""
    try:
        if content.startswith(LEGACY_MAGIC) or _is_torch(content, path):
            arrays = read_tensors(content, where=str(path))
            found = _kind_of_tensors(arrays)
        else:
            arrays, found = keras_variables(ZipMembers(content, where=str(path)), where=str(path)), "laion-nsfw"
        if kind not in ("auto", found):
            raise HeadError(f"a head of the kind {found}")
    except HeadError as error:
        raise _refusal(path, kind, str(error)) from error
    return found, arrays


def _is_torch(content: bytes, path: Path) -> bool:
    return any(name.endswith("/data.pkl") for name in ZipMembers(content, where=str(path)).names)


def _kind_of_tensors(tensors: Arrays) -> str:
    if is_converted(tensors):
        return "laion-nsfw"
    if set(tensors) >= UNSAFE_DIFFUSION:
        return "unsafe-diffusion"
    if sorted(name.rpartition(".")[2] for name in tensors) == ["bias", "weight"]:
        return "aesthetic"
    raise HeadError(f"tensors of other names: {', '.join(sorted(tensors))[:80]}")


def _check_norm(kind: str, embedding_norm: float | None, path: Path) -> None:
    if embedding_norm is not None and kind != "unsafe-diffusion":
        raise UsageError(f"a head of the kind {kind} takes unit-norm embeddings, and no embedding norm")
    if embedding_norm is not None and not 0 < embedding_norm <= 1e6:
        raise UsageError("an embedding norm is a finite number above 0", found=f"{embedding_norm}")
    if embedding_norm is None and kind == "unsafe-diffusion":
        raise ClassifierFileError(
            f"`{path}` was trained on embeddings that are not unit norm",
            expected="a head for unit-norm embeddings",
            found="a head of Unsafe Diffusion, whose authors feed the image tower's output as it is",
            hint="give the mean norm of your encoder's output as the embedding norm, for an approximation of their numbers",
        )


def _nsfw(arrays: Arrays, path: Path, embedding_norm: float | None) -> dict[str, Any]:  # noqa: ARG001 - one signature
    layers, mean, scale = (nsfw_from_torch if is_converted(arrays) else nsfw_from_keras)(arrays)
    return {"layers": layers, "input_mean": mean, "input_scale": scale, "class_names": ("safe", "nsfw")}


def _aesthetic(arrays: Arrays, path: Path, embedding_norm: float | None) -> dict[str, Any]:  # noqa: ARG001 - same
    by_part = {name.rpartition(".")[2]: values for name, values in arrays.items()}
    layer = Layer(as_float32("weight", by_part["weight"], 2), as_float32("bias", by_part["bias"], 1), "linear")
    score = "low is unwanted, even odds at 5; a score, not a probability"
    return {"layers": (layer,), "class_names": ("high score", "low score"), "provenance": {"score": score}}


def _unsafe_diffusion(arrays: Arrays, path: Path, embedding_norm: float | None) -> dict[str, Any]:
    """Return Linear, ReLU, BatchNorm1d, Linear, sigmoid, with the batch normalization folded into the last layer.

    It computes gamma (h - mean) / sqrt(variance + 1e-5) + beta (Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 2), which
    is affine: its slope goes into the next weight, the rest into the next bias.
    """
    if set(arrays) - UNSAFE_DIFFUSION - {"3.num_batches_tracked"}:
        raise HeadError("more tensors than its layers have")
    parts = {
        name: as_float32(name, arrays[name], 2 if name in ("0.weight", "4.weight") else 1).astype(np.float64)
        for name in UNSAFE_DIFFUSION
    }
    norm = parts["3.running_mean"].shape
    if not norm == parts["3.running_var"].shape == parts["3.weight"].shape == parts["3.bias"].shape:
        raise HeadError("a batch normalization of several widths")
    if norm != parts["4.weight"].shape[1:] or norm != parts["0.weight"].shape[:1]:
        raise HeadError("layers that do not fit each other")
    if (parts["3.running_var"] < 0).any():
        raise HeadError("a variance below 0")
    slope = parts["3.weight"] / np.sqrt(parts["3.running_var"] + BATCH_NORM_EPSILON)
    offset = parts["4.weight"] @ (parts["3.bias"] - parts["3.running_mean"] * slope)
    first = _layer(parts["0.weight"] * (embedding_norm or 1.0), parts["0.bias"], "relu")
    last = _layer(parts["4.weight"] * slope, parts["4.bias"] + offset, "sigmoid")
    category = path.stem.removesuffix("_head")
    note = "the authors feed embeddings that are not unit norm; here each has the norm given, an approximation"
    known = {"embedding_norm": embedding_norm, "note": note}
    known |= {"category": category} if category in CATEGORIES else {}
    return {"layers": (first, last), "class_names": ("safe", "unsafe"), "provenance": known}


def _layer(weight: np.ndarray, bias: np.ndarray, activation: str) -> Layer:
    if bias.ndim != 1 or len(bias) != len(weight):
        raise HeadError("a bias of another width than its weight")
    return Layer(as_float32("a weight", weight, 2), as_float32("a bias", bias, 1), activation)


def _refusal(path: Path, kind: str, found: str) -> ClassifierFileError:
    return ClassifierFileError(
        f"`{path}` is no published head that can be read",
        expected="a file of " + (", ".join(KINDS) if kind == "auto" else f"the kind {kind}"),
        found=found,
        hint="give the file as it was published",
    )


READERS: dict[str, Callable[[Arrays, Path, float | None], dict[str, Any]]] = {
    "laion-nsfw": _nsfw,
    "aesthetic": _aesthetic,
    "unsafe-diffusion": _unsafe_diffusion,
}
