"""Which kind of source a location is, told by what lies there."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

from clipsieve.errors import SourceError
from clipsieve.remote.connect import is_url, plain_location
from clipsieve.sources.names import is_hidden, legible
from clipsieve.sources.patterns import expand_braces, has_braces, is_glob
from clipsieve.sources.signatures import is_image_name, is_table_name, is_tar_name
from clipsieve.sources.storage import Storage
from clipsieve.types import EXPORT_MANIFEST, EXPORT_MARKER

__all__ = ["KINDS", "recognise"]

MAX_LOOKED_AT = 10_000

KINDS = ("folder", "webdataset", "table", "huggingface", "embeddings")


def recognise(location: str) -> str:
    """Return the kind of source that lies at a path or URL: one of `KINDS`.

    A folder is what it holds: a data set of `datasets` by its description, embeddings by `img_emb`, then images, tar files,
    tables. Images beside tar files or Parquet files are not guessed at; beside CSV files, which describe them, they count.

    Raises
    ------
    SourceError
        If nothing lies there, or it may be more than one kind.
    """
    location = plain_location(location)
    is_there = _is_there(location)
    name = location if is_there or is_url(location) else expand_braces(location)[0]
    by_name = _by_name(expand_braces(name)[0] if is_url(name) else name)
    if is_there and not os.path.isdir(location):
        return by_name or _unknown(location)
    if not is_there and by_name:
        return by_name
    if not is_there and not is_url(location):
        if is_glob(name):
            raise SourceError(f"cannot tell what `{location}` stands for", hint="name its kind with `--source`")
        raise SourceError(
            f"there is nothing at `{location}`",
            hint="check the spelling; paths are relative to where you are. A data set of the Hugging Face hub is read "
            "with `--source huggingface`",
        )
    return _by_content(Storage(location), location)


def _is_there(location: str) -> bool:
    try:
        os.stat(location)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        if is_url(location) or has_braces(location) or is_glob(location):
            return False
        words = error.strerror if isinstance(error, OSError) else error
        raise SourceError(f"cannot open `{location}`: {words}") from error
    return True


def _by_name(location: str) -> str | None:
    tests: dict[str, Callable[[str], bool]] = {
        "webdataset": is_tar_name,
        "table": is_table_name,
        "embeddings": lambda name: name.endswith(".npy"),
    }
    path = location.partition("?")[0].partition("#")[0] if is_url(location) else location
    return next((kind for kind, test in tests.items() if test(path)), None)


def _unknown(location: str) -> str:
    raise SourceError(
        f"`{location}` is not a folder, a tar file or a table",
        expected="a folder of images, .tar, .tar.gz, .csv, .parquet, .npy, or a URL of one",
        hint="if it is one of these under another name, say which with `--source`",
    )


def _by_content(storage: Storage, location: str) -> str:
    top = storage.names()
    if {"dataset_info.json", "state.json"} <= top.keys() or "dataset_dict.json" in top:
        return "huggingface"
    files = [name for name, is_folder in top.items() if not is_folder and not is_hidden(name)]
    if top.get("img_emb") or any(name.startswith("img_emb") and name.endswith(".npy") for name in files):
        return "embeddings"
    found = _look_below(storage, passed_over={EXPORT_MANIFEST} if EXPORT_MARKER in top else set())
    if found["images"] and (found["tars"] or found["parquet"]):
        other = "tar files" if found["tars"] else "Parquet files"
        kind = "webdataset" if found["tars"] else "table"
        raise SourceError(
            f"`{location}` holds images and {other} side by side",
            state="nothing was read",
            hint=f"say which are meant: `--source folder` or `--source {kind}`",
        )
    if found["tars"]:
        return "webdataset"
    return "table" if not found["images"] and (found["parquet"] or found["csv"]) else "folder"


def _look_below(storage: Storage, passed_over: set[str]) -> dict[str, bool]:
    """Return which sorts of files lie in a folder, at any depth; behind a URL, among the first 10,000."""
    found = dict.fromkeys(("images", "tars", "parquet", "csv"), False)
    for name in _names_below(storage):
        if name in passed_over:
            continue
        found["images"] = found["images"] or is_image_name(name)
        found["tars"] = found["tars"] or is_tar_name(name)
        if is_table_name(name):
            found["parquet" if name.lower().endswith((".parquet", ".pq")) else "csv"] = True
    return found


def _names_below(storage: Storage) -> Iterator[str]:
    if storage.is_local:
        for _, folders, names in os.walk(storage.root, onerror=_refuse):
            folders[:] = [name for name in folders if not is_hidden(name)]
            yield from (name for name in names if not is_hidden(name))
        return
    listed = (name for _, _, names in storage.filesystem.walk(storage.root) for name in names if not is_hidden(name))
    yield from itertools.islice(listed, MAX_LOOKED_AT)


def _refuse(error: OSError) -> None:
    where = legible(os.fsencode(error.filename))
    raise SourceError(f"cannot list the folder `{where}`: {error.strerror}", hint="make the folder readable") from error
