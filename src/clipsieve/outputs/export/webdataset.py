"""Export of WebDataset: each tar again, without the samples that go elsewhere."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import zip_longest
from typing import BinaryIO, ClassVar
from urllib.parse import unquote_to_bytes

import numpy as np
from jaxtyping import Int64

from clipsieve.errors import SourceError
from clipsieve.evaluation.operating_points import Decision
from clipsieve.outputs.export.base import Places, Unit, Writer, Written
from clipsieve.outputs.export.destination import Destination
from clipsieve.outputs.export.tar_copy import TarCopy, digest_of, tar_copy
from clipsieve.outputs.export.unscanned import is_unscanned_image
from clipsieve.sources.names import legible
from clipsieve.sources.signatures import N_SIGNATURE_BYTES
from clipsieve.sources.tar_index import split_key
from clipsieve.sources.tar_walk import Broken, TarMember, iter_members
from clipsieve.sources.webdataset import OpenTar, WebDatasetSource
from clipsieve.types import Shard

__all__ = ["WebDatasetWriter"]

_APPLE_DOUBLE = "._"
_APPLE_DOUBLE_HEAD = b"\0\5\x16\7"  # RFC 1740, appendix A
_NOWHERE = 255
_N_NAMES_SHOWN = 5


class WebDatasetWriter(Writer):
    """Writes samples into tars of the same names, in the same order, each member with headers, content and padding as it was.

    - A sample, all members of one key wherever they stand, goes as a whole: where the strictest decision sends one of its images.
      What macOS packs beside a member, `._` and its name, goes with it.
    - Members whose key no image has, folders among them, are kept; pax headers for all members go to every place. So are tars
      without images.
    - A member that is an image, by its name or its first bytes, and was no input, is never kept: hidden ones, those of formats
      that cannot be decoded, those whose name says nothing, sparse files. `finish` tells of them, for the tars that were written
      since the writer was made.
    - A hard link whose file goes elsewhere becomes that file; one whose file is not in the tar stays as it is, as symbolic
      links do.
    - A packed tar is packed anew: the same members, other bytes.
    - A tar of which nothing is kept is kept empty, so that names with braces go on to work; elsewhere it is left out.
    - Of a damaged tar, what is whole before the damage goes its way, and the rest is told as a problem.

    Parameters
    ----------
    source : WebDatasetSource
        The one that was scanned.
    """

    kind: ClassVar[str] = "webdataset"

    def __init__(self, source: WebDatasetSource) -> None:
        self._source = source
        self._written: set[str] = set()
        self._left_out: dict[str, tuple[str, ...]] = {}  # by tar

    def unit_of(self, shard: Shard) -> str:
        """Return the tar's name; see `Writer.unit_of`."""
        return shard.members[0]

    def groups(self, unit: Unit) -> Int64[np.ndarray, "n"]:
        """Return one number for all images of a key; see `Writer.groups`."""
        numbers: dict[str, int] = {}
        # A damage is no image, and its id no name in the tar: it has a number of its own.
        keys = [_key_of(unit, image_id) or f"\0{image_id}" for image_id in unit.image_ids]
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)

    def write(self, unit: Unit, places: Places) -> Written:
        """Write a tar to its places; see `Writer.write`.

        Raises
        ------
        SourceError
            If an image is not the one that was scanned, or the tar cannot be read any more; nothing of this tar is written
            then.
        ExportError
            If a place cannot be written.
        """
        name, n_images = os.fsdecode(unquote_to_bytes(unit.name)), self._n_images(unit)
        problems = {
            row: f"the rest of `{legible(unit.name)}` is damaged and cannot be read"
            for row in range(n_images, len(unit.codes))
            if Decision(int(unit.codes[row])) in places
        }
        codes = unit.codes[:n_images].tolist()
        targets = {decision: place for decision, place in places.items() if decision in {*codes, Decision.KEEP}}
        missing = {decision: place for decision, place in targets.items() if place.size(name) is None}
        left_out = self._write(unit, name, missing) if missing else []
        if left_out is None:
            return Written(problems=problems)
        sizes = [place.size(name) or 0 for place in targets.values()]
        standing = {row: name for row, code in enumerate(codes) if code in targets}
        return Written(len(sizes), sum(sizes), standing, problems, tuple(left_out))

    def remember(self, unit: Unit, written: Written) -> None:
        """Take in which tars have images, and what was left out of each; see `Writer.remember`."""
        self._written.add(unit.name)
        if written.left_out:
            self._left_out[unit.name] = written.left_out

    def finish(self, places: Places) -> Iterator[Written]:
        """Write the tars without images, and tell of images that were no inputs; see `Writer.finish`."""
        for name in self._source.tars:
            if name not in self._written and Decision.KEEP in places:
                written = self.write(Unit(name, (), (), (), np.zeros(0, dtype=np.uint8)), places)
                self._left_out |= {name: written.left_out} if written.left_out else {}
                yield written
        for name, members in self._left_out.items():
            yield Written(problems={0: _words_of_unscanned(name, members)})

    def _n_images(self, unit: Unit) -> int:
        """Return how many of a unit's inputs are images; a tar whose inputs all are need not be opened for it."""
        if all(_key_of(unit, image_id) is not None for image_id in unit.image_ids):
            return len(unit.image_ids)
        return len(self._source.open_tar(unit.name).index.images)

    def _write(self, unit: Unit, name: str, places: Mapping[Decision, Destination]) -> list[str] | None:
        """Write what is not there yet; return what was left out of what is kept.

        None for a file that no member of a tar could ever be read from.
        """
        tar = self._source.open_tar(unit.name)
        damage = tar.index.damage
        if tar.file is None or (damage is not None and damage.offset == 0):
            if not unit.image_ids or any(_key_of(unit, image_id) is not None for image_id in unit.image_ids):
                raise _changed(unit, "a tar that can be opened", damage.detail if damage else "none")
            return None
        _check_ids(unit, tar)
        with ExitStack() as stack:
            copies = {}
            for decision, place in places.items():
                target = stack.enter_context(place.writer(name))
                copies[int(decision)] = stack.enter_context(tar_copy(target, tar.file, is_gzip=tar.is_gzip))
            left_out = _Sorter(unit, tar, tar.file, copies).run()
        return left_out if Decision.KEEP in places else []


