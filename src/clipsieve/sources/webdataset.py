"""WebDataset: tar files in which a sample is the members with one key."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, ClassVar
from urllib.parse import quote

from clipsieve.errors import SourceError
from clipsieve.remote.connect import explain
from clipsieve.sources.base import MAX_BYTES, Known, Source, changed, cut
from clipsieve.sources.compressed import unpack
from clipsieve.sources.local_file import read_failure, too_many_bytes
from clipsieve.sources.names import escape_name, legible
from clipsieve.sources.storage import Storage, StoredFile
from clipsieve.sources.tar_index import TarImage, TarIndex, index_tar
from clipsieve.sources.tar_walk import Damage, Extent
from clipsieve.types import Failure, FailureCode, ImageRef, Plan, Shard

__all__ = ["OpenTar", "WebDatasetSource"]

MAX_COMPANION_BYTES = {"txt": 64 * 1024, "cls": 1024, "json": 256 * 1024}


class WebDatasetSource(Source):
    """Images in tar files, plain or gzip, on this machine or behind a URL.

    Each image of a sample is one input. `.txt` is its caption, `.cls` its label, `.json` its metadata; members of one key join
    wherever they stand in the tar. A tar that is cut or damaged gives what is whole and one failure, with tar and offset. No
    part holds images of two tars, so that a tar that changed costs its own parts alone. A tar that is remote or compressed is
    kept in the temporary folder while it is read.

    Parameters
    ----------
    location : str
        As a person gave it: a folder, a file, or names with `{00..99}`, `*`, `?`.
    storage : Storage
        Where the tars lie.
    tars : sequence of StoredFile
        In order.
    max_bytes : int
        Larger images are not read but recorded as failures.
    """

    kind: ClassVar[str] = "webdataset"

    def __init__(
        self, location: str, storage: Storage, tars: Sequence[StoredFile], *, max_bytes: int = MAX_BYTES
    ) -> None:
        self._location = location
        self._storage = storage
        self._tars = {tar.name: tar for tar in tars}
        self.max_bytes = max_bytes
        self._open: OpenTar | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": None}

    @property
    def location(self) -> str:
        """The absolute path or URL, with the braces and stars that were given."""
        return self._location

    @property
    def tars(self) -> Sequence[str]:
        """The names that shards have of the tars, in order; a tar without images has no shard."""
        return tuple(self._tars)

    def plan(self, part_size: int, known: Known | None = None) -> Plan:
        """Count each tar's images; see `Source.plan`."""
        stretches, n_ignored = [], 0
        for name, tar in self._tars.items():
            n_rows, n_others = self._count(name, tar, {} if known is None else known)
            n_ignored += n_others
            stretches.append((name, lambda _start, _stop, stamp=tar.stamp: stamp, n_rows, ""))
        shards = cut(stretches, part_size)
        if not shards:
            raise SourceError(
                f"no image in the {len(self._tars):,} tar files of `{self.location}`",
                expected="members such as 000.jpg, 000.png, 000.webp",
                found=f"{n_ignored:,} other members",
            )
        return Plan(shards, n_ignored)

    def _count(self, name: str, tar: StoredFile, known: Known) -> tuple[int, int]:
        """Return the rows and the other members of a tar; one that has not changed is not opened again."""
        stamp, *counts = known.get(name, ("", 0, 0))
        if stamp and stamp == tar.stamp:
            return counts[0], counts[1]
        index = self.open_tar(name).index
        if index.damage is None or index.damage.code in (FailureCode.TRUNCATED, FailureCode.CORRUPT):
            known[name] = (tar.stamp, index.n_rows, index.n_ignored)
        return index.n_rows, index.n_ignored

    def read(self, shard: Shard) -> Iterator[ImageRef]:
        """Read a stretch of one tar; see `Source.read`."""
        name, (start, stop, n_planned) = shard.members[0], map(int, shard.members[1:4])
        tar, url = self.open_tar(name), self._storage.url(self._tars[name].path)
        images, damage = tar.index.images, tar.index.damage
        if tar.index.n_rows > n_planned:
            raise changed(legible(name))
        for image_id, image in zip(tar.ids[start:stop], images[start:stop], strict=True):
            yield self._ref(tar, image_id, image, url)
        if damage and start <= len(images) < stop:
            yield ImageRef(f"{name}@{damage.offset}", url, None, None, _damaged(name, damage))
        for position in range(max(start, tar.index.n_rows), stop):  # listed, and no longer there
            gone = damage or Damage(0, FailureCode.NOT_FOUND, "the tar has fewer images than when it was listed")
            yield ImageRef(f"{name}@image-{position}", url, None, None, _damaged(name, gone))

    def _ref(self, tar: OpenTar, image_id: str, image: TarImage, url: str) -> ImageRef:
        texts = {extension: tar.text(extent, extension) for extension, extent in image.companions.items()}
        caption = texts.get("txt") or _caption_of(texts.get("json"))
        label = (texts.get("cls") or "").strip() or None
        uri = f"{url}#{quote(escape_name(image.name.encode(errors='surrogateescape')))}"
        return ImageRef(image_id, uri, label, caption, self._content(tar, image), texts.get("json"))

    def _content(self, tar: OpenTar, image: TarImage) -> bytes | Failure:
        if image.extent.n_bytes > self.max_bytes:
            return too_many_bytes(image.extent.n_bytes, self.max_bytes)
        return tar.bytes_at(image.extent)

    def open_tar(self, name: str) -> OpenTar:
        """Open a tar by the name that its shards have, or go on with the one that is open; it is closed with the next."""
        if self._open is None or self._open.name != name:
            if self._open is not None:
                self._open.close()
            self._open = OpenTar(name, self._storage, self._tars[name])
        return self._open


