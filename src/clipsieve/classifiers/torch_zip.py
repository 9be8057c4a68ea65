"""Reads the tensors out of a file that `torch.save` wrote, without torch and without unpickling.

Such a file is a zip archive: `data.pkl` describes the tensors, `data/0`, `data/1` and so on are the numbers, and `byteorder`
says how they lie. The description is followed by `torch_pickle`, which runs nothing.
"""

from __future__ import annotations

import math

import numpy as np

from clipsieve.classifiers.torch_pickle import Refused, TensorView, follow
from clipsieve.classifiers.zip_members import MAX_BYTES, ZipMembers
from clipsieve.errors import ClassifierFileError, UnsafeFileError

__all__ = ["read_tensors"]

MAX_PICKLE_BYTES = 16 * 1024**2
MAX_TENSORS = 4096
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # what torch wrote before its version 1.6


def read_tensors(content: bytes, *, where: str) -> dict[str, np.ndarray]:
    """Return the named tensors of a checkpoint.

    Parameters
    ----------
    content : bytes
        The whole file, at most 256 MiB: `torch.save` of a state_dict, alone or below the name "state_dict".
    where : str
        The file's name, for errors.

    Returns
    -------
    dict of str to array
        By parameter name, in the file's order; C-contiguous copies of native float16, float32, float64, int32 or int64,
        and float32 for bfloat16. Together at most 256 MiB.

    Raises
    ------
    UnsafeFileError
        If the pickle holds anything but plain values and tensors that lie within their storages. Nothing in it was run.
    ClassifierFileError
        If it is no such archive, or a storage is missing, compressed, or of another length.
    """
    if content.startswith(LEGACY_MAGIC):
        raise ClassifierFileError(
            f"`{where}` has torch's form from before version 1.6",
            expected="the zip form",
            hint="load it where you trust it, and save it again with a newer torch",
        )
    archive = ZipMembers(content, where=where)
    prefixes = [name[: -len("/data.pkl")] for name in archive.names if name.endswith("/data.pkl")]
    if len(prefixes) != 1 or "/" in prefixes[0]:
        raise ClassifierFileError(
            f"`{where}` is no checkpoint of torch", expected="one `data.pkl`", found=f"{len(prefixes)} in the archive"
        )
    pickled = archive.read(f"{prefixes[0]}/data.pkl", max_bytes=MAX_PICKLE_BYTES, stored=True)
    try:
        views = _views(follow(pickled))
    except Refused as error:
        raise _refusal(where, str(error)) from error
    return _arrays(views, archive, prefixes[0], where)


def _views(described: object) -> dict[str, TensorView]:
    if isinstance(described, dict) and isinstance(described.get("state_dict"), dict):
        described = described["state_dict"]
    if not isinstance(described, dict) or not 0 < len(described) <= MAX_TENSORS:
        raise Refused("no dictionary of tensors")
    for name, view in described.items():
        if type(name) is not str or not isinstance(view, TensorView):
            raise Refused(f"a value that is no tensor, under {str(name)[:60]}")
    if sum(math.prod(view.size) * max(4, view.kind.itemsize) for view in described.values()) > MAX_BYTES:
        raise Refused(f"tensors of more than {MAX_BYTES:,} bytes")
    return described


def _arrays(views: dict[str, TensorView], archive: ZipMembers, prefix: str, where: str) -> dict[str, np.ndarray]:
    order = _byte_order(archive, prefix, where)
    storages: dict[str, bytes] = {}
    for view in views.values():
        if view.key not in storages:  # tensors may share one
            storages[view.key] = archive.read(f"{prefix}/data/{view.key}", stored=True)
            if sum(map(len, storages.values())) > MAX_BYTES:
                raise _refusal(where, "storages that overlap in the archive")
        if len(storages[view.key]) != view.n * view.kind.itemsize:
            raise ClassifierFileError(
                f"`{where}` holds a storage of another length than it says",
                expected=f"{view.n * view.kind.itemsize:,} bytes in `data/{view.key[:20]}`",
                found=f"{len(storages[view.key]):,}",
            )
    return {name: _array(view, storages[view.key], order) for name, view in views.items()}


def _byte_order(archive: ZipMembers, prefix: str, where: str) -> str:
    if f"{prefix}/byteorder" not in archive.names:
        return "<"
    word = archive.read(f"{prefix}/byteorder", max_bytes=100)
    if word not in (b"little", b"big"):
        raise ClassifierFileError(
            f"`{where}` has no known byte order", expected="little or big", found=f"{word[:20]!r}"
        )
    return "<" if word == b"little" else ">"


def _array(view: TensorView, storage: bytes, order: str) -> np.ndarray:
    """Return the elements of a view, whose bounds were checked where it was described."""
    if not all(view.size):
        return np.zeros(view.size, np.float32 if view.kind.code == "bf2" else view.kind.code)
    is_bfloat = view.kind.code == "bf2"
    flat = np.frombuffer(storage, order + ("u2" if is_bfloat else view.kind.code))
    steps = [step * flat.itemsize for step in view.stride]
    seen = np.lib.stride_tricks.as_strided(flat[view.offset :], view.size, steps, writeable=False)
    if is_bfloat:  # the upper half of a float32
        halves = np.array(seen, dtype=np.uint32, order="C")
        return np.left_shift(halves, np.uint32(16), out=halves).view(np.float32)
    return np.array(seen, dtype=flat.dtype.newbyteorder("="), order="C")


def _refusal(where: str, found: str) -> UnsafeFileError:
    return UnsafeFileError(
        f"`{where}` is not a checkpoint of plain tensors",
        expected="a state_dict of torch, and nothing else",
        found=found,
        state="nothing in the file was run",
        hint="do not open it with torch.load unless you trust whoever made it",
    )
