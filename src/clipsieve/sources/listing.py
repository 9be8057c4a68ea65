"""From a folder, a name or a pattern to the files that it stands for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from clipsieve.errors import SourceError
from clipsieve.remote.connect import public_url
from clipsieve.sources.ahead import fetch_ahead
from clipsieve.sources.names import escape_name, is_hidden
from clipsieve.sources.patterns import expand_braces, is_glob
from clipsieve.sources.storage import Storage, StoredFile
from clipsieve.types import EXPORT_MANIFEST, EXPORT_MARKER

__all__ = ["list_files"]


def list_files(location: str, is_wanted: Callable[[str], bool], words: str) -> tuple[Storage, list[StoredFile]]:
    """Return the files that a location stands for, in order, and where they lie.

    Parameters
    ----------
    location : str
        A folder, at any depth of which files are looked for; a file; or a pattern.
    is_wanted : callable
        Which files of a folder count, by name; a file that was named always does.
    words : str
        What is looked for, for messages.

    Returns
    -------
    tuple of Storage and list of StoredFile
        At least one. A name from braces that is not there is listed too, and fails when it is read.

    Raises
    ------
    SourceError
        If there are none.
    """
    if os.path.exists(location):  # a name that holds braces or stars itself
        storage = Storage(location)
        files = _below(storage, storage.root, is_wanted)
    else:
        names = expand_braces(location)
        storage = Storage(names[0])
        files = [file for _, found in fetch_ahead(names, lambda name: _of(storage, name, is_wanted)) for file in found]
        if not any(file.stamp for file in files):
            files = []
    if not files:
        raise SourceError(
            f"there are no {words} at `{location}`", hint="check the spelling; another kind is read with `--source`"
        )
    root = _base_of(storage, location)
    return storage, [replace(file, name=_name_below(root, file.path)) for file in dict.fromkeys(files)]


def _base_of(storage: Storage, location: str) -> str:
    """Return the folder that names are relative to: the one that was given, or the one before the first brace or star."""
    if os.path.exists(location):
        return storage.root if os.path.isdir(location) else os.path.dirname(storage.root)
    marks = [place for mark in "{*?[" if (place := location.find(mark)) >= 0]
    if not marks:
        path = storage.path_of(location)
        return path if storage.info(path) is None else path.rpartition("/")[0]
    return storage.path_of(location[: min(marks)].rpartition("/")[0] or ".")


def _name_below(root: str, path: str) -> str:
    root, path = public_url(root), public_url(path)  # behind HTTP, a path is the whole URL
    return escape_name(path.removeprefix(root).lstrip("/").encode(errors="surrogateescape"))


def _of(storage: Storage, name: str, is_wanted: Callable[[str], bool]) -> list[StoredFile]:
    path = storage.path_of(name)
    if is_glob(name):
        return sorted((file for file in storage.glob(path) if not is_hidden(_last(file))), key=_order)
    found = storage.info(path)
    if found is not None:
        return [found]
    below = _below(storage, path, is_wanted) if storage.is_folder(path) else []
    return below or [StoredFile(path, None, "")]


def _below(storage: Storage, path: str, is_wanted: Callable[[str], bool]) -> list[StoredFile]:
    """Return the file itself, or the wanted files of a folder."""
    found = storage.info(path)
    if found is not None:
        return [found]
    files = storage.find(path)
    root = path.rstrip("/")
    is_export = any(file.path == f"{root}/{EXPORT_MARKER}" for file in files)
    passed_over = f"{root}/{EXPORT_MANIFEST}" if is_export else None
    visible = [file for file in files if not is_hidden(file.path.removeprefix(path)) and is_wanted(file.path)]
    visible = [file for file in visible if file.path != passed_over]
    return sorted(visible, key=_order)


def _last(file: StoredFile) -> str:
    return file.path.rpartition("/")[2]


def _order(file: StoredFile) -> bytes:
    return file.path.encode(errors="surrogateescape")
