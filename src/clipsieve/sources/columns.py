"""From a row of a table to an image: which column holds what, and what its cells mean."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from clipsieve.errors import SourceError, UsageError
from clipsieve.remote.connect import is_url, public_url
from clipsieve.sources.ahead import fetch_ahead
from clipsieve.sources.local_file import read_failure, read_local_file, too_many_bytes
from clipsieve.sources.storage import Storage
from clipsieve.types import Failure, FailureCode, ImageRef

__all__ = [
    "CellReader",
    "Columns",
    "Row",
    "RowReader",
    "UniqueIds",
    "choose_columns",
    "class_names",
    "holds_bytes",
    "text_of",
]

# Tried in this order where nobody named a column.
IMAGE_NAMES = (
    *("image", "img", "jpg", "png", "image_bytes", "bytes", "path", "image_path", "img_path", "file_path", "filepath"),
    *("file_name", "filename", "file", "image_url", "url", "img_name"),
)
# What a table may name: a table from the web must not make its reader run or reach anything else.
_SCHEMES = {"http", "https", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "hf"}


Row = dict[str, Any] | Failure


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a table holds what; None leaves the choice, or the matter, open."""

    image: str | None = None
    id: str | None = None
    label: str | None = None
    caption: str | None = None

    def named(self) -> dict[str, str]:
        """Return the columns that are known, by what they hold."""
        return {what: name for what, name in asdict(self).items() if name is not None}


def choose_columns(schema: pa.Schema, wanted: Columns, *, where: str) -> Columns:
    """Return the columns to read: those that were named, and for the rest what a table's names and types say.

    Raises
    ------
    UsageError
        If a column that was named is not there.
    SourceError
        If no column, or more than one, may hold the images.
    """
    names = list(schema.names)
    for what, name in wanted.named().items():
        if names.count(name) != 1:
            raise UsageError(
                f"there is no column `{name}` for the {what} in `{where}`"
                if name not in names
                else f"there are {names.count(name)} columns `{name}` in `{where}`",
                expected=_listed(names),
                hint=f"name it with `--{what}-column`",
            )
    return Columns(
        image=wanted.image or _image_column(schema, where),
        id=wanted.id,
        label=wanted.label or _first(names, ("label", "class", "cls")),
        caption=wanted.caption or _first(names, ("caption", "text", "TEXT")),
    )


def _image_column(schema: pa.Schema, where: str) -> str:
    holding_bytes = [field.name for field in schema if holds_bytes(field.type)]
    if len(holding_bytes) == 1:
        return str(holding_bytes[0])
    name = _first(holding_bytes or list(schema.names), IMAGE_NAMES)
    if name is None:
        raise SourceError(
            f"cannot tell which column of `{where}` holds the images",
            found=_listed(list(schema.names)),
            hint="name it with `--image-column`",
        )
    return name


def holds_bytes(kind: pa.DataType) -> bool:
    """Return whether the cells of a column may hold images, and not only name them."""
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _first(names: Sequence[str], candidates: Sequence[str]) -> str | None:
    return next((name for name in candidates if name in names), None)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:12])
    return f"{shown}, ... ({len(names):,} in all)" if len(names) > 12 else shown or "no columns"


