"""The int8 graph: which products are computed in integers, and with which scales.

A product's weights are rounded to int8 with one scale for each output channel, its source with one fixed scale; a pair of
QuantizeLinear and DequantizeLinear says so, and the runtime computes it in integers. All the rest stays in fp32. That the scales
are fixed means that an image's embedding does not depend on its neighbours in a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int8

from clipsieve.encoders.quantize_graph import FloatGraph, Product
from clipsieve.encoders.quantize_ranges import Ranges

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["VERSION", "Recipe", "int8_graph"]

VERSION = 1  # of all that this module does: another one makes other graphs
SMOOTHING = 0.5  # alpha of the paper: how much of a channel's range goes into the weights
_TINY = np.float32(1e-12)
_PREFIX = "int8/"  # of all names that are added


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to make an int8 graph.

    Attributes
    ----------
    smooth : bool
        Whether the ranges of channels behind a LayerNorm are evened out first.
    fp32_share : float
        The share of products that stay in fp32, those that rounding would hurt most; above 0, at least one.
    """

    smooth: bool
    fp32_share: float


def int8_graph(graph: FloatGraph, ranges: Mapping[str, Ranges], recipe: Recipe) -> ModelProto:
    """Return the int8 graph of a float one.

    Parameters
    ----------
    graph : FloatGraph
        The float one.
    ranges : mapping of str to Ranges
        Of every source of a product.
    recipe : Recipe
        The way.
    """
    factors = _smoothing(graph, ranges) if recipe.smooth else {}
    evened = {name: found.divided(factors[name]) if name in factors else found for name, found in ranges.items()}
    weights = _Weights(graph, factors)
    noise = {product.name: _noise_share(product, weights(product), evened) for product in graph.products}
    n_kept = max(round(recipe.fp32_share * len(noise)), int(recipe.fp32_share > 0))
    kept = set(sorted(noise, key=lambda name: noise[name], reverse=True)[:n_kept])
    return _Writer(graph, evened, weights, factors, kept).write()


def _smoothing(graph: FloatGraph, ranges: Mapping[str, Ranges]) -> dict[str, Float32[np.ndarray, "c"]]:
    """Return what the channels behind each LayerNorm are divided by.

    A few channels of CLIP's towers reach far beyond all others, and one scale for all would round the others away. Dividing such
    a channel in the LayerNorm's own weights, and multiplying the next weights with the same number, changes no output
    and makes both easy to round (Xiao et al. 2022, arXiv:2211.10438, equation 4).
    """
    factors = {}
    for source, fed in graph.fed_by_norms().items():
        reach = np.maximum(-ranges[source].low, ranges[source].high)
        rows = np.max([np.abs(_by_input(graph.array(each.weight), each)).max(axis=1) for each in fed], axis=0)
        found = np.maximum(reach, 1e-5) ** SMOOTHING / np.maximum(rows, 1e-5) ** (1 - SMOOTHING)
        # Only their proportions matter; around 1, no weight leaves the range of floats.
        factors[source] = (found / np.exp(np.log(found).mean())).astype(np.float32)
    return factors


def _by_input(weight: np.ndarray, product: Product) -> Float32[np.ndarray, "c k"]:
    """Return a weight with a row for each input channel; a grouped convolution has fewer of these than its source."""
    return np.moveaxis(weight, product.in_axis, 0).reshape(weight.shape[product.in_axis], -1)


def _along(values: np.ndarray, rank: int, axis: int) -> np.ndarray:
    """Return a vector shaped so that it is multiplied along one axis."""
    return values.reshape([-1 if i == axis else 1 for i in range(rank)])


def _noise_share(product: Product, weight: np.ndarray, ranges: Mapping[str, Ranges]) -> float:
    """Return how large the noise of rounding the source is in the product, against the product itself, squared.

    The rounding of each value is off by step / sqrt(12) in the mean. The signal is taken from mean absolute values, so that a
    few tokens with values far above all others, for which the step was made so large, do not pass for it.
    """
    found = ranges[product.source]
    rows = np.square(_by_input(weight, product)).sum(axis=1)
    step, _ = _step(found)
    sizes = np.square(found.mean_size)
    signal = (sizes * rows).sum() if len(rows) == len(sizes) else sizes.mean() * rows.sum()
    return float(step**2 / 12 * rows.sum() / max(signal, _TINY))


def _step(ranges: Ranges) -> tuple[np.float32, np.ndarray]:
    """Return a source's scale, and its zero point, whose dtype says whether all 256 levels lie above zero."""
    low, high = ranges.low.min(), ranges.high.max()
    if low >= 0:  # behind a ReLU
        return max(high / np.float32(255), _TINY), np.zeros((), dtype=np.uint8)
    # As many levels above as below: with a zero point elsewhere, runtimes were a quarter slower.
    return max(max(-low, high) / np.float32(127), _TINY), np.zeros((), dtype=np.int8)