class _Sorter:
    """Goes through a tar once, and copies each member to where it belongs."""

    def __init__(self, unit: Unit, tar: OpenTar, file: BinaryIO, copies: Mapping[int, TarCopy]) -> None:
        self._unit = unit
        self._tar = tar
        self._file = file
        self._copies = copies
        self._codes: dict[str, int] = {}  # the strictest decision on an image of each key
        for image, code in zip(tar.index.images, unit.codes.tolist(), strict=False):
            key = split_key(image.name)[0]
            self._codes[key] = max(self._codes.get(key, 0), code)
        self._standing: dict[str, int] = {}  # where the file of each name went
        self._left_out: list[str] = []

    def run(self) -> list[str]:
        """Copy all members; return the names of those that would be kept, but are images that nobody has looked at."""
        digests = iter(self._unit.sha256)
        try:
            for member in iter_members(self._file):
                self._check(member, self._copy(member), next(digests) if member.is_image else None)
        except Broken as broken:
            if broken.damage != self._tar.index.damage:  # the disk, say: what is behind it would be lost in silence
                raise _changed(self._unit, "the tar as it was when it was opened", broken.damage.detail) from broken
        return self._left_out

    def _check(self, member: TarMember, found: str | None, expected: str | None) -> None:
        if found is not None and expected is not None and found != expected:
            raise _changed(self._unit, f"sha256 {expected}", f"sha256 {found}", member.info.name)

    def _copy(self, member: TarMember) -> str | None:
        """Copy a member to its place; return the hash of its content, None if it has no place, or no content."""
        own = self._place_of(member)
        is_apart = member.info.islnk() and member.extent is not None and self._standing.get(member.info.linkname) != own
        if member.extent is not None:
            self._standing[member.info.name] = own
        try:
            for code, made in self._copies.items():
                if code != own:
                    made.add_headers_for_all(member)
            if own not in self._copies:
                return None
            if is_apart and member.extent is not None:
                return self._copies[own].add_content(member, member.extent)
            found = self._copies[own].add(member)
            return (
                digest_of(self._file, member.extent) if member.is_image and found is None and member.extent else found
            )
        except SourceError as error:
            raise _changed(self._unit, "a member that can be read", error.what, member.info.name) from error

    def _place_of(self, member: TarMember) -> int:
        """Return the code of the decision on a member; that of no place for an image that was no input, and would be kept."""
        decision = self._decision_on(member)
        if decision != Decision.KEEP or member.is_image or not self._is_unscanned(member):
            return decision
        self._left_out.append(member.info.name)
        return _NOWHERE

    def _is_unscanned(self, member: TarMember) -> bool:
        info = member.info
        start = member.extent.start if member.extent else info.offset_data
        n_bytes = member.extent.n_bytes if member.extent else info.size
        # Readers take what they do not know for a file; the extent of a sparse one is not known here.
        has_content = member.extent is not None or info.isreg() or info.type not in tarfile.SUPPORTED_TYPES
        if not has_content or not n_bytes:
            return False
        try:
            self._file.seek(start)
            head = self._file.read(min(N_SIGNATURE_BYTES, n_bytes))
        except OSError as error:
            raise _changed(self._unit, "a member that can be read", error.strerror or "", info.name) from error
        is_note_of_macos = head.startswith(_APPLE_DOUBLE_HEAD) and info.name.rpartition("/")[2].startswith(
            _APPLE_DOUBLE
        )
        return not is_note_of_macos and is_unscanned_image(info.name, head)

    def _decision_on(self, member: TarMember) -> int:
        if member.info.isdir():
            return int(Decision.KEEP)
        folder, slash, base = member.info.name.rpartition("/")
        key = split_key(f"{folder}{slash}{base.removeprefix(_APPLE_DOUBLE)}")[0]
        return self._codes.get(key, int(Decision.KEEP))


