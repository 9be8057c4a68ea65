"""A folder of images behind a URL."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import ClassVar

from clipsieve.errors import SourceError
from clipsieve.sources.ahead import fetch_ahead
from clipsieve.sources.base import MAX_BYTES, Known, Source, one_member
from clipsieve.sources.names import escape_name, is_hidden, label_of
from clipsieve.sources.signatures import is_image_name
from clipsieve.sources.storage import Storage, StoredFile
from clipsieve.types import Failure, ImageRef, Plan, Shard

__all__ = ["RemoteFolderSource"]


class RemoteFolderSource(Source):
    """Every image below a URL, in the order of its path's bytes.

    As `FolderSource`, with two differences: a file without an extension is not an input, since telling would cost a request for
    each; and several files are fetched at once, since each is a wait.

    Parameters
    ----------
    storage : Storage
        Its root is the folder.
    max_bytes : int
        Larger files are not read but recorded as failures.
    """

    kind: ClassVar[str] = "folder"

    def __init__(self, storage: Storage, *, max_bytes: int = MAX_BYTES) -> None:
        self._storage = storage
        self.max_bytes = max_bytes

    @property
    def storage(self) -> Storage:
        """Where the files lie; its root is the folder."""
        return self._storage

    @property
    def location(self) -> str:
        """The URL."""
        return self._storage.url(self._storage.root)

    def plan(self, part_size: int, known: Known | None = None) -> Plan:  # noqa: ARG002 - listing is cheap here
        """List the folder and cut the listing into shards; see `Source.plan`."""
        listed = {self.relative(file): file for file in self._storage.find()}
        visible = {name: file for name, file in listed.items() if not is_hidden(name) and not name.endswith("/")}
        found = sorted((name for name in visible if is_image_name(name)), key=str.encode)
        if not found:
            raise SourceError(
                f"no images at `{self.location}`",
                expected="files such as .jpg, .png, .webp",
                found=f"{len(visible):,} other files" if visible else "nothing",
                hint="check the spelling; data of another kind is read with `--source`",
            )
        cuts = range(0, len(found), part_size)
        shards = [_shard(i, found[start : start + part_size], visible) for i, start in enumerate(cuts)]
        return Plan(tuple(shards), n_ignored=len(visible) - len(found))

    def read(self, shard: Shard) -> Iterator[ImageRef]:
        """Fetch the shard's files, several at once; see `Source.read`."""
        members: list[tuple[str, int | None]] = [tuple(json.loads(member)) for member in shard.members]
        for (name, _), content in fetch_ahead(members, self._fetch):
            image_id = escape_name(name.encode())
            yield ImageRef(image_id, self._storage.url(self.path(name)), label_of(image_id), None, content)

    def one(self, shard: Shard, position: int) -> Shard:
        """Return a shard with one file of another; see `Source.one`."""
        return one_member(shard, position)

    def _fetch(self, member: tuple[str, int | None]) -> bytes | Failure:
        name, n_bytes = member
        return self._storage.read(self.path(name), self.max_bytes, n_bytes=n_bytes)

    def path(self, name: str) -> str:
        """Return where a file lies, as the storage takes it."""
        return f"{self._storage.root.rstrip('/')}/{name}"

    def relative(self, file: StoredFile) -> str:
        """Return the path of a listed file below the root."""
        return file.path.removeprefix(self._storage.root.rstrip("/")).removeprefix("/")


def _shard(index: int, names: Sequence[str], files: dict[str, StoredFile]) -> Shard:
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0{files[name].stamp}\n".encode())
    members = tuple(json.dumps([name, files[name].n_bytes]) for name in names)
    return Shard(index, members, digest.hexdigest(), len(names))
