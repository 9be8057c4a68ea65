"""Reads the variables of a TensorFlow SavedModel or checkpoint, without TensorFlow.

Two files: `variables.index`, a sorted table from names to descriptions, and `variables.data-00000-of-00001`, the numbers end to
end (`tensorflow/core/util/tensor_bundle/tensor_bundle.h`, `tensorflow/core/protobuf/tensor_bundle.proto`). The model's graph lies
elsewhere and is not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from clipsieve.classifiers.crc32c import masked_crc32c
from clipsieve.classifiers.sorted_table import Malformed, read_table, varint
from clipsieve.errors import ClassifierFileError

__all__ = ["read_variables"]

MAX_INDEX_BYTES = 16 * 1024**2
MAX_DATA_BYTES = 256 * 1024**2
MAX_AXES = 8
DTYPES = {1: "f4", 2: "f8", 3: "i4", 9: "i8", 14: "bf2", 19: "f2"}  # tensorflow/core/framework/types.proto


@dataclass(frozen=True)
class _Entry:
    """Where one variable lies; `code` is None for a kind that is not read."""

    code: str | None
    shape: tuple[int, ...]
    offset: int
    size: int
    crc: int


def read_variables(index: bytes, data: bytes, *, where: str) -> dict[str, np.ndarray]:
    """Return the numeric variables of a bundle in one part.

    Parameters
    ----------
    index : bytes
        `variables.index`, at most 16 MiB, not compressed.
    data : bytes
        `variables.data-00000-of-00001`, at most 256 MiB.
    where : str
        The file's name, for errors.

    Returns
    -------
    dict of str to array
        By key, in order; copies of native float16, float32, float64, int32 or int64, and float32 for bfloat16. Texts, such
        as the object graph, and other kinds are left out.

    Raises
    ------
    ClassifierFileError
        If the bytes are no such bundle, were cut or changed (all checksums are looked at), or the bundle is in several parts.
    """
    try:
        if len(index) > MAX_INDEX_BYTES or len(data) > MAX_DATA_BYTES:
            raise Malformed("more bytes than such a model has")
        table = read_table(index)
        order = _byte_order(table.pop(b"", b""))
        entries = {_name(key): _entry(value) for key, value in table.items()}
        if sum(entry.size for entry in entries.values()) > len(data):
            raise Malformed("variables that reach beyond the data, or overlap")
        return {name: _array(name, e, data, order) for name, e in entries.items() if e.code is not None}
    except Malformed as error:
        raise ClassifierFileError(
            f"`{where}` holds no variables of TensorFlow that can be read",
            expected="variables.index and variables.data-00000-of-00001, as TensorFlow 2 saves them",
            found=str(error),
        ) from error


def _name(key: bytes) -> str:
    try:
        return key.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("a key that is no text") from error


def _byte_order(header: bytes) -> str:
    numbers = dict(_fields(header))
    if numbers.get(1) != 1:
        raise Malformed(f"a bundle in {_shown(numbers.get(1))} parts")
    return ">" if numbers.get(2) == 1 else "<"


def _entry(content: bytes) -> _Entry:
    fields = list(_fields(content))
    last = dict(fields)  # in protobuf, the last one counts
    if 7 in last:
        raise Malformed("a variable in slices")
    kind, shard, offset, size, crc = (last.get(number, 0) for number in (1, 3, 4, 5, 6))
    shape_proto = last.get(2, b"")
    numbers = [number for number in (kind, shard, offset, size, crc) if isinstance(number, int)]
    if len(numbers) != 5 or not isinstance(shape_proto, bytes) or shard != 0:
        raise Malformed("a variable whose description has another form")
    return _Entry(DTYPES.get(numbers[0]), _shape(shape_proto), numbers[2], numbers[3], numbers[4])


def _shape(content: bytes) -> tuple[int, ...]:
    sides: list[int] = []
    for number, value in _fields(content):
        if number == 2 and isinstance(value, bytes):
            side = dict(_fields(value)).get(1, 0)
            if not isinstance(side, int) or len(sides) >= MAX_AXES:
                raise Malformed("a variable of an unknown shape")
            sides.append(side)
    if math.prod(max(side, 1) for side in sides) >= 2**40:  # also of an empty one: numpy could not hold its strides
        raise Malformed("a variable of an endless shape")
    return tuple(sides)


def _array(name: str, entry: _Entry, data: bytes, order: str) -> np.ndarray:
    code = entry.code or ""
    if math.prod(entry.shape) * int(code[-1]) != entry.size or entry.offset + entry.size > len(data):
        raise Malformed(f"`{name[:80]}` with {entry.size:,} bytes for the shape {entry.shape}")
    content = data[entry.offset : entry.offset + entry.size]
    if masked_crc32c(content) != entry.crc:
        raise Malformed(f"`{name[:80]}` with a wrong checksum")
    if code == "bf2":  # the upper half of a float32
        upper = np.frombuffer(content, order + "u2").astype(np.uint32)
        return (upper << np.uint32(16)).view(np.float32).reshape(entry.shape)
    return np.frombuffer(content, order + code).astype(code).reshape(entry.shape)


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field of a protobuf message; messages within it are bytes."""
    position = 0
    while position < len(content):
        tag, position = varint(content, position)
        if tag & 7 == 0:
            value, position = varint(content, position)
            yield tag >> 3, value
            continue
        if tag & 7 == 2:
            size, position = varint(content, position)
        elif tag & 7 in (1, 5):
            size = 8 if tag & 7 == 1 else 4
        else:
            raise Malformed("a description that is no protobuf message")
        if size > len(content) - position:
            raise Malformed("a description that was cut")
        piece = content[position : position + size]
        position += size
        yield tag >> 3, piece if tag & 7 == 2 else int.from_bytes(piece, "little")


def _shown(value: int | bytes | None) -> str:
    return str(value) if isinstance(value, int) else "an unknown number of"