class OpenTar:
    """One tar, open, with its index; one that cannot be opened has an index of damage alone.

    Attributes
    ----------
    name : str
        As its shards have it.
    file : BinaryIO or None
        Unpacked, on this machine, at any place; None if it could not be opened.
    is_gzip : bool
        Whether it was packed.
    index : TarIndex
        What it holds.
    ids : list of str
        The id of each of the index's images.
    """

    def __init__(self, name: str, storage: Storage, tar: StoredFile) -> None:
        self.name = name
        self.file: BinaryIO | None = None
        self.is_gzip = False
        try:
            packed = storage.open_whole(tar.path)
            self.file, cut = unpack(packed)
            self.is_gzip = self.file is not packed
            self.index = index_tar(self.file)
            if cut and self.index.damage is None:
                self.index.damage = Damage(self.file.seek(0, os.SEEK_END), FailureCode.CORRUPT, cut)
        except SourceError:
            raise
        except Exception as error:  # noqa: BLE001 - each service raises its own; one tar of many may be missing
            failure = explain(error)
            self.index = TarIndex(damage=Damage(0, failure.code, failure.detail))
        self.ids = _unique_ids(name, self.index.images)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self.file is not None:
            self.file.close()

    def bytes_at(self, extent: Extent) -> bytes | Failure:
        """Return some bytes of the tar, or why they cannot be read."""
        assert self.file is not None, "only a tar that was opened has members"  # noqa: S101
        try:
            self.file.seek(extent.start)
            content = self.file.read(extent.n_bytes)
        except OSError as error:
            return read_failure(FailureCode.READ_ERROR, error.strerror or type(error).__name__)
        if len(content) < extent.n_bytes:
            return read_failure(FailureCode.TRUNCATED, f"the tar was cut at byte {extent.start + len(content):,}")
        return content

    def text(self, extent: Extent, extension: str) -> str | None:
        """Return a companion; None for one that is no text of a picture but an attack on memory."""
        content = self.bytes_at(extent) if extent.n_bytes <= MAX_COMPANION_BYTES[extension] else None
        return content.decode("utf-8", errors="replace") if isinstance(content, bytes) else None


def _unique_ids(tar: str, images: Sequence[TarImage]) -> list[str]:
    """Return an id for each image; the second member of one name carries its offset too."""
    seen: set[str] = set()
    ids = []
    for image in images:
        image_id = f"{tar}/{escape_name(image.name.encode(errors='surrogateescape')).removeprefix('./')}"
        while image_id in seen:
            image_id += f"@{image.extent.start}"
        seen.add(image_id)
        ids.append(image_id)
    return ids


def _damaged(name: str, damage: Damage) -> Failure:
    return read_failure(damage.code, f"{legible(name)}: {damage.detail}")


def _caption_of(metadata: str | None) -> str | None:
    """Return the caption that img2dataset writes into the metadata, for samples without a text of their own."""
    try:
        found = json.loads(metadata or "null")
    except (ValueError, RecursionError):
        return None
    caption = found.get("caption") if isinstance(found, dict) else None
    return caption if isinstance(caption, str) else None
