"""Files that are whole or absent: written under another name, flushed to disk, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from clipsieve.errors import RunError

__all__ = ["append_line", "sync_folder", "write_json", "write_table", "write_whole"]


def write_table(path: Path, table: pa.Table, *, is_last: bool = True) -> None:
    """Write a Parquet file whose bytes depend on the table and on pyarrow's version alone.

    Parameters
    ----------
    path : Path
        Of the file.
    table : pyarrow.Table
        Its rows.
    is_last : bool, default=True
        Whether its name is on disk, too, when this returns. Of many files, that of the last is enough, or `sync_folder`: until
        then a power failure may leave a file that was there before, or none. A whole one it is in any case, since its content
        is flushed before it gets its name.

    Raises
    ------
    RunError
        If it cannot be written.
    """

    def write(file: BinaryIO) -> None:
        # Embeddings do not compress; a dictionary of them would only cost time.
        dictionary = [
            name for name in ("label", "format", "failure_step", "failure_code") if name in table.schema.names
        ]
        compression = {name: "none" if name == "embedding" else "zstd" for name in _leaves(table.schema)}
        pq.write_table(table, file, compression=compression, use_dictionary=dictionary, row_group_size=1 << 20)

    write_whole(path, write, is_last=is_last)


def _leaves(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema]


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write an indented JSON file."""
    write_whole(path, lambda file: file.write(json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"))


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Append one JSON object on a line of its own, also after a line that a power failure has cut."""
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")


def write_whole(path: Path, write: Callable[[BinaryIO], object], *, is_last: bool = True) -> None:
    """Let `write` fill a file that is whole or absent; RunError if the disk or the folder does not allow it."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        if is_last:
            sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise RunError(
            f"cannot write `{path}`: {error.strerror or error}",
            state="every part that was finished before is whole and kept",
            hint="make room or mend the permissions, then give the same command again: it goes on from there",
        ) from error


def sync_folder(folder: Path) -> None:
    """Flush the names of a folder to disk, if there is one: what was renamed or removed in it stays so."""
    if not folder.is_dir():
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
