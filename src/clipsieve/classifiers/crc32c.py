"""The checksum of TensorFlow's files: CRC-32C (Castagnoli), RFC 3720 appendix B.4."""

from __future__ import annotations

import numpy as np

__all__ = ["crc32c", "masked_crc32c"]

POLYNOMIAL = 0x82F63B78  # 0x1EDC6F41, bits reversed
MASK_DELTA = 0xA282EAD8


def crc32c(content: bytes) -> int:
    """Return the checksum of bytes, 0 to 2**32 - 1.

    A CRC without its initial value is linear, and zeros in front do not change it. So the bytes are laid out in 2**b rows of
    2**a, zeros first; numpy takes all rows through the table at once; and neighbours are joined in pairs, where the left one
    is carried past the right one's length.

    Examples
    --------
    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    head = bytes(byte ^ 0xFF for byte in content[:4]).ljust(4, b"\xff")  # the initial value, put into the first 4 bytes
    if len(content) < 4:  # too short to hold it
        register = np.array([0xFFFFFFFF], np.uint32)
        for byte in content:
            register = _step(register, np.uint32(byte))
        return int(register[0]) ^ 0xFFFFFFFF
    n_bits = max(len(content) - 1, 1).bit_length()
    a = n_bits // 2
    rows = np.zeros(1 << n_bits, np.uint8)
    rows[-len(content) :] = np.frombuffer(content, np.uint8)
    rows[len(rows) - len(content) : len(rows) - len(content) + 4] = np.frombuffer(head, np.uint8)
    registers = np.zeros(1 << (n_bits - a), np.uint32)
    for column in rows.reshape(len(registers), -1).T:
        registers = _step(registers, column)
    shift = _shift_by(1 << a)
    while len(registers) > 1:
        registers = _apply(shift, registers[::2]) ^ registers[1::2]
        shift = _apply(shift, shift)  # twice the length
    return int(registers[0]) ^ 0xFFFFFFFF


def masked_crc32c(content: bytes) -> int:
    """Return the checksum as TensorFlow stores it: rotated by 15 bits, plus a constant (`tsl/lib/hash/crc32c.h`)."""
    crc = crc32c(content)
    return (((crc >> 15) | (crc << 17)) + MASK_DELTA) & 0xFFFFFFFF


def _table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ np.where(table & np.uint32(1), np.uint32(POLYNOMIAL), np.uint32(0))
    return table


TABLE = _table()


def _step(registers: np.ndarray, column: np.ndarray | np.uint32) -> np.ndarray:
    stepped: np.ndarray = (registers >> np.uint32(8)) ^ TABLE[(registers ^ column) & np.uint32(0xFF)]
    return stepped


def _shift_by(n_zeros: int) -> np.ndarray:
    """Return what n zero bytes (a power of two) make of each of a register's 32 bits."""
    shift = _step(np.uint32(1) << np.arange(32, dtype=np.uint32), np.uint32(0))
    while n_zeros > 1:
        shift, n_zeros = _apply(shift, shift), n_zeros // 2
    return shift


def _apply(shift: np.ndarray, registers: np.ndarray) -> np.ndarray:
    carried = np.zeros_like(registers)
    for bit in range(32):
        carried ^= np.where((registers >> np.uint32(bit)) & np.uint32(1), shift[bit], np.uint32(0))
    return carried
