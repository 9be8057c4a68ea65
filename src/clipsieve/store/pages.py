"""The numbers of an embedding column, taken from the pages of a Parquet file as they lie there.

A general reader looks at the levels of every single number; of our own files, they say the same again and again. What is here
reads one layout alone: the one that `write_table` writes, a fixed-size list of float16, plain, uncompressed, in pages of the
first version. Of anything else it returns None, and the general reader has its turn.

Format: https://parquet.apache.org/docs/file-format/ (pages, levels in the RLE/bit-packing hybrid).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float16, Int64, UInt8

from clipsieve.store.thrift import read_struct, read_varint

__all__ = ["PlainRows", "read_plain_embeddings"]

_LEAF = [b"embedding", b"list", b"element"]
_NULL, _NUMBER = 0, 3  # the definition levels of a list that is null, and of a number that is there
_DATA_PAGE, _PLAIN, _RLE = 0, 0, 3
_FIXED_LENGTH, _UNCOMPRESSED = 7, 0


class PlainRows:
    """Rows of float16 numbers where they lie, in one page after the other; those that are asked for are copied.

    So what is worked on block by block comes from the file once, and goes no further than the processor's cache.

    Parameters
    ----------
    stretches : list of uint8 array
        The octets of all rows together; a row may begin in one and end in the next. They keep the file mapped.
    width : int
        d.

    Attributes
    ----------
    shape : tuple of int
        (m, d).
    """

    def __init__(self, stretches: list[np.ndarray], width: int) -> None:
        self._stretches = stretches
        self._ends = np.cumsum([0, *map(len, stretches)])[1:]
        self.shape = (int(self._ends[-1]) // (2 * width) if stretches else 0, width)

    def __getitem__(self, rows: slice) -> Float16[np.ndarray, "b d"]:
        """Return some rows that follow each other, in an array of their own."""
        first, end, _ = rows.indices(self.shape[0])
        at, stop = 2 * self.shape[1] * first, 2 * self.shape[1] * max(first, end)
        octets, n = np.empty(stop - at, dtype=np.uint8), 0
        number = int(np.searchsorted(self._ends, at, side="right"))
        while n < len(octets):
            stretch = self._stretches[number]
            begin = at + n - (int(self._ends[number]) - len(stretch))
            some = stretch[begin : begin + len(octets) - n]
            octets[n : n + len(some)] = some
            n, number = n + len(some), number + 1
        return octets.view(np.float16).reshape(-1, self.shape[1])


def read_plain_embeddings(raw: memoryview, schema: pa.Schema) -> tuple[PlainRows, Bool[np.ndarray, "n"]] | None:
    """Return the embeddings of a part, without decoding.

    Parameters
    ----------
    raw : memoryview
        All bytes of the part.
    schema : pyarrow.Schema
        Of the same part.

    Returns
    -------
    values : PlainRows of shape (m, d)
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
    footer, _ = read_struct(raw, len(raw) - 8 - int.from_bytes(raw[-8:-4], "little"))
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


def _read(raw: memoryview, width: int) -> tuple[PlainRows, Bool[np.ndarray, "n"]] | None:
    n_all, chunks = _chunks(raw)
    if 2 * sum(chunk.n_levels for chunk in chunks) > len(raw) + 2 * n_all:  # a level for each number, and each null row
        return None
    stretches: list[np.ndarray] = []
    missing: list[np.ndarray] = []
    n_octets = n_rows = 0
    for chunk in chunks:
        at, left = chunk.offset, chunk.n_levels
        while left > 0:
            start, stop, n_levels, others = _page(raw, at, left)
            gone = _gone(others, n_octets // 2, width)
            if stop - start != 2 * (n_levels - len(gone)):
                return None
            stretches.append(np.frombuffer(raw[start:stop], dtype=np.uint8))
            missing.append(gone + n_rows)
            n_octets, n_rows = n_octets + stop - start, n_rows + len(gone)
            at, left = stop, left - n_levels
        if left:
            return None
    rows = np.concatenate(missing) if missing else np.zeros(0, dtype=np.int64)
    present = np.ones(n_all, dtype=bool)
    present[rows] = False
    if n_octets != 2 * width * int(present.sum()) or len(rows) + int(present.sum()) != n_all:
        return None
    return PlainRows(stretches, width), present


@dataclass(frozen=True, slots=True)
class _Others:
    """The definition levels of a page that are not those of a number: where they are, and what they say."""

    places: Int64[np.ndarray, "g"]
    levels: UInt8[np.ndarray, "g"]


def _gone(others: _Others, n_before: int, width: int) -> Int64[np.ndarray, "g"]:
    """Return the rows of a page that are null, less the null rows before the page; ValueError if one begins within a row.

    Parameters
    ----------
    others : _Others
        Of the page.
    n_before : int
        Numbers in the pages before.
    width : int
        d.
    """
    n_gone = np.arange(len(others.places))
    numbers_before = n_before + others.places - n_gone
    if (others.levels != _NULL).any() or (numbers_before % width).any():
        raise ValueError("rows that are neither whole nor null")
    return np.asarray(numbers_before // width + n_gone)


def _page(raw: memoryview, at: int, most_levels: int) -> tuple[int, int, int, _Others]:
    """Return where the numbers of a page begin and end, how many levels it has, and those that are no number's.

    ValueError or IndexError if it is no page of the one layout.
    """
    header, at = read_struct(raw, at)
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
    return start, stop, n_levels, _others(raw[at + 4 : start], n_levels)


def _others(raw: memoryview, n: int) -> _Others:
    """Look through n levels of two bits each, in runs and bit-packed groups; a run of numbers costs nothing."""
    places, levels, n_seen, at = [], [], 0, 0
    while n_seen < n:
        head, at = read_varint(raw, at)
        n_packed = 2 * (head >> 1) if head & 1 else 0
        if head & 1:
            packed = np.frombuffer(raw[at : at + n_packed], dtype=np.uint8)
            found = ((packed[:, None] >> np.array([0, 2, 4, 6], dtype=np.uint8)) & 3).reshape(-1)[: n - n_seen]
            n_found, other = len(found), np.flatnonzero(found != _NUMBER)
        else:
            n_found, level = min(head >> 1, n - n_seen), raw[at]
            found, other = np.full(1, level, dtype=np.uint8), np.arange(0 if level == _NUMBER else n_found)
        if not n_found:
            raise ValueError("an empty run")
        if len(other):
            places.append(other + n_seen)
            levels.append(found[other] if head & 1 else np.repeat(found, len(other)))
        at, n_seen = at + (n_packed or 1), n_seen + n_found
    if not places:
        return _Others(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint8))
    return _Others(np.concatenate(places), np.concatenate(levels))
