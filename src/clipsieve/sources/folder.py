"""A folder of images, nested to any depth."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, unquote_to_bytes

from clipsieve.errors import SourceError
from clipsieve.sources.base import MAX_BYTES, Known, Source, one_member
from clipsieve.sources.local_file import read_local_file
from clipsieve.sources.names import escape_name, label_of, legible
from clipsieve.sources.signatures import EXTENSIONS, N_SIGNATURE_BYTES, looks_like_an_image
from clipsieve.types import ImageRef, Plan, Shard

__all__ = ["FolderSource"]


class FolderSource(Source):
    """Every image below a folder, in the order of its path's bytes.

    Inputs are the regular files whose name ends like an image's, in any case, and files without an extension that begin
    like one. Hidden files and folders are passed over. A symbolic link counts when it leads to a file below the same
    root; links to folders are not followed, so that nothing is listed twice. The label is the first folder of the path,
    as in torchvision's ImageFolder; a file that lies directly in the root has none.

    Parameters
    ----------
    root : Path
        The folder.
    max_bytes : int
        Larger files are not read but recorded as failures.
    """

    kind: ClassVar[str] = "folder"

    def __init__(self, root: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.root = Path(os.path.realpath(root))
        self.max_bytes = max_bytes

    @property
    def location(self) -> str:
        r"""The absolute path of the folder; a byte that is no UTF-8 as `\xNN`, since the run's files are UTF-8."""
        return legible(os.fsencode(self.root))

    def plan(self, part_size: int, known: Known | None = None) -> Plan:  # noqa: ARG002 - listing is cheap here
        """List the folder and cut the listing into shards; see `Source.plan`."""
        ignored: Counter[bytes] = Counter()
        shards = tuple(self._cut(self._list(ignored), part_size))
        if not shards:
            raise self._nothing_found(ignored)
        return Plan(shards=shards, n_ignored=ignored.total())

    def read(self, shard: Shard) -> Iterator[ImageRef]:
        """Read the shard's files; see `Source.read`."""
        for member in shard.members:
            path = os.path.join(os.fsencode(self.root), unquote_to_bytes(member))
            yield ImageRef(
                image_id=member,
                uri="file://" + quote(path),
                label=label_of(member),
                caption=None,
                content=read_local_file(path, self.max_bytes, inside=os.fsencode(self.root)),
            )

    def one(self, shard: Shard, position: int) -> Shard:
        """Return a shard with one file of another; see `Source.one`."""
        return one_member(shard, position)

    def _list(self, ignored: Counter[bytes]) -> Iterator[bytes]:
        """Yield the relative paths of the images, sorted by bytes, and count the endings of whatever else is not hidden.

        Only the names that are still to come are held, of the folders on the way to the one that is read.
        """
        pending = [b""]
        while pending:
            relative = pending.pop()
            if relative and not relative.endswith(b"/"):
                yield relative
            else:
                pending += sorted(self._within(relative, ignored), reverse=True)

    def _within(self, folder: bytes, ignored: Counter[bytes]) -> Iterator[bytes]:
        """Yield the images and the folders of a folder; a folder ends in a slash, and so sorts as the paths in it do."""
        for entry in self.entries(folder):
            if entry.name.startswith(b"."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield folder + entry.name + b"/"
            elif self.is_input(entry):
                yield folder + entry.name
            else:
                ignored[os.path.splitext(entry.name)[1]] += 1

    def entries(self, folder: bytes) -> Iterator[os.DirEntry[bytes]]:
        """Yield what lies directly in a folder below the root; SourceError if it cannot be listed."""
        path = os.path.join(os.fsencode(self.root), folder)
        try:
            with os.scandir(path) as entries:
                yield from entries
        except OSError as error:
            raise SourceError(
                f"cannot list the folder `{legible(path)}`: {error.strerror}",
                state="nothing was read: a listing with a hole in it would lose images in silence",
                hint="make the folder readable, or scan the folders that are",
            ) from error

    def is_input(self, entry: os.DirEntry[bytes]) -> bool:
        """Return whether an entry is one of the inputs, provided that neither it nor a folder it lies in is hidden."""
        return self._is_inside(entry) and self._is_named_or_begins_so(entry)

    def _is_inside(self, entry: os.DirEntry[bytes]) -> bool:
        """Return whether an entry is a regular file of this folder; a link to nothing counts, and fails when it is read."""
        if entry.is_file(follow_symlinks=False):
            return True
        if not entry.is_symlink():
            return False
        target = os.path.realpath(entry.path)
        return self._is_below(target) and (os.path.isfile(target) or not os.path.exists(target))

    def _is_below(self, path: bytes) -> bool:
        return path.startswith(os.path.join(os.fsencode(self.root), b""))

    @staticmethod
    def _is_named_or_begins_so(entry: os.DirEntry[bytes]) -> bool:
        _, dot, ending = entry.name.rpartition(b".")
        if dot:
            return _is_image_ending(ending)
        try:
            with open(entry.path, "rb") as file:
                return looks_like_an_image(file.read(N_SIGNATURE_BYTES))
        except OSError:
            return True  # it cannot be told apart from an image, so it becomes a failure and not a silence

    def _cut(self, paths: Iterator[bytes], part_size: int) -> Iterator[Shard]:
        for index in itertools.count():
            if not (members := list(itertools.islice(paths, part_size))):
                return
            yield self._shard(index, members)

    def _shard(self, index: int, paths: list[bytes]) -> Shard:
        root = os.path.join(os.fsencode(self.root), b"")
        digest = hashlib.sha256()
        for relative in paths:
            digest.update(relative + b"\0" + _stamp(root + relative) + b"\n")
        return Shard(index, tuple(escape_name(relative) for relative in paths), digest.hexdigest(), len(paths))

    def _nothing_found(self, ignored: Counter[bytes]) -> SourceError:
        if not ignored:
            return SourceError(
                f"the folder `{self.location}` is empty", expected="at least one image", found="no files"
            )
        kinds = ((kind.decode(errors="replace") or "no extension", n) for kind, n in ignored.most_common(5))
        listed = ", ".join(f"{kind} {n:,}" for kind, n in kinds)
        files = "1 other file" if ignored.total() == 1 else f"{ignored.total():,} other files"
        return SourceError(
            f"the folder `{self.location}` holds no images",
            expected="files such as .jpg, .png, .webp",
            found=f"{files}: {listed}",
        )


@lru_cache(maxsize=1024)
def _is_image_ending(ending: bytes) -> bool:
    return f".{ending.decode(errors='replace')}".lower() in EXTENSIONS


def _stamp(path: bytes) -> bytes:
    """Return what changes when a file does: its size and time."""
    try:
        facts = os.stat(path)
    except OSError as error:
        return b"unreadable %d" % (error.errno or 0)
    return b"%d %d" % (facts.st_size, facts.st_mtime_ns)
