"""The list that DataComp's tools take: the 128-bit uids of a subset."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from jaxtyping import UInt64

from clipsieve.errors import UsageError
from clipsieve.outputs.export.destination import Destination

__all__ = ["write_uids"]

FILE_NAME = "uids.npy"
UID_TYPE = np.dtype("u8,u8")
_UID = re.compile(r"[0-9a-fA-F]{32}")
_SHORT_UID = re.compile(r"[0-9a-fA-F]{1,32}")


def write_uids(destination: Destination, rows: Iterable[pa.Table]) -> str:
    """Write `uids.npy` and return that name.

    An array of the structured type `u8,u8`, the upper and the lower half of each uid, sorted, as DataComp's `resharder.py` takes
    it for a subset (https://github.com/mlfoundations/datacomp, "Selecting samples in the filtering track"). Each uid stands
    there once: the resharder writes a sample as often as its uid is listed. It also writes every sample with that uid, so
    samples that share one cannot be told apart by such a list.

    An image's uid is the `uid` in the JSON of its metadata; or its id, if that is 32 hexadecimal digits; or the name of its
    file up to the first full stop, if that is.

    Parameters
    ----------
    destination : Destination
        Where to.
    rows : iterable of pyarrow.Table
        With the columns `image_id` and `metadata`; 16 bytes are held for each row.

    Raises
    ------
    UsageError
        If an image has no uid; the list is not written.
    """
    halves = _sorted_once(_read(rows))
    uids = np.empty(len(halves), dtype=UID_TYPE)
    uids["f0"], uids["f1"] = halves[:, 0], halves[:, 1]
    with destination.writer(FILE_NAME) as file:
        np.save(file, uids, allow_pickle=False)
    return FILE_NAME


def _read(rows: Iterable[pa.Table]) -> UInt64[np.ndarray, "n 2"]:
    found, lacking, n_lacking, n_rows = [np.empty((0, 2), dtype=np.uint64)], "", 0, 0
    for table in rows:
        uids, n_rows = [], n_rows + table.num_rows
        for image_id, uid in _uids(table):
            if uid is None:
                lacking, n_lacking = lacking or image_id, n_lacking + 1
            else:
                uids.append(bytes.fromhex(uid.zfill(32)))
        found.append(np.frombuffer(b"".join(uids), dtype=">u8").reshape(-1, 2).astype(np.uint64))
    if n_lacking:
        raise UsageError(
            f"{n_lacking:,} of {n_rows:,} images have no uid of DataComp",
            expected="`uid` in their metadata, or 32 hexadecimal digits as their id or file name",
            found=f"`{lacking[:200]}`",
            state="this list was not written",
            hint="another form of list takes any id, such as `parquet`; for a table, name its column with `--id-column`",
        )
    return np.concatenate(found)


def _uids(table: pa.Table) -> Iterator[tuple[str, str | None]]:
    columns = (table.column(name).to_pylist() for name in ("image_id", "metadata"))
    for image_id, metadata in zip(*columns, strict=True):
        stem = image_id.rpartition("/")[2].partition(".")[0]
        candidates = (_in_metadata(metadata), *(text for text in (image_id, stem) if _UID.fullmatch(text)))
        yield image_id, next((uid for uid in candidates if uid is not None), None)


def _in_metadata(metadata: str | None) -> str | None:
    """Return the uid in a sample's JSON; one whose leading zeros were lost is the same number."""
    try:
        facts = json.loads(metadata or "null")
    except (ValueError, RecursionError):
        return None
    uid = facts.get("uid") if isinstance(facts, dict) else None
    return uid if isinstance(uid, str) and _SHORT_UID.fullmatch(uid) else None


def _sorted_once(halves: UInt64[np.ndarray, "n 2"]) -> UInt64[np.ndarray, "m 2"]:
    ordered = halves[np.lexsort((halves[:, 1], halves[:, 0]))]
    is_new = np.ones(len(ordered), dtype=bool)
    is_new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    once: np.ndarray = ordered[is_new]
    return once
