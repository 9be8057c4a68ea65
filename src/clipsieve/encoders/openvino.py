"""Image towers on OpenVINO: bfloat16 and int8 on a processor that has instructions for them.

The only module that imports openvino; it needs the openvino extra.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from clipsieve.encoders.tower import GraphInput
from clipsieve.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from openvino import Core

__all__ = ["OpenVinoGraph", "require_openvino"]

# What a graph's floats are computed in. An int8 graph says itself which of its products are int8.
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
# The runtime's bindings set themselves up in the first call of a process, and two first calls at once may wait for each other
# for ever.
_FIRST_CALL = Lock()

DTYPES = {"f32": "float32", "u8": "uint8", "i32": "int32", "i64": "int64"}


class OpenVinoGraph:
    """A graph on the CPU, with one stream of one thread for each call at once; see `Graph`.

    Parameters
    ----------
    path : Path
        An ONNX file.
    n_parallel : int
        Calls at once; more than that wait for each other.
    precision : {"fp32", "bf16", "int8"}
        int8 for a graph that is quantized already.
    """

    _has_run: ClassVar[bool] = False  # any of them, in this process

    def __init__(self, path: Path, n_parallel: int, *, precision: str = "fp32") -> None:
        core = _core()
        settings = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "NUM_STREAMS": n_parallel,
            "INFERENCE_NUM_THREADS": n_parallel,
            "ENABLE_CPU_PINNING": False,  # the cores belong to the decoders as well
        }
        # By its name, so that weights which lie beside the file are found.
        self._compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
        # By the file's names: the tensors' own may be gone after what the runtime does to a graph.
        self._ports = {port.get_node().get_friendly_name(): port for port in self._compiled.inputs}
        self._free: deque[Any] = deque()

    @property
    def inputs(self) -> tuple[GraphInput, ...]:
        """All that it takes."""
        return tuple(_describe(name, port) for name, port in self._ports.items())

    def run(self, name: str, batch: np.ndarray) -> np.ndarray:
        """Return the first output for a batch at the named input; see `Graph.run`."""
        if OpenVinoGraph._has_run:
            return self._infer(name, batch)
        with _FIRST_CALL:
            rows = self._infer(name, batch)
            OpenVinoGraph._has_run = True
        return rows

    def _infer(self, name: str, batch: np.ndarray) -> np.ndarray:
        try:
            request = self._free.pop()
        except IndexError:  # all are at work for other threads
            request = self._compiled.create_infer_request()
        try:
            # Without copies on the way in and out: the request lives on, and only the rows leave its memory.
            rows: np.ndarray = request.infer({self._ports[name]: batch}, share_inputs=True, share_outputs=True)[
                0
            ].copy()
        finally:
            self._free.append(request)
        return rows


def _describe(name: str, port: Any) -> GraphInput:  # noqa: ANN401 - a class of the runtime's
    shape = port.get_partial_shape()
    sides = tuple(None if side.is_dynamic else side.get_length() for side in shape) if shape.rank.is_static else ()
    kind = port.get_element_type().get_type_name()
    return GraphInput(name, DTYPES.get(kind, kind), sides)


def require_openvino(precision: str) -> None:
    """Refuse what OpenVINO cannot do on this machine, before anything is loaded.

    Parameters
    ----------
    precision : str
        What is wanted.

    Raises
    ------
    MissingExtraError
        If OpenVINO is not installed.
    UsageError
        If it has no such precision, or the processor has no instructions for it: bfloat16 would be slow, or silently fp32.
    """
    if precision not in HINTS:
        raise UsageError(
            f"OpenVINO has no {precision} on a CPU",
            expected=", ".join(HINTS),
            hint="`--backend torch` has fp16, on a GPU",
        )
    found = [str(name) for name in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")]
    needed = {"bf16": "BF16", "int8": "INT8"}.get(precision)
    if needed is not None and needed not in found:
        raise UsageError(
            f"this processor has no instructions for {precision}",
            expected=f"{needed} among what OpenVINO can use here",
            found=", ".join(found),
            hint="take `--precision fp32`" + (" or `--precision int8`" if "INT8" in found else ""),
        )


def _core() -> Core:
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "OpenVINO is not installed",
            expected="the openvino extra, for bf16 and int8 on a CPU",
            found=f"no module `{error.name}`",
            hint="`pip install 'clipsieve[openvino]'`, or `--precision fp32`",
        ) from error
    return openvino.Core()
