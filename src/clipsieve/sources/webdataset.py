"""WebDataset: tar files in which a sample is the members with one key."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, ClassVar
from urllib.parse import quote

from clipsieve.errors import SourceError
from clipsieve.sources.base import MAX_BYTES, Source
from clipsieve.sources.compressed import unpack
from clipsieve.sources.local_file import read_failure, too_many_bytes
from clipsieve.sources.names import escape_name, legible
from clipsieve.sources.storage import Storage, StoredFile, explain, short_names
from clipsieve.sources.tar_index import Damage, Extent, TarImage, TarIndex, index_tar
from clipsieve.types import Failure, FailureCode, ImageRef, Plan, Shard

__all__ = ["WebDatasetSource"]

MAX_COMPANION_BYTES = 16 * 1024**2


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
        self._names = short_names(tars)
        self._tars = {self._names[tar.path]: tar for tar in tars}
        self.max_bytes = max_bytes
        self._open: _OpenTar | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": None}

    @property
    def location(self) -> str:
        """The absolute path or URL, with the braces and stars that were given."""
        return self._location

    def plan(self, part_size: int) -> Plan:
        """Count each tar's images; see `Source.plan`."""
        shards: list[Shard] = []
        n_ignored = 0
        for name, tar in self._tars.items():
            index = self._opened(name).index
            n_ignored += index.n_ignored
            for start in range(0, index.n_rows, part_size):
                stop = min(start + part_size, index.n_rows)
                stamp = f"{name}\0{tar.stamp}\0{index.n_rows}\0{start}\0{stop}"
                digest = hashlib.sha256(stamp.encode(errors="surrogateescape")).hexdigest()
                shards.append(Shard(len(shards), (name, str(start), str(stop)), digest, stop - start))
        if not shards:
            raise SourceError(
                f"no image in the {len(self._tars):,} tar files of `{self.location}`",
                expected="members such as 000.jpg, 000.png, 000.webp",
                found=f"{n_ignored:,} other members",
            )
        return Plan(tuple(shards), n_ignored)

    def read(self, shard: Shard) -> Iterator[ImageRef]:
        """Read a stretch of one tar; see `Source.read`."""
        name, start, stop = shard.members[0], int(shard.members[1]), int(shard.members[2])
        tar = self._opened(name)
        url = self._storage.url(self._tars[name].path)
        for image_id, image in zip(tar.ids[start:stop], tar.index.images[start:stop], strict=True):
            uri = f"{url}#{quote(escape_name(image.name.encode(errors='surrogateescape')))}"
            texts = {extension: tar.text(extent) for extension, extent in image.companions.items()}
            caption = texts.get("txt") or _caption_of(texts.get("json"))
            label = (texts.get("cls") or "").strip() or None
            yield ImageRef(image_id, uri, label, caption, self._content(tar, image), texts.get("json"))
        if tar.index.damage and start <= len(tar.index.images) < stop:
            yield _damaged(name, url, tar.index.damage)

    def _content(self, tar: _OpenTar, image: TarImage) -> bytes | Failure:
        if image.extent.n_bytes > self.max_bytes:
            return too_many_bytes(image.extent.n_bytes, self.max_bytes)
        return tar.bytes_at(image.extent)

    def _opened(self, name: str) -> _OpenTar:
        """Open a tar, or go on with the one that is open."""
        if self._open is None or self._open.name != name:
            if self._open is not None:
                self._open.close()
            self._open = _OpenTar(name, self._storage, self._tars[name])
        return self._open


class _OpenTar:
    """One tar, open, with its index; one that cannot be opened has an index of damage alone."""

    def __init__(self, name: str, storage: Storage, tar: StoredFile) -> None:
        self.name = name
        self._file: BinaryIO | None = None
        try:
            self._file, cut = unpack(storage.open_whole(tar.path))
            self.index = index_tar(self._file)
            if cut and self.index.damage is None:
                self.index.damage = Damage(self._file.seek(0, os.SEEK_END), FailureCode.CORRUPT, cut)
        except SourceError:
            raise
        except Exception as error:  # noqa: BLE001 - each service raises its own; one tar of many may be missing
            failure = explain(error)
            self.index = TarIndex(damage=Damage(0, failure.code, failure.detail))
        self.ids = _unique_ids(name, self.index.images)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def bytes_at(self, extent: Extent) -> bytes | Failure:
        assert self._file is not None, "only a tar that was opened has members"  # noqa: S101
        try:
            self._file.seek(extent.start)
            content = self._file.read(extent.n_bytes)
        except OSError as error:
            return read_failure(FailureCode.READ_ERROR, error.strerror or type(error).__name__)
        if len(content) < extent.n_bytes:
            return read_failure(FailureCode.TRUNCATED, f"the tar was cut at byte {extent.start + len(content):,}")
        return content

    def text(self, extent: Extent) -> str | None:
        content = self.bytes_at(Extent(extent.start, min(extent.n_bytes, MAX_COMPANION_BYTES)))
        return None if isinstance(content, Failure) else content.decode("utf-8", errors="replace")


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


def _damaged(name: str, url: str, damage: Damage) -> ImageRef:
    failure = read_failure(damage.code, f"{legible(name)}: {damage.detail}")
    return ImageRef(f"{name}@{damage.offset}", url, None, None, failure)


def _caption_of(metadata: str | None) -> str | None:
    """Return the caption that img2dataset writes into the metadata, for samples without a text of their own."""
    try:
        found = json.loads(metadata or "null")
    except (ValueError, RecursionError):
        return None
    caption = found.get("caption") if isinstance(found, dict) else None
    return caption if isinstance(caption, str) else None
