"""Which `.npy` files of embeddings lie somewhere, and which Parquet file of metadata belongs to each."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipsieve.errors import SourceError
from clipsieve.types import EXPORT_MANIFEST, EXPORT_MARKER

__all__ = ["EmbeddingFile", "find_embeddings", "stamp_of"]

_NUMBER = re.compile(r"(\d+)(?!.*\d)")


@dataclass(frozen=True, slots=True)
class EmbeddingFile:
    """One array of embeddings, and the metadata of its rows.

    Attributes
    ----------
    embeddings : str
        Absolute path of the `.npy` file.
    metadata : str or None
        Absolute path of the Parquet file with one row for each row of the array.
    n_rows, embedding_dim : int
        The shape of the array.
    dtype : str
        "float16" or "float32".
    offset_bytes : int
        Where the array begins in its file.
    stamp : str
        Size and time of both files: what changes when they do.
    """

    embeddings: str
    metadata: str | None
    n_rows: int
    embedding_dim: int
    dtype: str
    offset_bytes: int
    stamp: str


def find_embeddings(location: str | Path) -> list[EmbeddingFile]:
    """Return the arrays that lie in a folder, in the order of their numbers.

    Parameters
    ----------
    location : str or Path
        A folder with `img_emb/` (and `metadata/`), a folder of `.npy` files, or one `.npy` file.

    Raises
    ------
    SourceError
        If there are none, one is not an array of n x d float16 or float32 numbers, their widths differ, or the metadata has
        another number of rows: joined by row, it would then tell lies.
    """
    root = Path(location).resolve()
    arrays = [root] if root.is_file() else _numbered(_folder_of(root), "*.npy")
    if not arrays:
        raise SourceError(
            f"there are no embeddings at `{location}`",
            expected="`img_emb/img_emb_0.npy` and so on, or .npy files",
            hint="paths are relative to where you are, and lie on this machine",
        )
    tables = _tables(root)
    lonely = [path.name for path in arrays if tables and _number(path) not in tables]
    if lonely:
        raise SourceError(
            f"{len(lonely):,} of {len(arrays):,} arrays at `{location}` have no metadata",
            expected=f"a Parquet file numbered as `{lonely[0]}`",
            found=", ".join(path.name for path in list(tables.values())[:5]),
        )
    surplus = [path.name for number, path in tables.items() if number not in {_number(path) for path in arrays}]
    if surplus:
        raise SourceError(
            f"{len(surplus):,} files of metadata at `{location}` have no array",
            expected=f"a .npy file numbered as `{surplus[0]}`",
            found=", ".join(path.name for path in arrays[:5]),
            hint="fetch what is missing, or take the metadata away",
        )
    files = [_describe(path, tables.get(_number(path))) for path in arrays]
    if not sum(file.n_rows for file in files):
        raise SourceError(f"the arrays at `{location}` have no rows")
    widths = sorted({file.embedding_dim for file in files})
    if len(widths) > 1:
        raise SourceError(
            f"the arrays at `{location}` differ in width", found=", ".join(map(str, widths)), expected="one encoder"
        )
    return files


def _folder_of(root: Path) -> Path:
    return root / "img_emb" if (root / "img_emb").is_dir() else root


def _tables(root: Path) -> dict[int, Path]:
    """Return the files of metadata by their number."""
    base = root.parent if root.is_file() or root.name == "img_emb" else root
    found = next(filter(None, (_numbered(folder, "*.parquet") for folder in (base / "metadata", base))), [])
    if root.is_file():
        found = [path for path in found if path.stem == root.stem or _number(path) == _number(root) >= 0]
    return {_number(path): path for path in found}


def _numbered(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a pattern by number; SourceError if two have the same."""
    # What an export has left beside the data is no metadata of it.
    left = EXPORT_MANIFEST if (folder / EXPORT_MARKER).exists() else None
    visible = (path for path in folder.glob(pattern) if not path.name.startswith(".") and path.name != left)
    found = sorted(visible, key=_order)
    for one, two in itertools.pairwise(found):
        if _number(one) == _number(two):
            raise SourceError(
                f"`{one.name}` and `{two.name}` in `{folder}` have the same number",
                expected="one file for each number: arrays and metadata are joined by it",
            )
    return found


def _order(path: Path) -> tuple[int, str]:
    return _number(path), path.name


def _number(path: Path) -> int:
    match = _NUMBER.search(path.stem)
    return int(match[1]) if match else -1


def _describe(path: Path, metadata: Path | None) -> EmbeddingFile:
    try:
        with path.open("rb") as file:
            shape, dtype, is_fortran = _header(file)
            offset = file.tell()
        n_bytes = path.stat().st_size
    except Exception as error:
        raise SourceError(
            f"cannot read `{path}`: {' '.join(str(error).split())[:200]}",
            expected="a .npy file of plain numbers; nothing in it is ever unpickled",
        ) from error
    fits = len(shape) == 2 and dtype in (np.float16, np.float32) and not is_fortran and dtype.isnative
    if not fits or min(shape[0], shape[1] - 1) < 0:
        raise SourceError(
            f"`{path}` holds no embeddings",
            expected="an array of n x d float16 or float32 numbers, row by row",
            found=f"shape {shape}, {dtype.name}{', column by column' if is_fortran else ''}",
        )
    if n_bytes < offset + shape[0] * shape[1] * dtype.itemsize:
        raise SourceError(
            f"`{path}` is cut short",
            expected=f"{offset + shape[0] * shape[1] * dtype.itemsize:,} bytes, for {shape[0]:,} rows",
            found=f"{n_bytes:,}",
            hint="fetch the file again",
        )
    file_facts = EmbeddingFile(
        str(path), str(metadata) if metadata else None, shape[0], shape[1], dtype.name, offset, ""
    )
    _check_rows(file_facts)
    return replace(file_facts, stamp=stamp_of(file_facts))


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any], bool]:  # noqa: ANN401
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    return shape, dtype, is_fortran


def _check_rows(file: EmbeddingFile) -> None:
    if file.metadata is None:
        return
    try:
        n_rows = pq.read_metadata(file.metadata).num_rows
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"cannot read `{file.metadata}`: {' '.join(str(error).split())[:200]}") from error
    if n_rows != file.n_rows:
        raise SourceError(
            f"`{file.metadata}` does not belong to `{file.embeddings}`",
            expected=f"{file.n_rows:,} rows, one for each embedding",
            found=f"{n_rows:,}",
            state="nothing was written: joined by row, ids and captions would be those of other images",
        )


def stamp_of(file: EmbeddingFile) -> str:
    """Return size and time of an array's files; OSError if one is gone."""
    facts = [Path(path).stat() for path in (file.embeddings, file.metadata) if path]
    return " ".join(f"{fact.st_size} {fact.st_mtime_ns}" for fact in facts)
