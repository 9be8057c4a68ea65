"""Classifiers that are a small feed-forward network on top of the embedding, as others have published them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32

from clipsieve.classifiers.base import Classifier
from clipsieve.classifiers.calibration import Calibration
from clipsieve.classifiers.similarity import check_unit_norm
from clipsieve.errors import UsageError

__all__ = ["Layer", "Network"]

HIDDEN = ("linear", "relu")
OUTPUT = ("linear", "sigmoid", "softmax")
MAX_LAYERS = 16
LARGEST = 1e9  # of a weight: with 16 layers, no sum can leave float64
SMALLEST_SCALE = 1e-12
LOGIT_LIMIT = 1e6  # beyond, every probability is 0 or 1, and float32 would overflow
CHUNK = 8192  # rows at a time, so that hidden layers need little memory


@dataclass(frozen=True, eq=False)
class Layer:
    """An affine map and what follows it: activation(weight @ x + bias).

    Parameters
    ----------
    weight : float32 array of shape (o, i)
        As in torch; Keras keeps the transpose.
    bias : float32 array of shape (o,)
        Both finite, and at most 1e9.
    activation : {"linear", "relu", "sigmoid", "softmax"}
        "linear" and "relu" within a network; at its end, see `Network`.

    Raises
    ------
    UsageError
        If shapes, dtypes or values are others.
    """

    weight: np.ndarray  # checked below, since these come from files
    bias: np.ndarray
    activation: str

    def __post_init__(self) -> None:
        _check("a layer's weight", self.weight, 2)
        _check("a layer's bias", self.bias, 1)
        if len(self.bias) != len(self.weight) or 0 in self.weight.shape:
            raise UsageError(f"a layer has a weight of shape {self.weight.shape} and a bias of shape {self.bias.shape}")
        if self.activation not in (*HIDDEN, *OUTPUT):
            raise UsageError("a layer has an unknown activation", found=f"{self.activation!r:.60}")


@dataclass(frozen=True, eq=False)
class Network(Classifier):
    """A feed-forward head on unit-norm embeddings.

    Parameters
    ----------
    layers : tuple of Layer
        1 to 16. All but the last have the activation "linear" or "relu". The last one's activation says what its output is:

        "sigmoid", one output z
            The published probability of the unwanted class is sigmoid(z). Logits are (0, z), whose softmax is the same.
        "softmax", k outputs
            The logits are the outputs before the softmax.
        "linear", one output s
            A score, where low is unwanted. Logits are (0, midpoint - s): they order the images as the score does, but their
            softmax is no probability that anyone measured. Fit a calibration before it is read as one.
    class_names : tuple of str
        k distinct names; two, the wanted one first, where there is one output.
    unwanted : tuple of bool
        k flags, neither all nor none set; (False, True) where there is one output.
    encoder_name, encoder_weights_sha256 : str, str or None
        What it was made for.
    logit_scale : float, default=1.0
        Always 1: a network has its scale within.
    threshold : float, default=0.5
        Operating point on the unwanted probability, 0-1.
    provenance : dict, optional
        Whatever else is known, as JSON.
    calibration : Calibration, optional
        See `Classifier`.
    remove_threshold : float, optional
        See `Classifier`.
    input_mean, input_scale : float32 arrays of shape (d,), or None, default=None
        The first layer sees (x - mean) / scale, element by element; scale >= 1e-12.
    score_midpoint : float, default=5.0
        The score with even odds, for a last activation of "linear". 5 is near the middle of ratings from 1 to 10.

    Raises
    ------
    UsageError
        If the parts do not fit together.
    """

    method: ClassVar[str] = "network"

    layers: tuple[Layer, ...]
    class_names: tuple[str, ...]
    unwanted: tuple[bool, ...]
    encoder_name: str
    encoder_weights_sha256: str | None = None
    logit_scale: float = 1.0
    threshold: float = 0.5
    provenance: dict[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    remove_threshold: float | None = None
    input_mean: np.ndarray | None = None
    input_scale: np.ndarray | None = None
    score_midpoint: float = 5.0

    def __post_init__(self) -> None:
        self._check_layers()
        self._check_classes()
        self._check_input()
        if self.logit_scale != 1:
            raise UsageError("a network's logit scale is 1")
        if not abs(self.score_midpoint) <= LOGIT_LIMIT:
            raise UsageError("a score's midpoint is a finite number")

    def _check_layers(self) -> None:
        if not 1 <= len(self.layers) <= MAX_LAYERS:
            raise UsageError(f"a network has 1 to {MAX_LAYERS} layers", found=str(len(self.layers)))
        if not all(layer.activation in HIDDEN for layer in self.layers[:-1]) or self._output not in OUTPUT:
            raise UsageError("a network's layers end in activations that do not belong there")
        for before, layer in zip(self.layers, self.layers[1:], strict=False):
            if layer.weight.shape[1] != len(before.bias):
                raise UsageError(
                    "a network's layers do not fit each other",
                    expected=f"a layer that takes {len(before.bias)} numbers",
                    found=f"one that takes {layer.weight.shape[1]}",
                )

    def _check_classes(self) -> None:
        k, n_outputs = len(self.class_names), len(self.layers[-1].bias)
        if (self._output == "softmax") != (n_outputs > 1) or k != max(n_outputs, 2):
            raise UsageError(f"a network has {n_outputs} outputs with {self._output} for {k} classes")
        self._check_common(k)
        if n_outputs == 1 and self.unwanted != (False, True):
            raise UsageError("a network with one output names the wanted class first")

    def _check_input(self) -> None:
        if (self.input_mean is None) != (self.input_scale is None):
            raise UsageError("a network's input has a mean without a scale, or a scale without a mean")
        for what, values in (("mean", self.input_mean), ("scale", self.input_scale)):
            if values is not None:
                _check(f"the input's {what}", values, 1)
                if len(values) != self.embedding_dim:
                    raise UsageError(f"the input's {what} has another width than the first layer")
        if self.input_scale is not None and not (self.input_scale >= SMALLEST_SCALE).all():
            raise UsageError("the input's scale is not above 0 throughout")

    @property
    def _output(self) -> str:
        return self.layers[-1].activation

    @property
    def embedding_dim(self) -> int:
        """The width d."""
        return int(self.layers[0].weight.shape[1])

    def logits(self, embeddings: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n k"]:
        """Return the logits, summed in float64 so that a row does not depend on its batch; within +-1e6."""
        check_unit_norm(embeddings, self.embedding_dim)
        outputs = np.empty((len(embeddings), len(self.layers[-1].bias)))
        for start in range(0, len(embeddings), CHUNK):
            outputs[start : start + CHUNK] = self._forward(embeddings[start : start + CHUNK].astype(np.float64))
        if self._output == "linear":
            outputs = self.score_midpoint - outputs
        if outputs.shape[1] == 1:
            outputs = np.hstack([np.zeros_like(outputs), outputs])
        limited: np.ndarray = np.clip(outputs, -LOGIT_LIMIT, LOGIT_LIMIT).astype(np.float32)
        return limited

    def _forward(self, rows: np.ndarray) -> np.ndarray:
        if self.input_mean is not None and self.input_scale is not None:
            rows = (rows - self.input_mean) / self.input_scale
        for layer in self.layers:
            rows = rows @ layer.weight.T.astype(np.float64) + layer.bias
            if layer.activation == "relu":
                rows = np.maximum(rows, 0)
        return rows

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by name: `layer0.weight`, `layer0.bias` and so on, `input_mean`, `input_scale`."""
        named = {
            f"layer{n}.{part}": np.ascontiguousarray(values)
            for n, layer in enumerate(self.layers)
            for part, values in (("weight", layer.weight), ("bias", layer.bias))
        }
        if self.input_mean is not None and self.input_scale is not None:
            named |= {"input_mean": self.input_mean, "input_scale": self.input_scale}
        return named

    def parameters(self) -> dict[str, Any]:
        """Return what the arrays do not tell, as JSON: the activations, and a score's midpoint."""
        return {
            "activations": [layer.activation for layer in self.layers],
            "score_midpoint": float(self.score_midpoint),
        }

    @classmethod
    def from_parts(
        cls, arrays: Mapping[str, np.ndarray], parameters: Mapping[str, Any], common: Mapping[str, Any]
    ) -> Network:
        """Return the network that `arrays` and `parameters` describe.

        Parameters
        ----------
        arrays, parameters : mapping
            As the methods of the same names return them.
        common : mapping
            What every classifier has: `class_names`, `unwanted`, `encoder_name` and so on, by field.

        Raises
        ------
        UsageError, ValueError
            If a part is missing, one is there that does not belong, or they do not fit together.
        """
        activations, midpoint = parameters.get("activations"), parameters.get("score_midpoint", 5.0)
        if not isinstance(activations, list) or not all(isinstance(word, str) for word in activations):
            raise UsageError("a network needs the list of its activations")
        if type(midpoint) not in (int, float) or not set(parameters) <= {"activations", "score_midpoint"}:
            raise UsageError("a network's parameters are not those that are known")
        names = {f"layer{n}.{part}" for n in range(len(activations)) for part in ("weight", "bias")}
        if set(arrays) - {"input_mean", "input_scale"} != names:
            raise UsageError("a network's arrays are not those of its layers", found=f"{sorted(arrays)!r:.80}")
        layers = tuple(
            Layer(arrays[f"layer{n}.weight"], arrays[f"layer{n}.bias"], word) for n, word in enumerate(activations)
        )
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in common.items()
        }
        given |= {name: arrays[name] for name in ("input_mean", "input_scale") if name in arrays}
        try:
            return cls(layers=layers, score_midpoint=float(midpoint), **given)
        except TypeError as error:
            raise ValueError(f"a network has other fields: {error}") from error


def _check(what: str, values: np.ndarray, n_axes: int) -> None:
    if values.dtype != np.float32 or values.ndim != n_axes:
        raise UsageError(f"{what} is no float32 array with {n_axes} axes", found=f"{values.dtype} {values.shape}")
    if not (np.abs(values) <= LARGEST).all():  # so written, NaN is refused as well
        raise UsageError(f"{what} holds a number that is not finite, or too large")
