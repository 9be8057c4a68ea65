"""From the half floats that are stored to the single floats that are computed with."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["single"]

_MANY = 2**18  # numbers for which it pays to hand them over
_FLOAT, _FLOAT16, _INT = 1, 10, 2  # TensorProto.DataType, AttributeProto.AttributeType


def single(values: Float[np.ndarray, "b d"]) -> Float32[np.ndarray, "b d"]:
    """Return float16 or float32 numbers as float32, in an array that is the caller's own; infinities and NaN stay what they are.

    numpy widens half floats one after the other. ONNX Runtime widens as many at once as the processor can, in a third of the
    time; with numpy, this is the dearest step of scoring.
    """
    if values.dtype != np.float16 or values.size < _MANY:
        return values.astype(np.float32)
    widened: np.ndarray = _widening().run(None, {"x": np.ascontiguousarray(values)})[0]
    return widened


@cache
def _widening() -> InferenceSession:
    """Return a model of one step, the cast; it may run in several threads at once, each on its own core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # which would keep the largest block for ever
    options.enable_mem_pattern = False  # which would keep a plan for each length of a block
    options.log_severity_level = 4  # what goes wrong is raised, and said once
    return onnxruntime.InferenceSession(_model(), options, providers=["CPUExecutionProvider"])


def _model() -> bytes:
    """Return the model as ONNX writes it (onnx.proto): 75 bytes, for which no library is needed."""
    to_float = _text(1, "to") + _number(3, _FLOAT) + _number(20, _INT)
    cast = _text(1, "x") + _text(2, "y") + _text(4, "Cast") + _part(5, to_float)
    graph = _part(1, cast) + _text(2, "single") + _part(11, _tensor("x", _FLOAT16)) + _part(12, _tensor("y", _FLOAT))
    return _number(1, 8) + _part(7, graph) + _part(8, _number(2, 17))  # of ONNX 1.12, which every runtime knows


def _tensor(name: str, kind: int) -> bytes:
    shape = _part(1, b"") + _part(1, b"")  # two lengths that are not said
    return _text(1, name) + _part(2, _part(1, _number(1, kind) + _part(2, shape)))


def _text(field: int, text: str) -> bytes:
    return _part(field, text.encode())


def _part(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2, len(content)]) + content


def _number(field: int, value: int) -> bytes:
    return (bytes([field << 3]) if field < 16 else bytes([field << 3 & 127 | 128, field >> 4])) + bytes([value])
