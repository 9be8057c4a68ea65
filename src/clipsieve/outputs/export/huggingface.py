"""Data sets of Hugging Face's `datasets`: the rows that are chosen, as `load_from_disk` opens them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from clipsieve.errors import SourceError
from clipsieve.evaluation.operating_points import Decision
from clipsieve.outputs.export.base import Places, Unit, Writer, Written
from clipsieve.outputs.export.destination import Destination
from clipsieve.outputs.export.saved_split import STATE_NAME, SavedSplit
from clipsieve.outputs.export.unscanned import columns_with_images, warning_of
from clipsieve.sources import HuggingFaceSource
from clipsieve.types import Shard

__all__ = ["HuggingFaceWriter"]

DICT_NAME = "dataset_dict.json"
N_ROWS_SAMPLED = 64  # image bytes may be megabytes each


class HuggingFaceWriter(Writer):
    """Writes each split into a folder of its own; the result is what the source was, a `DatasetDict` or a `Dataset`.

    Names and order of splits and columns, features, class names, description and the format that was set are those of the
    source; columns that a format hides are written too. Nothing is decoded: cells are copied as Arrow, byte for byte, and
    compared with the hashes of the scan.

    Cells of the image column that only name a file: the file goes into the cell, as `save_to_disk` has it, and the cell keeps
    the file's name without folders. What cannot be read now and could not be read by the scan stays as it is, as do URLs. What
    the scan would not open is not opened here either: strangers wrote the names in a data set from the hub or behind a URL,
    which must not bring files of this machine into the result. A column of plain texts that are paths stays as it is, so
    relative paths in it are those of the source's folder.

    The place of what is kept has all splits, those of which nothing is left with 0 rows. The places for review and for what is
    removed have the splits that have rows there, and an empty `DatasetDict` if none has any; a `Dataset` has 0 rows then.
    `load_from_disk` opens all of these. `num_examples` in the description is that of the source, as it is after
    `Dataset.filter`.

    A split is valid from its `state.json` on, which is written last, after `dataset_info.json`; `dataset_dict.json` comes after
    all splits.

    Parameters
    ----------
    source : HuggingFaceSource
        As it was scanned.
    """

    kind: ClassVar[str] = "huggingface"

    def __init__(self, source: HuggingFaceSource) -> None:
        self._source = source

    def unit_of(self, shard: Shard) -> str:
        """Return the split."""
        return shard.members[0]

    def write(self, unit: Unit, places: Places) -> Written:
        """Write the rows of one split; see `Writer.write`."""
        n_rows = len(self._source.splits[unit.name])
        if n_rows != len(unit.codes):
            raise SourceError(
                f"the split `{unit.name}` of `{self._source.location}` is not what was scanned",
                expected=f"{len(unit.codes):,} rows",
                found=f"{n_rows:,}",
                state="nothing of this split was written",
                hint="scan it again into the same run: only what changed is encoded anew; then score, and export again",
            )
        n_files, n_bytes = 0, 0
        files: dict[int, str] = {}
        for decision, place in places.items():
            rows = np.flatnonzero(unit.codes == decision)
            if rows.size or decision is Decision.KEEP or not self._source.has_splits:
                written = self._save(unit, place, rows)
                n_files, n_bytes = n_files + written.n_files, n_bytes + written.n_bytes
                files |= written.places
        return Written(n_files, n_bytes, files)

    def finish(self, places: Places) -> Iterator[Written]:
        """Write the splits that had no rows from the start, and which splits there are."""
        if not self._source.has_splits:
            return
        for decision, place in places.items():
            if decision is Decision.KEEP:
                yield from self._save_empty(place)
            here = [split for split in self._source.splits if place.size(f"{split}/{STATE_NAME}") is not None]
            content = json.dumps({"splits": here}).encode()
            if place.read_bytes(DICT_NAME) != content:
                place.write_bytes(DICT_NAME, content)
            yield Written(1, len(content))

    def warnings(self) -> tuple[str, ...]:
        """Return which columns hold images that were not scanned; see `Writer.warnings`."""
        image = self._source.columns.image or ""
        found: dict[str, None] = {}
        for dataset in self._source.splits.values():
            rows = dataset.with_format("arrow")[:N_ROWS_SAMPLED]
            found |= dict.fromkeys(columns_with_images(rows, image))
        return warning_of(list(found))

    def _save_empty(self, place: Destination) -> Iterator[Written]:
        for split, dataset in self._source.splits.items():
            if not len(dataset):
                nothing = Unit(split, (), (), (), np.zeros(0, dtype=np.uint8))
                yield self._save(nothing, place, np.zeros(0, dtype=np.int64))

    def _save(self, unit: Unit, place: Destination, rows: np.ndarray) -> Written:
        folder = f"{unit.name}/" if self._source.has_splits else ""
        return SavedSplit(self._source, unit, place, folder).write(rows.astype(np.int64))
