"""Which kind of source a location is, told by what lies there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from clipsieve.errors import SourceError
from clipsieve.sources.names import is_hidden
from clipsieve.sources.patterns import expand_braces, has_braces, is_glob
from clipsieve.sources.signatures import is_image_name, is_table_name, is_tar_name
from clipsieve.sources.storage import Storage, is_url

__all__ = ["KINDS", "recognise"]

KINDS = ("folder", "webdataset", "table", "huggingface", "embeddings")


def recognise(location: str) -> str:
    """Return the kind of source that lies at a path or URL: one of `KINDS`.

    A folder is what it holds: a data set of `datasets` by its description, embeddings by `img_emb`, then images, tar files,
    tables. Images and tar files side by side are not guessed at.

    Raises
    ------
    SourceError
        If nothing lies there, or it may be more than one kind.
    """
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
    has_images = _holds_an_image(storage, files)
    if any(map(is_tar_name, files)):
        if has_images:
            raise SourceError(
                f"`{location}` holds images and tar files side by side",
                state="nothing was read",
                hint="say which are meant: `--source folder` or `--source webdataset`",
            )
        return "webdataset"
    if not has_images and (any(map(is_table_name, files)) or _has_tables_below(storage, top)):
        return "table"
    return "folder"


def _holds_an_image(storage: Storage, top: Iterable[str]) -> bool:
    """Return whether a folder holds an image at any depth; it is walked only until one is found."""
    if any(map(is_image_name, top)):
        return True
    walk = os.walk(storage.root) if storage.is_local else storage.filesystem.walk(storage.root)
    for _, folders, names in walk:
        if any(is_image_name(name) and not is_hidden(name) for name in names):
            return True
        folders[:] = [name for name in folders if not is_hidden(name)]
    return False


def _has_tables_below(storage: Storage, top: dict[str, bool]) -> bool:
    """Return whether tables lie in `data/`, as in a snapshot of a data set of the hub."""
    if not top.get("data"):
        return False
    return any(map(is_table_name, storage.names(f"{storage.root.rstrip('/')}/data")))
