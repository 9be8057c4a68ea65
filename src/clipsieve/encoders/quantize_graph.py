"""A float graph, read for quantizing: the products in it that have fixed weights, and what feeds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["FloatGraph", "Product", "fold_constants"]

_INLINE_BYTES = 1024  # larger constants go to a file beside the folded graph, since one of 2 GiB could not be written


@dataclass(frozen=True, slots=True)
class Product:
    """One matrix product or convolution with fixed weights.

    Attributes
    ----------
    name : str
        Of its output in the graph.
    source, weight : str
        The names of its two factors.
    out_axis, in_axis : int
        The axes of the weight that count output and input channels.
    channel_axis : int
        The axis of the source that counts its channels: -1, or 1 for a convolution.
    """

    name: str
    source: str
    weight: str
    out_axis: int
    in_axis: int
    channel_axis: int


def fold_constants(graph: Path, folded: Path) -> None:
    """Write a graph of the same function in which every weight is a plain constant; its weights lie in a file beside it.

    Exporters hide weights behind casts, transposes and names for names.
    """
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC  # standard operators only
    settings.optimized_model_filepath = str(folded)
    external = "session.optimized_model_external_initializers"
    settings.add_session_config_entry(f"{external}_file_name", f"{folded.name}.weights")
    settings.add_session_config_entry(f"{external}_min_size_in_bytes", str(_INLINE_BYTES))
    # That fusion would put the bias into the product, and reshape around it.
    ort.InferenceSession(
        str(graph), settings, providers=["CPUExecutionProvider"], disabled_optimizers=["MatMulAddFusion"]
    )


class FloatGraph:
    """A graph whose constants are folded.

    Parameters
    ----------
    path : Path
        Where :func:`fold_constants` wrote it. Weights are read when they are asked for.
    """

    def __init__(self, path: Path) -> None:
        import onnx

        self._folder = str(path.parent)
        self._model = onnx.load(str(path), load_external_data=False)
        self._tensors = {tensor.name: tensor for tensor in self._model.graph.initializer}
        self._makers = {name: node for node in self._model.graph.node for name in node.output}
        self.products = tuple(found for node in self._model.graph.node if (found := self._product(node)))

    def copy(self) -> ModelProto:
        """Return the graph itself, its large constants left out."""
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        return model

    def array(self, name: str) -> np.ndarray:
        """Return one of the constants."""
        from onnx import numpy_helper

        array: np.ndarray = numpy_helper.to_array(self._tensors[name], base_dir=self._folder)
        return array

    def _product(self, node: NodeProto) -> Product | None:
        from onnx import TensorProto

        if node.op_type not in ("MatMul", "Gemm", "Conv") or node.domain:
            return None
        source, weight = node.input[:2]
        tensor = self._tensors.get(weight)
        # Two activations, as in attention, have no fixed weights; a source that is a constant itself needs no range.
        if tensor is None or tensor.data_type != TensorProto.FLOAT or source in self._tensors:
            return None
        if node.op_type == "Conv":
            return Product(node.output[0], source, weight, 0, 1, 1)
        turned = {attribute.name for attribute in node.attribute if attribute.name.startswith("trans") and attribute.i}
        if len(tensor.dims) != 2 or "transA" in turned:
            return None
        out_axis, in_axis = (0, 1) if "transB" in turned else (1, 0)
        return Product(node.output[0], source, weight, out_axis, in_axis, -1)

    def fed_by_norms(self) -> dict[str, list[Product]]:
        """Return the products that each LayerNorm feeds, by the name of its output, where it feeds nothing else."""
        taken: dict[str, set[str]] = {output.name: {""} for output in self._model.graph.output}
        for node in self._model.graph.node:
            for name in node.input:
                # A node that only asks for the shape does not mind other values.
                taken.setdefault(name, set()).update({node.output[0]} if node.op_type != "Shape" else ())
        by_source: dict[str, list[Product]] = {}
        for product in self.products:
            by_source.setdefault(product.source, []).append(product)
        return {
            source: fed
            for source, fed in by_source.items()
            if self._is_norm(source)
            and taken[source] == {product.name for product in fed}
            and all(product.channel_axis == -1 for product in fed)
        }

    def _is_norm(self, name: str) -> bool:
        node = self._makers.get(name)
        is_norm = node is not None and node.op_type == "LayerNormalization"
        return is_norm and node is not None and all(factor in self._tensors for factor in node.input[1:])

    def write_with_sources(self, path: Path) -> None:
        """Write the same graph, into the same folder, with the sources of all products as further outputs."""
        import onnx

        model = self.copy()
        there = {item.name for item in (*model.graph.output, *model.graph.input)}
        for name in dict.fromkeys(product.source for product in self.products):
            if name not in there:
                model.graph.output.add(name=name)
        onnx.save(model, str(path))
