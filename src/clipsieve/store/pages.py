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
_MOST_ROWS = 2**24  # of larger parts, the general reader has its turn


class PlainRows:
    """Rows of float16 numbers where they lie, in one page after the other; a slice of them is an array of its own.

    So what is worked on block by block comes from the file once, and goes no further than the processor's cache. The file stays
    mapped as long as this lives: it may be replaced or removed meanwhile, and must not be shortened.

    Parameters
    ----------
    stretches : list of uint8 array
        The octets of all rows together; a row may begin in one and end in the next.
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
        self.shape = (sum(map(len, stretches)) // (2 * width), width)

    def __getitem__(self, rows: slice) -> Float16[np.ndarray, "b d"]:
        """Return rows that follow each other; TypeError or ValueError for anything else."""
        if not isinstance(rows, slice):
            raise TypeError(f"rows are taken by a slice, not by {type(rows).__name__}")
        first, end, step = rows.indices(self.shape[0])
        if step != 1:
            raise ValueError("rows are taken one after the other: the step of a slice is 1")
        size = 2 * self.shape[1]
        return self._octets(first * size, max(first, end) * size).view(np.float16).reshape(-1, self.shape[1])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: ANN401, FBT001 - as numpy calls it
        """Return all rows, as `numpy.asarray` asks for them."""
        if copy is False:
            raise ValueError("rows that lie apart come as a copy, or not at all")
        return self[:].astype(dtype or np.float16, copy=False)

    def _octets(self, start: int, stop: int) -> UInt8[np.ndarray, "o"]:
        octets, n = np.empty(stop - start, dtype=np.uint8), 0
        number = int(np.searchsorted(self._ends, start, side="right"))
        while n < len(octets):
            stretch = self._stretches[number]
            begin = start + n - (int(self._ends[number]) - len(stretch))
            some = stretch[begin : begin + len(octets) - n]
            octets[n : n + len(some)] = some
            n, number = n + len(some), number + 1
        return octets


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
    # There is a level for each number, and one for each null row. Whatever else a damaged file says is not taken room for.
    if n_all > _MOST_ROWS or 2 * sum(chunk.n_levels for chunk in chunks) > len(raw) + 2 * n_all:
        return None
    stretches: list[np.ndarray] = []
    missing: list[np.ndarray] = []
    n_octets = n_null = 0
    for chunk in chunks:
        at, left = chunk.offset, chunk.n_levels
        while left > 0:
            start, stop, n_levels, nulls = _page(raw, at, left)
            if stop - start != 2 * (n_levels - len(nulls)):
                return None
            stretches.append(np.frombuffer(raw[start:stop], dtype=np.uint8))
            missing.append(_missing_rows(nulls, n_octets // 2, width) + n_null)
            n_octets, n_null = n_octets + stop - start, n_null + len(nulls)
            at, left = stop, left - n_levels
        if left:
            return None
    if n_octets != 2 * width * (n_all - n_null):
        return None
    present = np.ones(n_all, dtype=bool)
    present[np.concatenate([np.zeros(0, dtype=np.int64), *missing])] = False
    return PlainRows(stretches, width), present


def _missing_rows(nulls: Int64[np.ndarray, "g"], n_before: int, width: int) -> Int64[np.ndarray, "g"]:
    """Return the rows of a page that are null, less the null rows before the page; ValueError if one begins within a row.

    Parameters
    ----------
    nulls : int64 array of shape (g,)
        The places among the levels of the page that say null.
    n_before : int
        Numbers in the pages before.
    width : int
        d.
    """
    n_gone = np.arange(len(nulls))
    numbers_before = n_before + nulls - n_gone
    if (numbers_before % width).any():
        raise ValueError("a null within a row")
    return np.asarray(numbers_before // width + n_gone)


def _page(raw: memoryview, at: int, most_levels: int) -> tuple[int, int, int, Int64[np.ndarray, "g"]]:
    """Return where the numbers of a page begin and end, how many levels it has, and which of them are null.

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
    return start, stop, n_levels, _nulls(raw[at + 4 : start], n_levels)


def _nulls(raw: memoryview, n: int) -> Int64[np.ndarray, "g"]:
    """Return which of n levels of two bits each say null; ValueError if one says anything else but that there is a number.

    They come in runs and in bit-packed groups. A run of numbers costs nothing, however long it is; where many rows are null,
    there are many short groups, which are unpacked together.
    """
    runs: list[np.ndarray] = []
    groups, starts, n_seen, at = [], [], 0, 0
    while n_seen < n:
        head, at = read_varint(raw, at)
        length, is_packed = head >> 1, head & 1
        if is_packed:
            groups.append(raw[at : at + 2 * length])
            starts.append(n_seen)
            at, length = at + 2 * length, min(4 * len(groups[-1]), n - n_seen)  # the last one is filled up
        else:
            level, at = raw[at], at + 1
            if length > n - n_seen or level not in {_NULL, _NUMBER}:
                raise ValueError("a run that is too long, or of rows that are neither whole nor null")
            if level == _NULL:
                runs.append(np.arange(n_seen, n_seen + length))
        if not length:
            raise ValueError("an empty run")
        n_seen += length
    if at != len(raw):
        raise ValueError("more levels than there are numbers")
    return np.sort(np.concatenate([_packed_nulls(groups, starts, n), *runs]))


def _packed_nulls(groups: list[memoryview], starts: list[int], n: int) -> Int64[np.ndarray, "g"]:
    """Return which levels of bit-packed groups say null; each group begins at its start, and none goes on beyond n."""
    octets = np.frombuffer(b"".join(groups), dtype=np.uint8)
    levels = ((octets[:, None] >> np.array([0, 2, 4, 6], dtype=np.uint8)) & 3).reshape(-1)
    sizes = np.array([4 * len(group) for group in groups], dtype=np.int64)
    offsets = np.array(starts, dtype=np.int64) - np.cumsum(sizes) + sizes
    places = np.arange(len(levels)) + np.repeat(offsets, sizes)
    levels, places = levels[places < n], places[places < n]
    if not ((levels == _NULL) | (levels == _NUMBER)).all():
        raise ValueError("rows that are neither whole nor null")
    return np.asarray(places[levels == _NULL])
