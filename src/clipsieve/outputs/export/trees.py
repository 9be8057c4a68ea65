"""The files of a folder that is exported, on this machine or behind a URL: the inputs, and all that lies beside them."""

from __future__ import annotations

import json
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, Literal
from urllib.parse import unquote_to_bytes

from clipsieve.errors import ClipsieveError, SourceError
from clipsieve.evaluation.operating_points import Decision
from clipsieve.outputs.export.base import Unit
from clipsieve.outputs.export.companions import Decided
from clipsieve.outputs.export.local_files import is_leftover
from clipsieve.remote.connect import explain
from clipsieve.sources import FolderSource, RemoteFolderSource
from clipsieve.sources.names import is_hidden, legible
from clipsieve.sources.signatures import is_image_name, is_unread_image_name

__all__ = ["LocalTree", "Original", "Other", "RemoteTree", "Tree", "tree_of"]

NOT_EXPORTED = frozenset({".git", ".dvc", ".hg", ".svn"})  # the history of a folder holds what was removed from it
_N_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Original:
    """A file of the source that can be read.

    Attributes
    ----------
    path : str
        Where its content lies: behind all links, or as the storage takes it.
    n_bytes : int or None
        None where the server does not say.
    inode : (int, int) or None
        What a hard link to it shares, on this machine.
    """

    path: str
    n_bytes: int | None
    inode: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Other:
    """What lies in the source and is no input.

    Attributes
    ----------
    name : str
        The path below the root.
    kind : {"file", "link", "folder"}
        A folder is one that is empty; a link leads to a folder in the source.
    decision : Decision
        Where it goes.
    n_bytes : int or None
        Of a file, where a listing has told it.
    target : str
        Of a link: where it leads, relative to it.
    unseen : str
        Why nobody can tell what it shows, in words: such a file is never exported.
    is_scanned : bool
        Of a link: whether it leads to an input. Whatever else may show something is told by its first bytes once it is read.
    """

    name: str
    kind: Literal["file", "link", "folder"]
    decision: Decision
    n_bytes: int | None = None
    target: str = ""
    unseen: str = ""
    is_scanned: bool = False


class Tree(ABC):
    """A folder that is exported. Names are as a `Destination` takes them."""

    is_local: bool

    @abstractmethod
    def inputs(self, unit: Unit) -> list[tuple[str, int | None]]:
        """Return the name of each input of a unit, and its size where the listing has told it."""

    @abstractmethod
    def find(self, name: str, n_bytes: int | None) -> Original | str:
        """Return where a file can be read, or why it cannot, in words."""

    @abstractmethod
    def open(self, original: Original) -> BinaryIO | str:
        """Open a file, or return why that cannot be done, in words."""

    @abstractmethod
    def others(self, decided: Decided) -> Iterator[list[Other]]:
        """Yield what is no input, sorted by folder; SourceError for an image that nobody has decided on."""


def tree_of(source: FolderSource | RemoteFolderSource) -> Tree:
    """Return the tree of a source."""
    return LocalTree(source) if isinstance(source, FolderSource) else RemoteTree(source)


