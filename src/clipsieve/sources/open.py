"""From what a person typed to a source: which kind it is, is told by what lies there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from clipsieve.errors import SourceError, UsageError
from clipsieve.remote.connect import is_url, plain_location, public_url
from clipsieve.sources.base import MAX_BYTES, Source
from clipsieve.sources.columns import Columns
from clipsieve.sources.folder import FolderSource
from clipsieve.sources.huggingface import HuggingFaceSource
from clipsieve.sources.listing import list_files
from clipsieve.sources.recognise import KINDS, recognise
from clipsieve.sources.remote_folder import RemoteFolderSource
from clipsieve.sources.signatures import is_table_name, is_tar_name
from clipsieve.sources.storage import Storage
from clipsieve.sources.table import TableSource
from clipsieve.sources.webdataset import WebDatasetSource

__all__ = ["open_source"]


def open_source(
    location: str | Path, kind: str = "auto", *, columns: Columns | None = None, max_bytes: int = MAX_BYTES
) -> Source:
    """Return the source that lies at a path or URL.

    Parameters
    ----------
    location : str or Path
        A folder of images; tar files or tables, or a folder of them, or a pattern with `{00..99}`, `*`, `?`; a folder from
        `save_to_disk`; any of these as a URL. With `kind="huggingface"`, also an id of the hub.
    kind : {"auto", "folder", "webdataset", "table", "huggingface"}
        "auto" looks at what lies there.
    columns : Columns, optional
        Which column of a table holds what.
    max_bytes : int, default=512 MiB
        Larger images are not read but recorded as failures.

    Raises
    ------
    SourceError
        If nothing lies there, it cannot be listed, or it is not of that kind.
    UsageError
        If columns are named for a source that has none, or precomputed embeddings are opened as images.
    MissingExtraError
        If the location needs a library that is not installed.
    """
    text = plain_location(str(location))
    found = recognise(text) if kind == "auto" else kind
    if columns and columns.named() and found not in ("table", "huggingface"):
        raise UsageError(f"columns were named, but `{text}` is read as {found}", hint="tables alone have columns")
    if found == "huggingface":
        return HuggingFaceSource(text, columns, max_bytes=max_bytes)
    if found == "folder":
        return _folder(text, max_bytes)
    if found == "webdataset":
        storage, files = list_files(text, is_tar_name, "tar files")
        return WebDatasetSource(_whole(text), storage, files, max_bytes=max_bytes)
    if found == "table":
        storage, files = list_files(text, is_table_name, "CSV or Parquet files")
        return TableSource(_whole(text), storage, files, columns, max_bytes=max_bytes)
    raise UsageError(
        f"`{text}` holds no images to open: it is read as {found}",
        expected="one of " + ", ".join(f"`{name}`" for name in KINDS),
        hint="precomputed embeddings are taken in by `clipsieve scan` and `clipsieve.adopt_embeddings`",
    )


def _whole(location: str) -> str:
    return public_url(location) if is_url(location) else os.path.abspath(location)


def _folder(location: str, max_bytes: int) -> Source:
    if is_url(location):
        return RemoteFolderSource(Storage(location), max_bytes=max_bytes)
    try:
        mode = os.stat(location).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(
            f"there is no folder `{location}`", hint="check the spelling; paths are relative to where you are"
        ) from None
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else error
        raise SourceError(f"cannot open the folder `{location}`: {words}") from error
    if not stat.S_ISDIR(mode):
        raise SourceError(f"`{location}` is not a folder", expected="a folder of images", found="a file")
    return FolderSource(Path(location), max_bytes=max_bytes)
