"""Reads a sorted table in LevelDB's format, as TensorFlow writes it (`tensorflow/core/lib/io/table_format.txt`)."""

from __future__ import annotations

from collections.abc import Iterator

from clipsieve.classifiers.crc32c import masked_crc32c

__all__ = ["Malformed", "read_table", "varint"]

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
FOOTER_BYTES = 48
TRAILER_BYTES = 5  # of a block: how it is compressed, and a checksum
MAX_ENTRIES = 20_000
MAX_KEY_BYTES = 4096


class Malformed(Exception):  # noqa: N818 - becomes a ClassifierFileError in tf_bundle
    """What is wrong with the bytes, in words."""


def read_table(content: bytes) -> dict[bytes, bytes]:
    """Return all entries of a table, in order.

    Raises
    ------
    Malformed
        If the bytes are no such table, are cut or changed, are compressed, or hold more than 20,000 entries.
    """
    if len(content) < FOOTER_BYTES or content[-8:] != MAGIC:
        raise Malformed("no table of LevelDB's format at all, or one that was cut")
    footer = content[-FOOTER_BYTES:-8]
    _, position = _handle(footer, 0)  # of the metaindex, which TensorFlow leaves empty
    index, _ = _handle(footer, position)
    entries: dict[bytes, bytes] = {}
    seen = 0
    for _, handle in _entries(_block(content, index)):
        block = _block(content, _handle(handle, 0)[0])
        seen += len(block)
        if seen > len(content):
            raise Malformed("blocks that overlap")
        for key, value in _entries(block):
            if key in entries or len(entries) >= MAX_ENTRIES:
                raise Malformed("the same key twice, or more keys than a model has")
            entries[key] = value
    return entries


def varint(content: bytes, position: int) -> tuple[int, int]:
    """Return the number at a position, 0 to 2**64 - 1, 7 bits a byte and the lowest first; and the position behind it."""
    value = 0
    for n in range(10):
        if position + n >= len(content):
            break
        byte = content[position + n]
        value |= (byte & 0x7F) << (7 * n)
        if byte < 0x80:
            return value & (2**64 - 1), position + n + 1
    raise Malformed("a number without an end")


def _handle(content: bytes, position: int) -> tuple[tuple[int, int], int]:
    offset, position = varint(content, position)
    size, position = varint(content, position)
    return (offset, size), position


def _block(content: bytes, handle: tuple[int, int]) -> bytes:
    offset, size = handle
    end = offset + size
    if end + TRAILER_BYTES > len(content) - FOOTER_BYTES:
        raise Malformed("a block that reaches beyond the file")
    if int.from_bytes(content[end + 1 : end + TRAILER_BYTES], "little") != masked_crc32c(content[offset : end + 1]):
        raise Malformed("a block whose checksum is wrong")
    if content[end] != 0:
        raise Malformed("a block that is compressed (snappy), which TensorFlow does not do in its checkpoints")
    return content[offset:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value; a key is given as what it shares with the one before, and the rest."""
    if len(block) < 4:
        raise Malformed("a block without its end")
    end = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")  # restart points serve searching; this reads all
    if end < 0:
        raise Malformed("a block with more restart points than it has room for")
    key, position = b"", 0
    while position < end:
        shared, position = varint(block, position)
        n_rest, position = varint(block, position)
        n_value, position = varint(block, position)
        if shared > len(key) or shared + n_rest > MAX_KEY_BYTES or position + n_rest + n_value > end:
            raise Malformed("an entry that reaches beyond its block")
        key = key[:shared] + block[position : position + n_rest]
        position += n_rest + n_value
        yield key, block[position - n_value : position]
