"""Thrift's compact protocol, as far as the headers of Parquet files use it.

Format: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from typing import Any

__all__ = ["read_struct", "read_varint"]

_MAX_DEPTH = 8


def read_struct(raw: memoryview, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Return the fields of a struct by number, and where it ends; ValueError or IndexError for anything else."""
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
        size, at = read_varint(raw, at)
        return bytes(raw[at : at + size]), at + size
    if kind == 9:
        return _list(raw, at, depth + 1)
    if kind == 12:
        return read_struct(raw, at, depth + 1)
    raise ValueError("a field that no header has")


def _list(raw: memoryview, at: int, depth: int) -> tuple[list[object], int]:
    head, at = raw[at], at + 1
    size, kind = head >> 4, head & 15
    if size == 15:
        size, at = read_varint(raw, at)
    if depth > _MAX_DEPTH or size > len(raw) - at:
        raise ValueError("a list that is too long")
    found = []
    for _ in range(size):
        item, at = (raw[at] == 1, at + 1) if kind in (1, 2) else _value(raw, at, kind, depth)
        found.append(item)
    return found, at


def _integer(raw: memoryview, at: int) -> tuple[int, int]:
    value, at = read_varint(raw, at)
    return (value >> 1) ^ -(value & 1), at


def read_varint(raw: memoryview, at: int) -> tuple[int, int]:
    """Return a number of any length, and where it ends; ValueError or IndexError if it never does."""
    value = shift = 0
    while True:
        octet = raw[at]
        value |= (octet & 127) << shift
        at, shift = at + 1, shift + 7
        if octet < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number that is too long")
