"""The numbers of an embedding column, taken from the pages of a Parquet file as they lie there.

A general reader looks at the levels of every single number; of our own files, they say the same again and again. What is here
reads one layout alone: the one that `write_table` writes, a fixed-size list of float16, plain, uncompressed, in pages of the
first version. Of anything else it returns None, and the general reader has its turn.

Format: https://parquet.apache.org/docs/file-format/ (pages, levels in the RLE/bit-packing hybrid, Thrift's compact protocol).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float16, UInt8

__all__ = ["read_plain_embeddings"]

_LEAF = [b"embedding", b"list", b"element"]
_NULL, _NUMBER = 0, 3  # the definition levels of a list that is null, and of a number that is there
_DATA_PAGE, _PLAIN, _RLE = 0, 0, 3
_FIXED_LENGTH, _UNCOMPRESSED = 7, 0
_MAX_DEPTH = 8


def read_plain_embeddings(
    raw: memoryview, schema: pa.Schema
) -> tuple[Float16[np.ndarray, "m d"], Bool[np.ndarray, "n"]] | None:
    """Return the embeddings of a part, without decoding.

    Parameters
    ----------
    raw : memoryview
        All bytes of the part.
    schema : pyarrow.Schema
        Of the same part.

    Returns
    -------
    values : float16 array of shape (m, d)
        Of the m rows that are not null, as they are stored.
    present : bool array of shape (n,)
        Which rows these are.

    None if the file is laid out in another way, or so damaged that the numbers cannot be found: what is wrong with it, the
    general reader finds and says. Damage that leaves the numbers as they are is passed over, such as in the repetition
    levels, which say the same in every file.
    """
    field = schema.field("embedding")
    kind = field.type
    if not (pa.types.is_fixed_size_list(kind) and kind.value_type == pa.float16() and kind.list_size > 0):
        return None
    if not (field.nullable and kind.value_field.nullable):  # else the levels are fewer
        return None
    try:
        return _read(raw, kind.list_size)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class _Chunk:
    """The numbers of one row group."""

    offset: int
    n_levels: int


def _chunks(raw: memoryview) -> tuple[int, list[_Chunk]]:
    """Return the number of rows, and where the numbers lie; ValueError if they are not plain.

    The footer is read here and not by pyarrow, which ends the process at some of the damage that a footer can have.
    """
    if len(raw) < 12 or bytes(raw[-4:]) != b"PAR1":
        raise ValueError("no Parquet file")
    footer, _ = _struct(raw, len(raw) - 8 - int.from_bytes(raw[-8:-4], "little"))
    found = []
    for group in _items(footer[4]):
        (chunk,) = (column[3] for column in _items(group[1]) if column[3][3] == _LEAF)
        if (chunk[1], chunk[4]) != (_FIXED_LENGTH, _UNCOMPRESSED) or 11 in chunk:
            raise ValueError("another layout")
        found.append(_Chunk(_number(chunk[9]), _number(chunk[5])))
    return _number(footer[3]), found


def _items(value: Any) -> list[dict[int, Any]]:  # noqa: ANN401 - whatever the file says
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise TypeError("not a list of structs")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**40:
        raise ValueError("no number that makes sense")
    return value


def _read(raw: memoryview, width: int) -> tuple[Float16[np.ndarray, "m d"], Bool[np.ndarray, "n"]] | None:
    n_all, chunks = _chunks(raw)
    if 2 * sum(chunk.n_levels for chunk in chunks) > len(raw) + 2 * n_all:  # a level for each number, and each null row
        return None
    values = np.empty(sum(chunk.n_levels for chunk in chunks), dtype=np.float16)
    octets, n_octets, n_rows = values.view(np.uint8), 0, 0
    missing: list[np.ndarray] = []
    for chunk in chunks:
        at, left = chunk.offset, chunk.n_levels
        while left > 0:
            start, stop, n_levels, levels = _page(raw, at, left)
            # `levels` is None where every number of the page is there.
            gone = np.zeros(0, dtype=np.int64) if levels is None else _gone(levels, n_octets // 2, width)
            if stop - start != 2 * (n_levels - len(gone)):
                return None
            octets[n_octets : n_octets + stop - start] = np.frombuffer(raw[start:stop], dtype=np.uint8)
            missing.append(gone + n_rows)
            n_octets, n_rows = n_octets + stop - start, n_rows + len(gone)
            at, left = stop, left - n_levels
        if left:
            return None
    rows = np.concatenate(missing) if missing else np.zeros(0, dtype=np.int64)
    present = np.ones(n_all, dtype=bool)
    present[rows] = False
    n_there = n_octets // 2
    if n_there != width * int(present.sum()) or len(rows) + int(present.sum()) != n_all:
        return None
    return values[:n_there].reshape(-1, width), present


def _gone(levels: UInt8[np.ndarray, "v"], n_before: int, width: int) -> np.ndarray:
    """Return the rows of a page that are null, less the null rows before the page; ValueError if one begins within a row.

    Parameters
    ----------
    levels : uint8 array of shape (v,)
        The definition levels of the page.
    n_before : int
        Numbers in the pages before.
    width : int
        d.
    """
    places = np.flatnonzero(levels != _NUMBER)
    numbers_before = n_before + places - np.arange(len(places))
    if (levels[places] != _NULL).any() or (numbers_before % width).any():
        raise ValueError("rows that are neither whole nor null")
    return np.asarray(numbers_before // width + np.arange(len(places)))


def _page(raw: memoryview, at: int, most_levels: int) -> tuple[int, int, int, UInt8[np.ndarray, "v"] | None]:
    """Return where the numbers of a page begin and end, how many levels it has, and these unless all say the same.

    ValueError or IndexError if it is no page of the one layout.
    """
    header, at = _struct(raw, at)
    data = header.get(5)
    if header.get(1) != _DATA_PAGE or not isinstance(data, dict) or header.get(2) != header.get(3):
        raise ValueError("not a plain page")
    if (data.get(2), data.get(3), data.get(4)) != (_PLAIN, _RLE, _RLE):
        raise ValueError("another encoding")
    n_octets, n_levels = header[3], data[1]
    if not (isinstance(n_octets, int) and isinstance(n_levels, int)) or not 0 < n_levels <= most_levels or n_octets < 1:
        raise ValueError("an empty page, or one of more numbers than there are")
    stop = at + n_octets
    at += 4 + int.from_bytes(raw[at : at + 4], "little")  # where a list begins: every `width` numbers
    size = int.from_bytes(raw[at : at + 4], "little")
    start = at + 4 + size
    if not start <= stop <= len(raw):
        raise ValueError("cut short")
    return start, stop, n_levels, _levels(raw[at + 4 : start], n_levels)


def _levels(raw: memoryview, n: int) -> UInt8[np.ndarray, "v"] | None:
    """Return n levels of two bits each, from runs and bit-packed groups; None if one run says that all numbers are there."""
    found, n_found, at = [], 0, 0
    while n_found < n:
        head, at = _varint(raw, at)
        if head & 1:
            packed = np.frombuffer(raw[at : at + 2 * (head >> 1)], dtype=np.uint8)
            found.append(((packed[:, None] >> np.array([0, 2, 4, 6], dtype=np.uint8)) & 3).reshape(-1))
            at += 2 * (head >> 1)
        else:
            level = raw[at]
            if level == _NUMBER and head >> 1 == n:
                return None
            found.append(np.full(min(head >> 1, n - n_found), level, dtype=np.uint8))
            at += 1
        if not len(found[-1]):
            raise ValueError("an empty run")
        n_found += len(found[-1])
    return np.concatenate(found)[:n]


def _struct(raw: memoryview, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Return the fields of a Thrift struct by number, and where it ends."""
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    fields: dict[int, Any] = {}
    number = 0
    while head := raw[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(raw, at)
        fields[number], at = _value(raw, at, head & 15, depth)
    return fields, at + 1


def _value(raw: memoryview, at: int, kind: int, depth: int) -> tuple[object, int]:
    if kind in (1, 2):
        return kind == 1, at
    if kind in (4, 5, 6):
        return _integer(raw, at)
    if kind == 3:
        return raw[at], at + 1
    if kind == 7:
        return None, at + 8
    if kind == 8:
        size, at = _varint(raw, at)
        return bytes(raw[at : at + size]), at + size
    if kind == 9:
        return _list(raw, at, depth + 1)
    if kind == 12:
        return _struct(raw, at, depth + 1)
    raise ValueError("a field that no header has")


def _list(raw: memoryview, at: int, depth: int) -> tuple[list[object], int]:
    head, at = raw[at], at + 1
    size, kind = head >> 4, head & 15
    if size == 15:
        size, at = _varint(raw, at)
    if depth > _MAX_DEPTH or size > len(raw) - at:
        raise ValueError("a list that is too long")
    found = []
    for _ in range(size):
        item, at = (raw[at] == 1, at + 1) if kind in (1, 2) else _value(raw, at, kind, depth)
        found.append(item)
    return found, at


def _integer(raw: memoryview, at: int) -> tuple[int, int]:
    value, at = _varint(raw, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(raw: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        octet = raw[at]
        value |= (octet & 127) << shift
        at, shift = at + 1, shift + 7
        if octet < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number that is too long")
