"""Writes files in torch's form without torch, opcode by opcode, so that tests can forge them."""

import io
import struct
import zipfile

import numpy as np


def archive(pickled, storages=(), *, byteorder=b"little", compression=zipfile.ZIP_STORED, extra=()):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as members:
        members.writestr("head/data.pkl", pickled)
        if byteorder is not None:
            members.writestr("head/byteorder", byteorder)
        for n, storage in enumerate(storages):
            members.writestr(f"head/data/{n}", storage)
        for name, content in extra:
            members.writestr(name, content)
    return file.getvalue()


def number(value):
    return b"\x8a\x08" + struct.pack("<q", value) if abs(value) < 2**63 else b"\x8a\x09" + value.to_bytes(9, "little")


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor(size=(2,), stride=(1,), offset=0, n=2, kind="FloatStorage", key="0"):
    storage = b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu") + number(n) + b"tQ"
    numbers = [b"(" + b"".join(map(number, values)) + b"t" for values in (size, stride)]
    empty = b"ccollections\nOrderedDict\n)R"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + b"".join(numbers) + b"\x89" + empty + b"tR"
    )


def state(*tensors, name="w"):
    items = b"".join(text(f"{name}{n}") + described for n, described in enumerate(tensors))
    return b"\x80\x02}(" + items + b"u."


FLOATS = np.array([1.5, -2.5], "<f4").tobytes()
