"""Data sets of Hugging Face's `datasets`: a folder from `save_to_disk`, or an id of the hub."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from clipsieve.errors import MissingExtraError, SourceError
from clipsieve.remote.connect import is_url
from clipsieve.sources.base import MAX_BYTES, Known, Source, cut
from clipsieve.sources.columns import CellReader, Columns, Row, RowReader, UniqueIds, choose_columns, text_of
from clipsieve.sources.storage import Storage
from clipsieve.types import ImageRef, Plan, Shard

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

__all__ = ["HuggingFaceSource"]

_BATCH_ROWS = 32


class HuggingFaceSource(Source):
    """One input for each row of each split, in the order of the splits; rows are read from memory-mapped files.

    Parameters
    ----------
    location : str
        A folder that `save_to_disk` wrote, on this machine or behind a URL, or an id of the hub such as `owner/name`.
    columns : Columns, optional
        Those that were named; the rest is chosen by names and types.
    max_bytes : int
        Larger images are not read but recorded as failures.
    """

    kind: ClassVar[str] = "huggingface"

    def __init__(self, location: str, columns: Columns | None = None, *, max_bytes: int = MAX_BYTES) -> None:
        self._is_folder = is_url(location) or Path(location).is_dir()
        self._location = location if is_url(location) or not self._is_folder else str(Path(location).resolve())
        self.max_bytes = max_bytes
        self._loaded: Dataset | DatasetDict | None = None
        first = next(iter(self.splits.values()))
        self._schema = first.features.arrow_schema
        self.columns = choose_columns(self._schema, columns or Columns(), where=self._location)
        needed = {self.columns.image, self.columns.id} - {None}
        for split, dataset in self.splits.items():
            if missing := needed - set(dataset.column_names):
                raise SourceError(
                    f"the split `{split}` of `{self._location}` has no column `{min(map(str, missing))}`",
                    hint="save the splits that hold images by themselves",
                )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_loaded": None}

    @property
    def location(self) -> str:
        """The absolute path, the URL, or the id on the hub."""
        return self._location

    @property
    def options(self) -> Mapping[str, str]:
        """Which column holds what."""
        return {f"{what}_column": name for what, name in self.columns.named().items()}

    def plan(self, part_size: int, known: Known | None = None) -> Plan:  # noqa: ARG002 - listing is cheap here
        """Cut each split into shards; see `Source.plan`."""
        if self.columns.id:
            self._check_ids(self.columns.id)
        splits = self.splits.items()
        stamps = {split: _stamp(dataset) for split, dataset in splits}
        stretches = [(split, lambda _start, _stop, split=split: stamps[split], len(made), "") for split, made in splits]
        shards = cut(stretches, part_size)
        if not shards:
            raise SourceError(f"the data set `{self.location}` has no rows")
        return Plan(shards)

    def read(self, shard: Shard) -> Iterator[ImageRef]:
        """Read a stretch of rows of one split; see `Source.read`."""
        split, (start, stop) = shard.members[0], map(int, shard.members[1:3])
        rows = RowReader(self.columns, self._schema, self.cell_reader())
        yield from rows.read(split, self._url, self._rows(split, start, stop), start)

    @property
    def splits(self) -> Mapping[str, Dataset]:
        """The splits by name, in order; a data set without splits goes by the name of its own, or `all`."""
        loaded = self._load()
        return loaded if isinstance(loaded, dict) else {str(loaded.split or "all"): loaded}

    @property
    def has_splits(self) -> bool:
        """Whether it is a `DatasetDict`, and no `Dataset`."""
        return isinstance(self._load(), dict)

    def cell_reader(self) -> CellReader:
        """Return what reads the image column."""
        folder = self._location if self._is_folder else os.getcwd()
        # Strangers write what lies on the hub: it must not make its reader open files of this machine.
        return CellReader(folder, Storage(folder), self.max_bytes, is_local=self._is_folder and not is_url(folder))

    def _check_ids(self, column: str) -> None:
        ids = UniqueIds(column, self._location)
        for split, dataset in self.splits.items():
            for index, value in enumerate(dataset.with_format("arrow").select_columns(column).iter(1000)):
                for row, text in enumerate(value.column(column).to_pylist()):
                    ids.add(text_of(text), f"row {1000 * index + row:,} of `{split}`")

    @property
    def _url(self) -> str:
        if is_url(self._location):
            return self._location
        return Path(self._location).as_uri() if self._is_folder else f"hf://datasets/{self._location}"

    def _rows(self, split: str, start: int, stop: int) -> Iterator[Row]:
        # As Arrow, images stay the bytes that they are: nothing is decoded here.
        dataset = self.splits[split].with_format("arrow")
        wanted = list(self.columns.named().values())
        for offset in range(start, stop, _BATCH_ROWS):
            table = dataset[offset : min(offset + _BATCH_ROWS, stop)]
            present = [name for name in dict.fromkeys(wanted) if name in table.column_names]
            yield from table.select(present).to_pylist()

    def _load(self) -> Dataset | DatasetDict:
        if self._loaded is None:
            self._loaded = _load(self._location, is_folder=self._is_folder)
        return self._loaded


def _load(location: str, *, is_folder: bool) -> Dataset | DatasetDict:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            "reading a Hugging Face data set needs the library `datasets`", hint="pip install 'clipsieve[hf]'"
        ) from error
    datasets.disable_progress_bars()
    try:
        return datasets.load_from_disk(location) if is_folder else datasets.load_dataset(location)
    except Exception as error:
        words = " ".join(str(error).split())[:300]
        raise SourceError(
            f"cannot open the data set `{location}`: {words}",
            expected="a folder that `save_to_disk` wrote, or the id of a data set on the hub",
            hint="paths are relative to where you are; the hub must be reachable, and `HF_TOKEN` set for what is not public",
        ) from error


def _stamp(dataset: Dataset) -> str:
    """Return what changes when the files behind a split do."""
    files = []
    for file in dataset.cache_files:
        facts = Path(file["filename"]).stat()
        files.append([Path(file["filename"]).name, facts.st_size, facts.st_mtime_ns])
    return json.dumps(files)
