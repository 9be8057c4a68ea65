"""Writes the variables of a TensorFlow model as TensorFlow does, for tests: a sorted table in LevelDB's format, and the numbers.

Written from the published format alone (`table_format.txt`, `tensor_bundle.proto`), with a checksum of its own, byte by byte.
"""

import io
import itertools
import struct
import zipfile

import numpy as np
from scipy.special import expit

CODES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}
MAGIC = 0xDB4775248B80FB57


def _bit_by_bit(crc):
    for _ in range(8):
        crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc


TABLE = [_bit_by_bit(byte) for byte in range(256)]


def slow_crc32c(content):
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def masked(content):
    crc = slow_crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value):
    pieces = bytearray()
    while value >= 0x80:
        pieces.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*pieces, value])


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def entry(dtype, shape, offset, size, crc, extra=b""):
    sides = b"".join(field(2, field(1, side)) for side in shape)
    return (
        field(1, dtype) + field(2, sides) + field(4, offset) + field(5, size) + b"\x35" + struct.pack("<I", crc) + extra
    )


def block(pairs, every=16):
    content, restarts, before = bytearray(), [], b""
    for n, (key, value) in enumerate(pairs):
        shared = 0
        if n % every == 0:
            restarts.append(len(content))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    restarts = restarts or [0]
    return bytes(content) + b"".join(struct.pack("<I", r) for r in restarts) + struct.pack("<I", len(restarts))


def sealed(content, kind=0):
    return content + bytes([kind]) + struct.pack("<I", masked(content + bytes([kind])))


def table(pairs, *, per_block=1000, kind=0, blocks=None):
    """Return a table; `blocks` replaces the blocks of entries by any bytes, with true checksums."""
    pairs = list(pairs)
    if blocks is None:
        blocks = [block(pairs[n : n + per_block]) for n in range(0, len(pairs), per_block)]
    content, handles = b"", []
    for n, body in enumerate(blocks):
        handles.append((b"%06d" % n, varint(len(content)) + varint(len(body))))
        content += sealed(body, kind)
    meta = varint(len(content)) + varint(len(block([])))
    content += sealed(block([]))
    index = block(handles, every=1)
    footer = (meta + varint(len(content)) + varint(len(index))).ljust(40, b"\0") + struct.pack("<Q", MAGIC)
    return content + sealed(index) + footer


HEADER = field(1, 1) + field(3, field(1, 1))


def bundle(variables, *, header=HEADER, per_block=1000):
    """Return index and data."""
    data, pairs = b"", {b"": header}
    for name in sorted(variables):
        values = np.asarray(variables[name])
        content = values.tobytes()
        pairs[name.encode()] = entry(CODES[values.dtype.name], values.shape, len(data), len(content), masked(content))
        data += content
    return table(pairs.items(), per_block=per_block), data


def saved_model(variables, root="clip_autokeras_binary_nsfw/"):
    """Return the zip of a SavedModel folder; the graph in it is no graph, since nobody reads it."""
    file = io.BytesIO()
    index, data = bundle(variables)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        if root:
            archive.writestr(root, b"")
        archive.writestr(root + "saved_model.pb", b"\x00" * 40)
        archive.writestr(root + "variables/variables.index", index)
        archive.writestr(root + "variables/variables.data-00000-of-00001", data)
    return file.getvalue()


VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def keras_variables(widths=(12, 6, 16, 8, 1), seed=0):
    rng = np.random.default_rng(seed)
    values = {
        "layer_with_weights-0/mean": rng.normal(size=widths[0]) * 0.1,
        "layer_with_weights-0/variance": rng.uniform(0, 0.2, widths[0]) * (np.arange(widths[0]) != 3),  # one of 0
        "layer_with_weights-0/count": np.int64(1000),
        "layer_with_weights-1/kernel/.OPTIMIZER_SLOT/optimizer/m": np.ones((widths[0], widths[1])),
        "optimizer/iter": np.int64(9),
        "keras_api/metrics/0/total": np.float32(3),
    }
    for n, (i, o) in enumerate(itertools.pairwise(widths), start=1):
        values[f"layer_with_weights-{n}/kernel"] = rng.normal(size=(i, o)) / np.sqrt(i)
        values[f"layer_with_weights-{n}/bias"] = rng.normal(size=o) * 0.1
    return {
        name + VALUE: np.asarray(v, np.int64 if np.asarray(v).dtype == np.int64 else np.float32)
        for name, v in values.items()
    }


def keras_by_hand(variables, rows):
    """Keras's Normalization, Dense, ReLU and sigmoid, as their documentation gives them."""
    v = {name.removesuffix(VALUE): values.astype(np.float64) for name, values in variables.items()}
    x = (rows - v["layer_with_weights-0/mean"]) / np.maximum(np.sqrt(v["layer_with_weights-0/variance"]), 1e-7)
    n_layers = sum(name.endswith("bias") for name in v)
    for n in range(1, n_layers + 1):
        x = x @ v[f"layer_with_weights-{n}/kernel"] + v[f"layer_with_weights-{n}/bias"]
        x = np.maximum(x, 0) if n < n_layers else expit(x)
    return x[:, 0]