class LocalTree(Tree):
    """A folder of this machine."""

    is_local = True

    def __init__(self, source: FolderSource) -> None:
        self._source = source
        self._root = os.path.join(os.fsencode(source.root), b"")

    def inputs(self, unit: Unit) -> list[tuple[str, int | None]]:
        """See `Tree.inputs`."""
        return [(_text(unquote_to_bytes(image_id)), None) for image_id in unit.image_ids]

    def find(self, name: str, n_bytes: int | None) -> Original | str:  # noqa: ARG002
        """See `Tree.find`."""
        path = os.path.realpath(self._root + _raw(name))
        if not path.startswith(self._root):
            return "a link leads it out of the source"
        try:
            facts = os.stat(path)
        except FileNotFoundError:
            return "it is not there any more, or a link leads to nothing"
        except OSError as error:
            return error.strerror or type(error).__name__
        if not stat.S_ISREG(facts.st_mode):
            return "not a regular file"
        return Original(os.fsdecode(path), facts.st_size, (facts.st_dev, facts.st_ino))

    def open(self, original: Original) -> BinaryIO | str:
        """See `Tree.open`."""
        try:
            return open(os.open(original.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
        except OSError as error:
            return error.strerror or type(error).__name__

    def others(self, decided: Decided) -> Iterator[list[Other]]:
        """See `Tree.others`."""
        links_to_folders: list[Other] = []
        for folder, entries in self._walk():
            if folder and not entries:
                yield [Other(_text(folder), "folder", Decision.KEEP)]
            for start in range(0, len(entries), _N_BATCH):
                batch = entries[start : start + _N_BATCH]
                found = [other for entry in batch for other in self._other(folder, entry, decided)]
                links_to_folders += [other for other in found if other.kind == "link"]
                yield [other for other in found if other.kind != "link"]
        yield links_to_folders  # at the end: by then it is known which folders there are

    def _walk(self) -> Iterator[tuple[bytes, list[os.DirEntry[bytes]]]]:
        pending = [b""]
        while pending:
            folder = pending.pop()
            entries = sorted(self._source.entries(folder), key=lambda entry: entry.name)
            yield folder, entries
            below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            pending += [os.path.join(folder, name) for name in reversed(below) if _text(name) not in NOT_EXPORTED]

    def _other(self, folder: bytes, entry: os.DirEntry[bytes], decided: Decided) -> Iterator[Other]:
        relative = os.path.join(folder, entry.name)
        name = _text(relative)
        if name in decided or entry.is_dir(follow_symlinks=False) or is_leftover(_text(entry.name)):
            return
        if not is_hidden(name) and self._source.is_input(entry):
            raise _undecided(legible(self._root + relative))
        if entry.is_symlink():
            yield from self._link(name, os.path.realpath(entry.path), decided)
        elif entry.is_file(follow_symlinks=False):
            yield Other(name, "file", decided.decision_on(name), unseen=_unseen(name))

    def _link(self, name: str, target: bytes, decided: Decided) -> Iterator[Other]:
        """Yield a link to a folder as a link; one to a file, as that file, with the stricter decision."""
        decision = decided.decision_on(name)
        if not os.path.join(target, b"").startswith(self._root):
            yield Other(name, "file", decision, unseen="a link that leads out of the source, where nothing was scanned")
            return
        below = _text(target[len(self._root) :])
        if os.path.isdir(target):
            yield Other(name, "link", decision, target=os.path.relpath(f"/{below}", os.path.dirname(f"/{name}")))
        elif NOT_EXPORTED.isdisjoint(below.split("/")):
            is_scanned, decision = below in decided, max(decision, decided.decision_on(below))
            yield Other(name, "file", decision, unseen="" if is_scanned else _unseen(below), is_scanned=is_scanned)


class RemoteTree(Tree):
    """A folder behind a URL."""

    is_local = False

    def __init__(self, source: RemoteFolderSource) -> None:
        self._source = source

    def inputs(self, unit: Unit) -> list[tuple[str, int | None]]:
        """See `Tree.inputs`."""
        members = chain.from_iterable(shard.members for shard in unit.shards)
        return [tuple(json.loads(member)) for member in members]

    def find(self, name: str, n_bytes: int | None) -> Original | str:
        """See `Tree.find`."""
        return Original(self._source.path(name), n_bytes)

    def open(self, original: Original) -> BinaryIO | str:
        """See `Tree.open`."""
        try:
            return self._source.storage.open_whole(original.path)
        except ClipsieveError:
            raise
        except Exception as error:  # noqa: BLE001 - each service raises its own
            return explain(error).detail

    def others(self, decided: Decided) -> Iterator[list[Other]]:
        """See `Tree.others`."""
        batch: list[Other] = []
        files = sorted(self._source.storage.find(), key=lambda file: file.path.encode(errors="surrogateescape"))
        for file in files:
            name = self._source.relative(file)
            *folders, file_name = name.split("/")
            if name in decided or not file_name or not NOT_EXPORTED.isdisjoint(folders) or is_leftover(file_name):
                continue
            if not is_hidden(name) and is_image_name(name):
                raise _undecided(self._source.storage.url(file.path))
            batch.append(Other(name, "file", decided.decision_on(name), file.n_bytes, unseen=_unseen(name)))
            if len(batch) == _N_BATCH:
                yield batch
                batch = []
        yield batch


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


def _raw(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def _unseen(name: str) -> str:
    """Return why an image that is no input was never scanned, as far as its name tells."""
    if is_unread_image_name(name):
        return "an image of a kind that is not scanned"
    return "an image in a hidden place, which was not scanned" if is_image_name(name) else ""


def _undecided(where: str) -> SourceError:
    return SourceError(
        f"the source has changed since it was scanned: `{where}` is new",
        state="no file that belongs to no image was written after it; what is there is whole",
        hint="scan again: only what is new is encoded; then score, and export to a new place",
    )