def _rounded(weight: np.ndarray, out_axis: int) -> tuple[Int8[np.ndarray, "..."], Float32[np.ndarray, "k"]]:
    """Return a weight in int8 and the scale of each output channel."""
    others = tuple(axis for axis in range(weight.ndim) if axis != out_axis)
    scales = np.maximum(np.abs(weight).max(axis=others), _TINY) / np.float32(127)
    return np.rint(weight / _along(scales, weight.ndim, out_axis)).astype(np.int8), scales.astype(np.float32)


class _Weights:
    """The weights of products, with what was taken from the LayerNorm in front of them."""

    def __init__(self, graph: FloatGraph, factors: Mapping[str, np.ndarray]) -> None:
        self._graph, self._factors = graph, factors

    def __call__(self, product: Product) -> np.ndarray:
        weight = self._graph.array(product.weight)
        if product.source not in self._factors:
            return weight
        smoothed: np.ndarray = weight * _along(self._factors[product.source], weight.ndim, product.in_axis)
        return smoothed


class _Writer:
    """Writes the nodes of the float graph anew, with those of the int8 one between them."""

    def __init__(
        self,
        graph: FloatGraph,
        ranges: Mapping[str, Ranges],
        weights: _Weights,
        factors: Mapping[str, np.ndarray],
        kept: set[str],
    ) -> None:
        self._graph, self._ranges, self._weights, self._factors, self._kept = graph, ranges, weights, factors, kept
        self._constants: dict[str, np.ndarray] = {}
        self._nodes: list[NodeProto] = []
        self._rounded_sources: set[str] = set()

    def write(self) -> ModelProto:
        """Return the whole graph, its constants within."""
        from onnx import numpy_helper

        model = self._graph.copy()
        products = {product.name: product for product in self._graph.products}
        for node in model.graph.node:
            if node.output[0] in self._factors:
                self._divide(node)
            elif node.output[0] in products:
                self._write_product(node, products[node.output[0]])
            self._nodes.append(node)
        nodes = [_copied(node) for node in self._nodes]
        used = {name for node in nodes for name in node.input} | {output.name for output in model.graph.output}
        names = [tensor.name for tensor in model.graph.initializer if tensor.name in used]
        constants = {name: self._graph.array(name) for name in names} | self._constants
        del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
        _drop_unused_domains(model)
        return model

    def _divide(self, norm: NodeProto) -> None:
        for place, name in enumerate(norm.input[1:], start=1):
            new = f"{_PREFIX}{norm.output[0]}/{place}"  # LayerNorms may share their weights
            norm.input[place] = self._constant(new, self._graph.array(name) / self._factors[norm.output[0]])

    def _write_product(self, node: NodeProto, product: Product) -> None:
        weight = self._weights(product)
        name = f"{_PREFIX}{product.name}/weight"
        if product.name in self._kept:
            node.input[1] = self._constant(name, weight)
            return
        values, scales = _rounded(weight, product.out_axis)
        zeros = np.zeros(len(scales), dtype=np.int8)
        named = {"values": values, "scale": scales, "zero": zeros}
        parts = [self._constant(f"{name}/{part}", value) for part, value in named.items()]
        self._add("DequantizeLinear", parts, name, product.out_axis)
        node.input[0], node.input[1] = self._rounded_source(product.source), name

    def _rounded_source(self, source: str) -> str:
        name = f"{_PREFIX}{source}"
        if source not in self._rounded_sources:
            self._rounded_sources.add(source)
            step, zero = _step(self._ranges[source])
            scale = [self._constant(f"{name}/scale", np.asarray(step, dtype=np.float32))]
            scale.append(self._constant(f"{name}/zero", zero))
            self._add("QuantizeLinear", [source, *scale], f"{name}/values")
            self._add("DequantizeLinear", [f"{name}/values", *scale], name)
        return name

    def _constant(self, name: str, value: np.ndarray) -> str:
        self._constants[name] = np.ascontiguousarray(value) if value.ndim else value
        return name

    def _add(self, kind: str, inputs: list[str], output: str, axis: int | None = None) -> None:
        from onnx import helper

        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, axis=axis))


def _copied(node: NodeProto) -> NodeProto:
    """Return a node that outlives the list it is taken from."""
    import onnx

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def _drop_unused_domains(model: ModelProto) -> None:
    """Leave out the operator sets that ONNX Runtime names and no node uses: other runtimes may not know them."""
    used = {node.domain for node in model.graph.node} | {""}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    versions = [(entry.domain, entry.version) for entry in kept]
    del model.opset_import[:]
    for domain, version in versions:
        model.opset_import.add(domain=domain, version=version)
