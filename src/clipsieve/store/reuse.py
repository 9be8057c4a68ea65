"""Embeddings of an earlier scan, found again by the content of the file: what has only moved is not encoded twice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from clipsieve.errors import RunCorruptError
from clipsieve.store.files import in_parallel, matching, names_in, remove, rename
from clipsieve.store.layout import DAMAGED, to_float32
from clipsieve.store.parquet_files import open_part
from clipsieve.store.paths import RunPath
from clipsieve.store.run import Run
from clipsieve.types import FileFacts

__all__ = ["StoredEmbeddings", "remove_superseded", "set_aside", "stored_parts", "superseded"]

Item = TypeVar("Item")


class StoredEmbeddings:
    """The embeddings in some parts, by the sha256 of their files.

    Parameters
    ----------
    parts : sequence of Path or UPath
        Parts of the images, all by the encoder of today; one that cannot be read is passed over.
    max_pixels : int
        An image that is larger is not found: under today's limits it would fail.
    """

    def __init__(self, parts: Sequence[RunPath], *, max_pixels: int) -> None:
        self._parts = list(parts)
        self._read = lru_cache(maxsize=8)(_read)  # what has moved, has mostly moved together
        numbered = list(enumerate(self._parts))
        found = [*in_parallel(numbered[0][1], lambda part: _index(*part, max_pixels), numbered)] if numbered else []
        hashes = np.concatenate([each[0] for each in found]) if found else np.zeros(0, "S32")
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]
        self._places = np.concatenate([each[1] for each in found])[order] if found else np.zeros((0, 2), np.int64)

    def __getstate__(self) -> dict[str, Any]:
        # What is kept open stays here; elsewhere, the current folder is another one.
        parts = [path.absolute() if isinstance(path, Path) else path for path in self._parts]
        return {"_parts": parts, "_hashes": self._hashes, "_places": self._places}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._read = lru_cache(maxsize=8)(_read)

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, sha256: str) -> tuple[FileFacts, Float32[np.ndarray, "d"]] | None:
        """Return what is known of a file and its embedding, or None."""
        wanted = _packed([sha256])[0]
        place = int(np.searchsorted(self._hashes, wanted))
        if place == len(self._hashes) or self._hashes[place] != wanted:
            return None
        part, row = self._places[place]
        table = self._read(self._parts[part])
        if table is None:
            return None
        one = table.slice(int(row), 1)
        facts = one.select(["sha256", "bytes", "width", "height", "format"]).to_pylist()[0]
        embedding = to_float32(one.column("embedding"))[0]
        return FileFacts(facts["sha256"], facts["bytes"], facts["width"], facts["height"], facts["format"]), embedding


def _index(number: int, path: RunPath, max_pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the hashes of a part's embedded files, and where they stand."""
    table = _read(path)
    if table is None:
        return np.zeros(0, "S32"), np.zeros((0, 2), np.int64)
    rows = table.select(["sha256", "width", "height", "failure_code"]).to_pydict()
    kept = [
        row
        for row, code in enumerate(rows["failure_code"])
        if code is None and rows["width"][row] * rows["height"][row] <= max_pixels
    ]
    places = np.array([(number, row) for row in kept], np.int64).reshape(-1, 2)
    return _packed([rows["sha256"][row] for row in kept]), places


def _packed(hashes: Sequence[str]) -> np.ndarray:
    # A hash of 32 bytes may end in zeros, which numpy's byte strings drop: both sides of a comparison do so alike.
    return np.array([bytes.fromhex(value) for value in hashes], dtype="S32")


def _read(path: RunPath) -> pa.Table | None:
    try:
        with open_part(path, some=False) as file:
            return file.read(use_threads=False)
    except DAMAGED:
        return None


def stored_parts(run: Run, indices: Sequence[int], columns: list[str]) -> Iterator[pa.Table | None]:
    """Yield some columns of each of some parts of the images, None for one that is not there or damaged."""
    names = set(names_in(run.image_part(0).parent))

    def read(index: int) -> pa.Table | None:
        path = run.image_part(index)
        try:
            return run.read_part(path, columns) if path.name in names else None
        except RunCorruptError:
            return None

    yield from in_parallel(run.path, read, indices)


def set_aside(run: Run, fingerprints: Sequence[str], *, retry: Collection[str] = frozenset()) -> None:
    """Put parts that are not those of a plan under another name, where their embeddings can be found again by content.

    Parts by another encoder are removed, and so are scores beyond the plan.

    Parameters
    ----------
    run : Run
        With the manifest of today.
    fingerprints : sequence of str
        Of the plan's shards, in order.
    retry : collection of str
        Failure codes; a part with one of them is put aside, too.
    """

    def look_at(part: tuple[RunPath, int]) -> None:
        path, index = part
        facts = run.part_metadata(path) or {}
        inputs = facts.get("clipsieve.inputs", "")
        is_wanted = index < len(fingerprints) and inputs == fingerprints[index] and run.is_current(facts)
        if is_wanted and not (retry and _has_failures(path, retry)):
            return
        if facts.get("clipsieve.encoder") == run.manifest.encoder.fingerprint:
            rename(path, path.parent / f".superseded-{inputs[:32]}.parquet")
        else:
            remove(path)

    _do_all(run, look_at, _numbered(run.path, "images/part-*.parquet"))
    scores = _numbered(run.path, "scores/*/part-*.parquet")
    _do_all(run, remove, [path for path, index in scores if index >= len(fingerprints)])


def _do_all(run: Run, work: Callable[[Item], None], items: Iterable[Item]) -> None:
    for _ in in_parallel(run.path, work, items):
        pass


def _has_failures(path: RunPath, codes: Collection[str]) -> bool:
    table = _read(path)
    return table is not None and bool(set(table.column("failure_code").to_pylist()) & set(codes))


def _numbered(folder: RunPath, pattern: str) -> list[tuple[RunPath, int]]:
    """Return the parts of a pattern with their numbers; what somebody else has put there is let alone."""
    numbers = [(path, path.stem.removeprefix("part-")) for path in matching(folder, pattern)]
    return [(path, int(number)) for path, number in numbers if number.isdecimal()]


def superseded(run: Run) -> list[RunPath]:
    """Return the parts that were set aside and are not removed yet."""
    return matching(run.path, "images/.superseded-*.parquet")


def remove_superseded(run: Run) -> None:
    """Remove the parts that were set aside: all that was worth keeping has been found again."""
    _do_all(run, remove, superseded(run))
