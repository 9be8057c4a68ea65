"""The images of a run in memory: names, hashes and classes as arrays; no embedding, no caption."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int32, Int64

from clipsieve.store import Run
from clipsieve.store.layout import inputs_of
from clipsieve.types import FailureCode

__all__ = ["N_READERS", "RunImages"]

N_READERS = 2  # files opened side by side; more of them only wait for each other
_CHUNK = 65_536
_IS_DIGEST = "^[0-9a-fA-F]{64}$"


@dataclass(frozen=True, slots=True)
class _Part:
    inputs: str | None
    ids: pa.ChunkedArray
    labels: pa.ChunkedArray
    digests: pa.ChunkedArray
    is_failed: Bool[np.ndarray, "n"]
    is_blocked: Bool[np.ndarray, "n"]


class RunImages:
    """All rows of a run, also those that failed.

    Use :meth:`read`. Of embeddings that lie elsewhere, nobody knows the hashes, nor yet which rows hold no direction:
    none of them counts as failed.

    Attributes
    ----------
    n : int
        Rows.
    starts : int64 array of shape (n_parts + 1,)
        The first row of each part, and n.
    inputs : list of str or None
        What each part was made of.
    is_failed, is_blocked : bool arrays of shape (n,)
        No embedding for any reason; on the block list.
    labels : tuple of str
        The classes, sorted.
    label_codes : int32 array of shape (n,)
        Places in `labels`; -1 for none.
    """

    def __init__(self, parts: Sequence[_Part]) -> None:
        sizes = [len(part.is_failed) for part in parts]
        self.starts: Int64[np.ndarray, "_"] = np.cumsum([0, *sizes], dtype=np.int64)
        self.n = int(self.starts[-1])
        self.inputs = [part.inputs for part in parts]
        self.is_failed: Bool[np.ndarray, "n"] = _joined([part.is_failed for part in parts], np.zeros(0, bool))
        self.is_blocked: Bool[np.ndarray, "n"] = _joined([part.is_blocked for part in parts], np.zeros(0, bool))
        self._digests = _texts([part.digests for part in parts])
        self._ids = _texts([part.ids for part in parts])
        self.labels, self.label_codes = _coded(_texts([part.labels for part in parts]))
        self._lock = threading.Lock()
        self._by_hash: tuple[Int64[np.ndarray, "n"], Int64[np.ndarray, "n"]] | None = None

    @classmethod
    def read(cls, run: Run) -> RunImages:
        """Read a run's images; errors as for `Run.iter_images`."""
        with ThreadPoolExecutor(N_READERS) as pool:
            return cls(list(pool.map(lambda index: _read_part(run, index), range(run.manifest.n_parts))))

    def image_id(self, row: int) -> str:
        """Return the id of a row."""
        return str(self._ids[row].as_py())

    def sha256(self, row: int) -> str | None:
        """Return the hash of the file of a row in hex, or None if it is not known."""
        return _digest(self._digests[row].as_py())

    def contents(self, rows: Int64[np.ndarray, "m"]) -> Int64[np.ndarray, "m"]:
        """Return a number for each row, the same for the same file; -1 where the hash is not known."""
        found = pc.utf8_lower(self._digests.take(pa.array(rows)))
        is_known = pc.fill_null(pc.match_substring_regex(found, _IS_DIGEST), False)  # noqa: FBT003 - arrow's own signature
        codes = found.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return np.asarray(np.where(is_known.to_numpy(zero_copy_only=False), codes, -1), dtype=np.int64)

    def copies(self, row: int) -> Int64[np.ndarray, "_"]:
        """Return all rows with the file of this row, itself included, in order."""
        digest = self.sha256(row)
        if digest is None:
            return np.array([row], dtype=np.int64)
        spellings = pa.array(sorted({digest, digest.upper(), str(self._digests[row].as_py())}), pa.large_string())
        same = pc.is_in(self._digests, value_set=spellings).to_numpy(zero_copy_only=False)
        return np.asarray(np.flatnonzero(same), dtype=np.int64)

    def rows_of(self, image_ids: Sequence[str]) -> Int64[np.ndarray, "m"]:
        """Return the row of each id, -1 for one that is not in the run."""
        order, hashes = self._index()
        # Python salts its hashes of texts, so nobody can choose ids that collide.
        wanted = np.fromiter(map(hash, image_ids), np.int64, len(image_ids))
        places = np.searchsorted(hashes, wanted)
        found = np.full(len(image_ids), -1, dtype=np.int64)
        likely = np.flatnonzero(places < self.n)
        likely = likely[hashes[places[likely]] == wanted[likely]]
        rows = order[places[likely]]
        # What is no text, such as half a surrogate pair, is no id either.
        spelled = [image_ids[i].encode(errors="replace").decode() for i in likely.tolist()]
        names = pa.array(spelled, pa.large_string())
        is_it = pc.equal(self._ids.take(pa.array(rows)), names).to_numpy(zero_copy_only=False)
        found[likely[is_it]] = rows[is_it]
        for i in likely[~is_it].tolist():  # behind another id with the same hash
            found[i] = self._find(order, hashes, image_ids[i], int(wanted[i]), int(places[i]))
        return found

    def _find(self, order: Int64[np.ndarray, "n"], hashes: Int64[np.ndarray, "n"], name: str, key: int, at: int) -> int:
        while at < self.n and hashes[at] == key:
            if self.image_id(int(order[at])) == name:
                return int(order[at])
            at += 1
        return -1

    def _index(self) -> tuple[Int64[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
        """Return rows in the order of the hashes of their ids, and these hashes: 16 bytes for each row."""
        with self._lock:
            if self._by_hash is None:
                chunks = (self._ids.slice(start, _CHUNK).to_pylist() for start in range(0, self.n, _CHUNK))
                hashes = np.fromiter((hash(name) for chunk in chunks for name in chunk), np.int64, self.n)
                order = np.argsort(hashes, kind="stable").astype(np.int64)
                self._by_hash = order, hashes[order]
            return self._by_hash


def _read_part(run: Run, index: int) -> _Part:
    is_own = run.external is None
    # What failed among embeddings that lie elsewhere, only reading them all would tell.
    columns = ["image_id", "label", *(["sha256", "failure_code"] if is_own else [])]
    table = run.read_images(index, columns)
    n = table.num_rows
    digests = table.column("sha256") if is_own else pa.chunked_array([pa.nulls(n, pa.string())])
    codes = table.column("failure_code") if is_own else pa.chunked_array([pa.nulls(n, pa.string())])
    blocked = pc.fill_null(pc.equal(codes, FailureCode.BLOCKED.value), False)  # noqa: FBT003 - arrow's own signature
    return _Part(
        inputs_of(table.schema),
        table.column("image_id"),
        table.column("label"),
        digests,
        codes.is_valid().to_numpy(),
        blocked.to_numpy(),
    )


def _digest(text: str | None) -> str | None:
    """Return a hash in lower case, or None for what is none: anybody may have written the file."""
    return text.lower() if text is not None and re.fullmatch(_IS_DIGEST[1:-1], text) else None


def _texts(columns: Sequence[pa.ChunkedArray]) -> pa.Array:
    """Return columns of texts as one array, in which 2 GiB of them may stand."""
    chunks = [chunk.cast(pa.large_string()) for column in columns for chunk in column.chunks]
    return pa.concat_arrays(chunks) if chunks else pa.array([], pa.large_string())


def _coded(column: pa.Array) -> tuple[tuple[str, ...], Int32[np.ndarray, "n"]]:
    """Return the texts that occur, sorted, and the place of each row's text among them."""
    encoded = column.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=lambda place: names[place])
    places = np.full(len(names) + 1, -1, dtype=np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    codes = pc.fill_null(encoded.indices, len(names)).to_numpy(zero_copy_only=False)
    return tuple(names[place] for place in order), places[codes]


def _joined(arrays: list[Any], empty: np.ndarray) -> np.ndarray:
    return np.concatenate([empty, *arrays])
