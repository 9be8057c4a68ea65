"""Some rows of a split as the folder that `datasets.load_from_disk` opens.

The folder holds streams of Arrow, `dataset_info.json`, and `state.json`, which names the streams
(https://huggingface.co/docs/datasets, `Dataset.save_to_disk`). The library writes both JSON files itself. It does not write the
rows: it would open every file that a cell names, end at one that is missing, and leave no stream at all where there are no
rows, which it cannot read again.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from clipsieve.errors import SourceError
from clipsieve.outputs.export.base import Unit, Written
from clipsieve.outputs.export.destination import Destination
from clipsieve.remote.connect import is_url
from clipsieve.sources import HuggingFaceSource
from clipsieve.types import Failure

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["STATE_NAME", "SavedSplit"]

STATE_NAME = "state.json"
INFO_NAME = "dataset_info.json"
FILE_BYTES = 500 * 1000**2  # what `save_to_disk` cuts at
BATCH_ROWS = 32  # image bytes may be megabytes each
ARRAY_BYTES = 2**30  # well below the 2 GiB that one Arrow array of binary cells can hold


class SavedSplit:
    """One split in one place.

    Parameters
    ----------
    source : HuggingFaceSource
        Has the split.
    unit : Unit
        All of its rows.
    place : Destination
        Where to.
    folder : str
        Below the place: empty, or a path that ends with `/`.
    """

    def __init__(self, source: HuggingFaceSource, unit: Unit, place: Destination, folder: str) -> None:
        self._source = source
        self._dataset: Dataset = source.splits[unit.name].with_format("arrow")
        self._unit = unit
        self._place = place
        self._folder = folder
        self._cells = source.cell_reader()

    def write(self, rows: Int64[np.ndarray, "n"]) -> Written:
        """Write rows, given by their sorted positions; files that are there already are whole and stay.

        Raises
        ------
        SourceError
            If an image is not what was scanned.
        ExportError
            If the place cannot be written.
        """
        streams = self._streams(rows)
        for name, positions in streams.items():
            if self._place.size(self._folder + name) is None:
                self._write_stream(name, positions)
        if any(self._place.size(self._folder + name) is None for name in (INFO_NAME, STATE_NAME)):
            for name, content in self._facts(list(streams), rows).items():
                self._place.write_bytes(self._folder + name, content)
        files = [self._folder + name for name in (*streams, INFO_NAME, STATE_NAME)]
        where = {int(row): self._folder + name for name, positions in streams.items() for row in positions}
        return Written(len(files), sum(self._place.size(name) or 0 for name in files), where)

    def _streams(self, rows: Int64[np.ndarray, "n"]) -> dict[str, Int64[np.ndarray, "m"]]:
        """Return the rows of each file by its name; without any rows, there is one file all the same."""
        share = len(rows) / max(len(self._dataset), 1)
        n = max(1, min(len(rows), int(self._dataset.data.nbytes * share / FILE_BYTES) + 1))
        return {f"data-{i:05d}-of-{n:05d}.arrow": part for i, part in enumerate(np.array_split(rows, n))}

    def _write_stream(self, name: str, rows: Int64[np.ndarray, "n"]) -> None:
        schema = self._dataset.data.schema
        with self._place.writer(self._folder + name) as file, pa.ipc.new_stream(file, schema) as stream:
            for table in self._tables(rows):
                # In one piece, or each export of an export would be of smaller ones.
                stream.write_table((table.combine_chunks() if table.nbytes < ARRAY_BYTES else table).cast(schema))

    def _tables(self, rows: Int64[np.ndarray, "n"]) -> Iterator[pa.Table]:
        """Yield the rows, some at a time."""
        for start in range(0, len(rows), BATCH_ROWS):
            wanted = rows[start : start + BATCH_ROWS]
            first, last = int(wanted[0]), int(wanted[-1])
            if last - first < 4 * BATCH_ROWS:  # what lies close together is read at once
                table = self._dataset[first : last + 1].filter(np.isin(np.arange(first, last + 1), wanted))
            else:
                table = self._dataset[wanted.tolist()]
            yield self._verified(table, wanted)

    def _verified(self, table: pa.Table, rows: Int64[np.ndarray, "m"]) -> pa.Table:
        """Return rows whose images are those of the scan, with the files that cells name put into them."""
        place = table.column_names.index(self._source.columns.image)
        old = table.column(place).to_pylist()
        new = [self._cell(cell, int(row)) for cell, row in zip(old, rows, strict=True)]
        if all(one is other for one, other in zip(old, new, strict=True)):
            return table
        n_bytes = sum(len(cell["bytes"] or b"") for cell in new if isinstance(cell, dict))
        pieces = [new] if n_bytes < ARRAY_BYTES else [[cell] for cell in new]
        kind = table.schema.field(place).type
        column = pa.chunked_array([pa.array(piece, kind) for piece in pieces], kind)
        return table.set_column(place, table.schema.field(place), column)

    def _cell(self, cell: object, row: int) -> object:
        content = cell.get("bytes") if isinstance(cell, Mapping) else cell
        if isinstance(content, bytes):
            self._check(content, row)
            return cell
        path = cell.get("path") if isinstance(cell, Mapping) and "bytes" in cell else None
        if not isinstance(path, str) or not path or is_url(path):
            return cell
        found, _ = self._cells.read(path)
        if isinstance(found, Failure) and self._unit.sha256[row] is None:
            return cell
        self._check(found, row)
        return {**cell, "bytes": found, "path": PurePosixPath(path).name}  # type: ignore[dict-item]

    def _check(self, content: bytes | Failure, row: int) -> None:
        expected = self._unit.sha256[row]
        found = content.detail if isinstance(content, Failure) else hashlib.sha256(content).hexdigest()
        if expected is not None and found != expected:
            raise SourceError(
                f"the image `{self._unit.image_ids[row]}` of `{self._source.location}` has changed since it was scanned",
                expected=f"sha256 {expected}" if isinstance(content, bytes) else "a file that can be read",
                found=found,
                state="every file that was written is whole; this split is not there",
                hint="scan the data set again into the same run; then score, and export again",
            )

    def _facts(self, streams: list[str], rows: Int64[np.ndarray, "n"]) -> dict[str, bytes]:
        """Return the JSON files as the library writes them, for these streams; the one that counts last."""
        dataset = self._source.splits[self._unit.name]  # with the format that was set
        with tempfile.TemporaryDirectory(prefix="clipsieve-") as folder:
            dataset.select([]).save_to_disk(folder)
            info = Path(folder, INFO_NAME).read_bytes()
            state: dict[str, Any] = json.loads(Path(folder, STATE_NAME).read_bytes())
        # The library names what it caches after this: other rows must have another.
        digest = hashlib.sha256(f"{state['_fingerprint']}\0".encode() + rows.astype("<i8").tobytes())
        state |= {"_data_files": [{"filename": name} for name in streams], "_fingerprint": digest.hexdigest()[:16]}
        return {INFO_NAME: info, STATE_NAME: json.dumps(state, indent=2, sort_keys=True).encode()}
