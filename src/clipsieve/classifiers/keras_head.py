"""The layers of LAION's NSFW detectors, from the Keras SavedModel in its zip or from the conversion to torch."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from clipsieve.classifiers.network import Layer
from clipsieve.classifiers.tf_bundle import MAX_DATA_BYTES, MAX_INDEX_BYTES, read_variables
from clipsieve.classifiers.zip_members import ZipMembers

__all__ = ["HeadError", "as_float32", "is_converted", "keras_variables", "nsfw_from_keras", "nsfw_from_torch"]

KERAS_EPSILON = 1e-7  # keras.backend.epsilon(), below which Normalization does not divide
TORCH_EPSILON = 1e-10  # added by the conversion's module
INDEX = "variables/variables.index"
DATA = "variables/variables.data-00000-of-00001"
KEY = re.compile(r"layer_with_weights-(\d{1,4})/([^/]+)/\.ATTRIBUTES/VARIABLE_VALUE")

Parts = tuple[tuple[Layer, ...], np.ndarray, np.ndarray]


class HeadError(Exception):
    """What a file holds instead of the head it should, in words."""


def keras_variables(archive: ZipMembers, *, where: str) -> dict[str, np.ndarray]:
    """Return the variables of the one SavedModel in an archive, in whatever folder it lies.

    Raises
    ------
    HeadError
        If there is none, or there are several.
    ClassifierFileError
        If they cannot be read.
    """
    roots = [
        name[: -len(INDEX)]
        for name in archive.names
        if (name == INDEX or name.endswith("/" + INDEX)) and not name.startswith("__MACOSX/")
    ]
    if len(roots) != 1:
        raise HeadError(f"{len(roots)} SavedModels of TensorFlow")
    index = archive.read(roots[0] + INDEX, max_bytes=MAX_INDEX_BYTES)
    data = archive.read(roots[0] + DATA, max_bytes=MAX_DATA_BYTES)
    return read_variables(index, data, where=where)


def nsfw_from_keras(variables: Mapping[str, np.ndarray]) -> Parts:
    """Return layers, input mean and input scale from the variables of a SavedModel.

    Keras's Normalization computes (x - mean) / max(sqrt(variance), 1e-7). The layers with weights stand in the model's order:
    first the normalization, then the dense ones. What follows each is in the graph, which is not read: ReLU, and a sigmoid at
    the end, in both published detectors (LAION-AI/CLIP-based-NSFW-Detector, src/models.py). The optimizer's state and
    metrics are passed over.

    Raises
    ------
    HeadError
        If the layers are others, such as a batch normalization.
    """
    by_layer: dict[int, dict[str, np.ndarray]] = {}
    for key, values in variables.items():
        if match := KEY.fullmatch(key):
            by_layer.setdefault(int(match[1]), {})[match[2]] = values
    ordered = [by_layer[n] for n in sorted(by_layer)]
    if not ordered or not {"mean", "variance"} <= set(ordered[0]) <= {"mean", "variance", "count"}:
        raise HeadError("no normalization as the first layer with weights")
    if not all(set(layer) == {"kernel", "bias"} for layer in ordered[1:]):
        raise HeadError("layers that are not dense")
    mean, variance = (as_float32(name, ordered[0][name].reshape(-1), 1) for name in ("mean", "variance"))
    scale = np.maximum(_root(variance), np.float32(KERAS_EPSILON))
    return _dense([(layer["kernel"].T, layer["bias"]) for layer in ordered[1:]]), mean, scale


def is_converted(tensors: Mapping[str, np.ndarray]) -> bool:
    """Return whether a state_dict is LAION's own conversion of a detector, by its names."""
    return {"norm.mean", "norm.variance", "linear_1.weight"} <= set(tensors)


def nsfw_from_torch(tensors: Mapping[str, np.ndarray]) -> Parts:
    """Return layers, input mean and input scale from the state_dict of LAION's conversion (`models/*_head.pth`).

    Its module computes (x - mean) / (sqrt(variance) + 1e-10), then `linear_1` to `linear_n`, ReLU between and a sigmoid at the
    end.

    Raises
    ------
    HeadError
        If a layer is missing, or there is something else.
    """
    n_layers = sum(name.endswith(".weight") for name in tensors)
    names = [(f"linear_{n}.weight", f"linear_{n}.bias") for n in range(1, n_layers + 1)]
    if set(tensors) != {"norm.mean", "norm.variance"}.union(*names):
        raise HeadError("tensors of other names")
    mean, variance = (as_float32(name, tensors[name], 1) for name in ("norm.mean", "norm.variance"))
    return _dense([(tensors[w], tensors[b]) for w, b in names]), mean, _root(variance) + np.float32(TORCH_EPSILON)


def as_float32(name: str, values: np.ndarray, n_axes: int) -> np.ndarray:
    """Return floating numbers as float32; HeadError if they are others, not finite, or have other axes."""
    if values.dtype.kind != "f" or values.ndim != n_axes:
        raise HeadError(f"`{name}` of kind {values.dtype} and shape {values.shape}")
    with np.errstate(over="ignore"):
        single: np.ndarray = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(single).all():
        raise HeadError(f"`{name}` with numbers that are not finite")
    return single


def _root(variance: np.ndarray) -> np.ndarray:
    if (variance < 0).any():
        raise HeadError("a variance below 0")
    root: np.ndarray = np.sqrt(variance)
    return root


def _dense(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Layer, ...]:
    if not pairs:
        raise HeadError("no dense layers")
    activations = ["relu"] * (len(pairs) - 1) + ["sigmoid"]
    return tuple(
        Layer(as_float32("a weight", weight, 2), as_float32("a bias", bias, 1), activation)
        for (weight, bias), activation in zip(pairs, activations, strict=True)
    )