def class_names(schema: pa.Schema, column: str | None) -> list[str] | None:
    """Return the names behind a column of class numbers, as Hugging Face's libraries write them into a schema."""
    try:
        facts = json.loads((schema.metadata or {})[b"huggingface"])
        names = facts["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def text_of(value: object, names: Sequence[str] | None = None) -> str | None:
    """Return a cell as text; a class number as its name, where the names are known."""
    if isinstance(value, int) and not isinstance(value, bool) and names and 0 <= value < len(names):
        return names[value]
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return None if value is None else str(value)


class UniqueIds:
    """Makes sure that the rows of a table have an id each: what is found is told, and decided, by id.

    Parameters
    ----------
    column, where : str
        For messages.
    """

    def __init__(self, column: str, where: str) -> None:
        self._column = column
        self._where = where
        self._seen: set[bytes] = set()

    def add(self, text: str | None, place: str) -> None:
        """Take in one id; UsageError if it is empty or was there before."""
        digest = hashlib.blake2b((text or "").encode(errors="surrogateescape"), digest_size=12).digest()
        if not text or digest in self._seen:
            raise UsageError(
                f"the column `{self._column}` does not tell the rows of `{self._where}` apart",
                expected="another text in each row",
                found=f"{f'`{text[:100]}` again' if text else 'an empty cell'} in {place}",
                state="nothing was written",
                hint="name another column with `--id-column`, or none: then file and row are the id",
            )
        self._seen.add(digest)


class CellReader:
    """Turns the cells of an image column into encoded images.

    Parameters
    ----------
    folder : str
        What relative paths are relative to, as the storage takes it.
    storage : Storage
        Where the table lies.
    max_bytes : int
        Larger images are not read.
    is_local : bool, optional
        Whether cells may name files of this machine; by default, where the table itself lies there.
    """

    def __init__(self, folder: str, storage: Storage, max_bytes: int, *, is_local: bool | None = None) -> None:
        self._folder = folder
        self._is_local = storage.is_local if is_local is None else is_local
        self._storage = storage
        self._max_bytes = max_bytes
        self._others: dict[str, Storage] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_others": {}}

    def read(self, cell: object) -> tuple[bytes | Failure, str | None]:
        """Return the encoded image of a cell, or why there is none; and where it lies, if not in the cell itself."""
        if isinstance(cell, Mapping):
            inner = cell.get("bytes")
            return self.read(inner if inner is not None else cell.get("path"))
        if isinstance(cell, bytes):
            return (too_many_bytes(len(cell), self._max_bytes) if len(cell) > self._max_bytes else cell), None
        if not isinstance(cell, str) or not cell.strip():
            found = (
                "the cell is empty" if cell is None or cell == "" else f"the cell holds {type(cell).__name__}: {cell}"
            )
            return read_failure(FailureCode.NOT_FOUND, found[:200]), None
        return self._read_url(cell) if is_url(cell) else self._read_path(cell)

    def _read_path(self, path: str) -> tuple[bytes | Failure, str]:
        if self._is_local:
            full = os.path.join(self._folder, path)
            return read_local_file(os.fsencode(full), self._max_bytes), self._storage.url(os.path.abspath(full))
        if self._storage.is_local or path.startswith("/") or ".." in path.split("/"):
            detail = "a table behind a URL may only name files beside it and URLs"
            return read_failure(FailureCode.NOT_PERMITTED, detail), path
        full = f"{self._folder.rstrip('/')}/{path}"
        return self._storage.read(full, self._max_bytes), self._storage.url(full)

    def _read_url(self, url: str) -> tuple[bytes | Failure, str]:
        scheme = url.partition("://")[0].lower()
        if scheme == "file" and self._is_local and "::" not in url:
            return self._read_path(unquote(urlsplit(url).path))
        if scheme not in _SCHEMES or "::" in url:
            return read_failure(FailureCode.NOT_PERMITTED, f"a table may not name `{scheme}://`"), url
        try:
            storage = self._storage_for(url)
            path = storage.path_of(url)
        except Exception as error:  # noqa: BLE001 - a library that is missing, a URL that is malformed
            return read_failure(FailureCode.READ_ERROR, " ".join(str(error).split())[:200]), url
        return storage.read(path, self._max_bytes), public_url(url)

    def _storage_for(self, url: str) -> Storage:
        """Return the storage of a URL's protocol and host, the same one for all such URLs."""
        parts = urlsplit(url)
        key = f"{parts.scheme}://{parts.netloc}"
        if key not in self._others:
            if len(self._others) > 1000:  # a table of the whole web: connections are not kept for ever
                self._others.clear()
            self._others[key] = Storage(key)
        return self._others[key]


class RowReader:
    """Turns the rows of a table into references to images.

    Parameters
    ----------
    columns : Columns
        Which column holds what.
    schema : pyarrow.Schema
        Of the table; it may name the classes behind numbers.
    cells : CellReader
        Reads the image column.
    """

    def __init__(self, columns: Columns, schema: pa.Schema, cells: CellReader) -> None:
        self._columns = columns
        self._image = columns.image or ""
        self._class_names = class_names(schema, columns.label)
        self._cells = cells

    def read(self, name: str, url: str, rows: Iterator[Row], start: int) -> Iterator[ImageRef]:
        """Yield a reference for each row of a file, fetching several at once; `start` is the number of the first row."""
        for (index, row), (content, place) in fetch_ahead(enumerate(rows, start), self._fetch):
            facts = {} if isinstance(row, Failure) else row
            columns = self._columns
            image_id = text_of(facts.get(columns.id)) if columns.id else None
            label = text_of(facts.get(columns.label), self._class_names) if columns.label else None
            caption = text_of(facts.get(columns.caption)) if columns.caption else None
            # A row without its own id gets one that no cell is likely to hold.
            row_id = f"{name}:{index}" if columns.id is None else f"?{name}:{index}"
            yield ImageRef(image_id or row_id, place or f"{url}#{index}", label or None, caption or None, content)

    def _fetch(self, item: tuple[int, Row]) -> tuple[bytes | Failure, str | None]:
        row = item[1]
        if isinstance(row, Failure):
            return row, None
        if self._image not in row:
            return read_failure(FailureCode.CORRUPT, f"the file has no column `{self._image}`"), None
        return self._cells.read(row[self._image])
