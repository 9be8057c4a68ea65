"""Files that are whole or absent: written under another name, flushed to disk, then renamed; or put whole behind a URL."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from clipsieve.errors import RunError
from clipsieve.store.files import put_bytes, read_bytes, read_text
from clipsieve.store.paths import RunPath

__all__ = ["append_line", "read_lines", "sync_folder", "write_json", "write_table", "write_whole"]


def write_table(path: RunPath, table: pa.Table, *, is_last: bool = True) -> None:
    """Write a Parquet file whose bytes depend on the table and on pyarrow's version alone.

    Parameters
    ----------
    path : Path or UPath
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

    def write(file: BinaryIO | io.BytesIO) -> None:
        # Embeddings do not compress; a dictionary of them would only cost time.
        dictionary = [
            name for name in ("label", "format", "failure_step", "failure_code") if name in table.schema.names
        ]
        compression = {name: "none" if name == "embedding" else "zstd" for name in _leaves(table.schema)}
        pq.write_table(table, file, compression=compression, use_dictionary=dictionary, row_group_size=1 << 20)

    write_whole(path, write, is_last=is_last)


def _leaves(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema]


def write_json(path: RunPath, value: dict[str, Any]) -> None:
    """Write an indented JSON file."""
    write_whole(path, lambda file: file.write(json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"))


def append_line(path: RunPath, value: dict[str, Any]) -> None:
    """Append one JSON object on a line of its own, also after a line that a power failure has cut.

    Behind a URL the file is read and put again: nothing else may append to it meanwhile.
    """
    line = json.dumps(value, ensure_ascii=False).encode() + b"\n"
    if isinstance(path, UPath):
        before = b""
        with contextlib.suppress(FileNotFoundError):
            before = read_bytes(path)
        put_bytes(path, before + (b"" if before.endswith(b"\n") or not before else b"\n") + line)
        return
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(line)


def read_lines(path: RunPath) -> list[dict[str, Any]]:
    """Return what `append_line` has written, or nothing; a line that was cut by a power failure is left out."""
    try:
        lines = read_text(path).splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def write_whole(path: RunPath, write: Callable[[BinaryIO | io.BytesIO], object], *, is_last: bool = True) -> None:
    """Let `write` fill a file that is whole or absent; RunError if the disk, the folder or the service does not allow it."""
    if isinstance(path, UPath):
        content = io.BytesIO()
        write(content)
        put_bytes(path, content.getvalue())
        return
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


def sync_folder(folder: RunPath) -> None:
    """Flush the names of a folder to disk, if there is one: what was renamed or removed in it stays so.

    A service does that by itself before it answers.
    """
    if isinstance(folder, UPath) or not folder.is_dir():
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