def _key_of(unit: Unit, image_id: str) -> str | None:
    """Return the key of an image from its id; None for what is no image, but tells that a tar is damaged."""
    name = image_id.removeprefix(f"{unit.name}/")
    return None if name == image_id else split_key(name)[0]


def _words_of_unscanned(tar: str, members: tuple[str, ...]) -> str:
    names = [f"`{legible(name.encode(errors='surrogateescape'))[:200]}`" for name in members[:_N_NAMES_SHOWN]]
    more = f" and {len(members) - len(names):,} more" if len(members) > len(names) else ""
    return f"`{legible(tar)}`: images that were not scanned are left out: {', '.join(names)}{more}"


def _check_ids(unit: Unit, tar: OpenTar) -> None:
    """Raise SourceError unless a tar holds what a unit says; an image that could not be read has the id of its place alone."""
    if tar.index.n_rows != len(unit.image_ids):
        raise _changed(unit, f"{len(unit.image_ids):,} images, a damage counted as one", f"{tar.index.n_rows:,}")
    for found, expected in zip_longest(tar.ids, unit.image_ids):
        if found != expected and not expected.startswith(f"{unit.name}@"):
            raise _changed(unit, f"an image `{legible(expected)}`", f"`{legible(found)}`" if found else "a damage")


def _changed(unit: Unit, expected: str, found: str, member: str | None = None) -> SourceError:
    where = legible(unit.name)
    if member is not None:
        where = f"{legible(member.encode(errors='surrogateescape'))}` in `{where}"
    return SourceError(
        f"`{where}` has changed since it was scanned",
        expected=expected,
        found=found,
        state="nothing of this tar was written; tars that are there are whole",
        hint="scan it again: only what changed is encoded anew; then score, and export again",
    )
