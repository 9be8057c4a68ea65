"""What a run asks of the place where it lies, on this machine or behind a URL.

Of this machine, an error is the system's own. Behind a URL passing faults are met by trying again; what is not there is a
FileNotFoundError as on this machine, and anything else a RunError in words: a service that does not answer must not pass for a
part that is damaged.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from upath import UPath

from clipsieve.errors import ClipsieveError, RunError
from clipsieve.remote.connect import explain, missing_library
from clipsieve.remote.retry import with_retries
from clipsieve.remote.whole import is_put_whole, put_whole, replace
from clipsieve.store.paths import RunPath, is_remote

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = [
    "N_REQUESTS",
    "ask",
    "exists",
    "filesystem_of",
    "in_parallel",
    "is_folder",
    "matching",
    "names_in",
    "put_bytes",
    "read_bytes",
    "read_text",
    "remove",
    "remove_empty_folders",
    "remove_matching",
    "rename",
    "what_is_missing",
]

_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs"})
N_REQUESTS = 16  # under way at once, where a service takes several
Item = TypeVar("Item")
Result = TypeVar("Result")


def filesystem_of(path: UPath) -> AbstractFileSystem:
    """Return what reaches a place; MissingExtraError if its library is not installed, RunError if it cannot be opened."""
    try:
        return path.fs
    except ImportError as error:
        raise missing_library(str(path.protocol), error) from error
    except Exception as error:
        raise RunError(f"cannot open `{path}`: {explain(error).detail}") from error


def ask(path: UPath, call: Callable[[AbstractFileSystem], Result], verb: str = "read") -> Result:
    """Return what a call of the service gives; errors as this module's, FileNotFoundError among them."""
    filesystem = filesystem_of(path)
    try:
        return with_retries(lambda: call(filesystem))
    except (FileNotFoundError, FileExistsError, ClipsieveError):
        raise
    except Exception as error:
        raise RunError(
            f"cannot {verb} `{path}`: {explain(error).detail}",
            state="every part that was finished before is whole and kept",
            hint="see that the service can be reached and allows it, then give the same command again",
        ) from error


def read_bytes(path: RunPath) -> bytes:
    """Return the content of a file, in one request."""
    return bytes(ask(path, lambda fs: fs.cat_file(path.path))) if is_remote(path) else path.read_bytes()


def read_text(path: RunPath) -> str:
    """Return the content of a file of UTF-8."""
    return read_bytes(path).decode("utf-8")


def put_bytes(path: UPath, content: bytes) -> None:
    """Write a file behind a URL, whole or not at all; RunError in words if that cannot be done."""
    filesystem = filesystem_of(path)
    protocol, temporary = str(path.protocol), str((path.parent / f".{path.name}.tmp").path)
    try:
        if not is_put_whole(protocol):
            with_retries(lambda: filesystem.makedirs(path.parent.path, exist_ok=True))
        put_whole(filesystem, protocol, path.path, temporary, lambda name: filesystem.pipe_file(name, content))
    except Exception as error:
        is_gone = isinstance(error, FileNotFoundError)
        raise RunError(
            f"cannot write `{path}`: {_no_bucket(path) if is_gone else explain(error).detail}",
            state="every part that was finished before is whole and kept",
            hint="mend that, then give the same command again: it goes on from there",
        ) from error


def _no_bucket(path: UPath) -> str:
    return (
        f"there is no bucket `{path.path.partition('/')[0]}`" if path.protocol in _BUCKETS else "there is no such place"
    )


def exists(path: RunPath) -> bool:
    """Return whether a file lies there; of a service that does not answer that is not known, and an error."""
    if not is_remote(path):
        return path.exists()
    try:
        ask(path, lambda fs: fs.info(path.path))
    except FileNotFoundError:
        return False
    return True


def is_folder(path: RunPath) -> bool:
    """Return whether a folder lies there; of an object store, whether anything is below that name."""
    if not is_remote(path):
        return path.is_dir()
    try:
        return bool(ask(path, lambda fs: fs.info(path.path)).get("type") == "directory")
    except FileNotFoundError:
        return False


def what_is_missing(folder: RunPath) -> str:
    """Return in words what is not there, where a file was looked for in a folder and not found."""
    if is_folder(folder):
        return "no such file"
    root = folder.path.partition("/")[0] if is_remote(folder) and folder.protocol in _BUCKETS else ""
    if root and is_remote(folder) and not exists(UPath(f"{folder.protocol}://{root}", **folder.storage_options)):
        return f"no bucket `{root}`"
    return "no such folder"


def names_in(folder: RunPath) -> list[str]:
    """Return the names of what lies directly in a folder, sorted; none if there is no such folder."""
    try:
        if not is_remote(folder):
            return sorted(entry.name for entry in folder.iterdir())
        found = ask(folder, lambda fs: fs.ls(folder.path, detail=False), "list")
    except (FileNotFoundError, NotADirectoryError):
        return []
    own = folder.path.strip("/")
    places = (str(each).strip("/") for each in found)
    return sorted({place.rpartition("/")[2] for place in places if place != own})


def matching(root: RunPath, pattern: str) -> list[RunPath]:
    """Return the files that a pattern names below a folder, such as `scores/*/part-*.parquet`; the folder's own name is none."""
    folders = [root]
    *steps, last = pattern.split("/")
    for step in steps:
        folders = [folder / name for folder in folders for name in (names_in(folder) if step == "*" else [step])]
    found = in_parallel(root, names_in, folders)
    return [
        folder / name for folder, names in zip(folders, found, strict=True) for name in names if fnmatchcase(name, last)
    ]


def remove(path: RunPath) -> None:
    """Remove a file, if it is there."""
    if not is_remote(path):
        path.unlink(missing_ok=True)
        return
    with contextlib.suppress(FileNotFoundError):
        ask(path, lambda fs: fs.rm_file(path.path), "remove")


def remove_matching(root: RunPath, pattern: str) -> None:
    """Remove the files that a pattern names, as for `matching`."""
    for _ in in_parallel(root, remove, matching(root, pattern)):
        pass


def remove_empty_folders(folder: RunPath) -> None:
    """Remove the folders in a folder of this machine that hold nothing; an object store has none."""
    for name in names_in(folder) if isinstance(folder, Path) else ():
        with contextlib.suppress(OSError):  # not empty: somebody's own files
            (folder / name).rmdir()


def rename(path: RunPath, target: RunPath) -> None:
    """Give a file another name in its folder; one that has it is replaced."""
    if isinstance(path, Path) and isinstance(target, Path):
        path.replace(target)
    elif is_remote(path) and is_remote(target):
        to = target.path
        if is_put_whole(str(path.protocol)):
            ask(path, lambda fs: fs.cp_file(path.path, to), "copy")
        else:
            ask(path, lambda fs: replace(fs, path.path, to), "rename")
            return
        remove(path)


def in_parallel(place: RunPath, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield what `work` makes of each item, in order: of this machine one after the other, else several requests at once."""
    if not is_remote(place) or not getattr(filesystem_of(place), "async_impl", False):
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(N_REQUESTS)
    under_way: deque[Future[Result]] = deque()  # no more than that: what is read ahead must fit into memory
    try:
        for item in items:
            under_way.append(pool.submit(work, item))
            if len(under_way) == N_REQUESTS:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
