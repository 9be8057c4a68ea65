"""A folder without what was left out: the images that stay, and everything else that belongs to them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from clipsieve.errors import ExportError
from clipsieve.evaluation.operating_points import Decision
from clipsieve.outputs.export.base import HowToPlace, Places, Unit, Writer, Written
from clipsieve.outputs.export.companions import Decided
from clipsieve.outputs.export.destination import Destination
from clipsieve.outputs.export.transfer import Job, Transfer, of_the_name
from clipsieve.outputs.export.trees import Other, tree_of
from clipsieve.sources import FolderSource, RemoteFolderSource
from clipsieve.sources.ahead import fetch_ahead
from clipsieve.sources.names import escape_name, legible
from clipsieve.store.lock import LOCK_NAME
from clipsieve.types import EXPORT_MANIFEST, EXPORT_MARKER, Shard

__all__ = ["FolderWriter"]

_TAKEN = "an export has a file of its own of that name"


class FolderWriter(Writer):
    """Writes the files of a folder under their own relative paths, byte for byte.

    A unit is one part of the run. What is copied is hashed on its way and compared with what was scanned. A file that is there
    already, with the size of the original or, for a link, as the same link, is not written again.

    `finish` brings what is no input: the files of `Decided` with the images that they belong to; all others, hidden ones
    included, to where the kept images go, such as a README or a table of labels, though not what lies in folders like `.git`.
    Folders that are empty in the source stay; those of which every file was left out do not, since torchvision's ImageFolder
    refuses a class without images. A symbolic link to a file in the source becomes that file, with the stricter decision of the
    two; one to a folder in the source leads to the same folder of the place. What may show anything, since nobody has looked at
    it, is left out and told: images in hidden places or of kinds that are not scanned, files under other names that begin like
    an image, and links that lead out of the source. Archives, videos and documents go along unseen.

    Parameters
    ----------
    source : FolderSource or RemoteFolderSource
        It is only read.
    how : {"copy", "hardlink", "symlink"}
        How a file of this machine comes to a place on it; everything else is copied. A hard link that cannot be made becomes a
        copy.
    hash_links : bool, default=False
        Whether the content behind links is compared with what was scanned as well: needed where the times of the files say
        nothing, since the source was moved.
    """

    kind: ClassVar[str] = "folder"

    def __init__(
        self, source: FolderSource | RemoteFolderSource, how: HowToPlace = "copy", *, hash_links: bool = False
    ) -> None:
        self._tree = tree_of(source)
        self._transfer = Transfer(self._tree, how, hash_links=hash_links)
        self._decided = Decided()

    def unit_of(self, shard: Shard) -> str:
        """Return the number of the part."""
        return str(shard.index)

    def write(self, unit: Unit, places: Places) -> Written:
        """Write the images of one part; see `Writer.write`. `places` names files as `image_id` does, with `%XX`."""
        inputs = zip(self._tree.inputs(unit), unit.sha256, unit.codes.tolist(), strict=True)
        jobs = {
            position: Job(name, n_bytes, sha256, places[Decision(code)])
            for position, ((name, n_bytes), sha256, code) in enumerate(inputs)
            if Decision(code) in places
        }
        taken = {position: _TAKEN for position, job in jobs.items() if _is_taken(job.name)}
        tally = self._carry({position: job for position, job in jobs.items() if position not in taken}, places)
        tally.problems.update(taken)
        files = {position: escape_name(jobs[position].name.encode(errors="surrogateescape")) for position in tally.done}
        return Written(len(tally.done), tally.n_bytes, files, tally.problems)

    def remember(self, unit: Unit, written: Written) -> None:  # noqa: ARG002
        """Take in where each input of a part goes: what belongs to it goes there, too; see `Writer.remember`."""
        for (name, _), code in zip(self._tree.inputs(unit), unit.codes.tolist(), strict=True):
            self._decided.add(name, code)

    def finish(self, places: Places) -> Iterator[Written]:
        """Write what is no input, once all units were written; see the class.

        Yields
        ------
        Written
            With counts, and in `problems` what could not be brought, with its name; the numbers there only tell them apart.

        Raises
        ------
        SourceError
            If there is an image by now that nobody has decided on.
        ExportError
            If a place cannot be written.
        """
        n_problems = 0
        for batch in self._tree.others(self._decided):
            wanted = [other for other in batch if other.decision in places and not _is_ours(other.name)]
            tally = self._bring_others(wanted, places)
            said = [f"`{_shown(wanted[i].name)}`: {words}" for i, words in sorted(tally.problems.items())]
            yield Written(len(tally.done), tally.n_bytes, {}, dict(enumerate(said, n_problems)))
            n_problems += len(said)
        for place in places.values():
            place.flush()

    def _bring_others(self, others: Sequence[Other], places: Places) -> _Tally:
        jobs = {
            number: Job(other.name, other.n_bytes, None, places[other.decision], is_scanned=other.is_scanned)
            for number, other in enumerate(others)
            if other.kind == "file" and not _is_taken(other.name) and not other.unseen
        }
        tally = self._carry(jobs, places)
        for number, other in enumerate(others):
            if number not in jobs and (came := _made(other, places[other.decision])) is not None:
                tally.add(number, came)
        return tally

    def _carry(self, jobs: Mapping[int, Job], places: Places) -> _Tally:
        """Bring files to their places; several at once where each is mostly a wait."""
        for place in places.values():
            self._transfer.prepare(place)
        tally = _Tally()
        if self._tree.is_local and all(place.is_local for place in places.values()):
            for number, job in jobs.items():
                tally.add(number, self._transfer.bring(job))
        else:
            for (number, _), came in fetch_ahead(jobs.items(), lambda numbered: self._transfer.bring(numbered[1])):
                tally.add(number, came)
        return tally


@dataclass(slots=True)
class _Tally:
    """What came of files, by number."""

    n_bytes: int = 0
    done: list[int] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)

    def add(self, number: int, came: int | str) -> None:
        """Take in what `Transfer.bring` returned."""
        if isinstance(came, str):
            self.problems[number] = came
        else:
            self.done.append(number)
            self.n_bytes += came


def _is_ours(name: str) -> bool:
    """Return whether a file is one that an export makes for itself and that says nothing of its data."""
    return name in (EXPORT_MARKER, LOCK_NAME)


def _is_taken(name: str) -> bool:
    """Return whether a file would stand where an export has one of its own, or in a folder of that name."""
    return name.partition("/")[0] in (EXPORT_MANIFEST, EXPORT_MARKER, LOCK_NAME)


def _made(other: Other, place: Destination) -> int | str | None:
    """Make what is no copy of a file: 0 for a link, None for a folder, which counts as nothing; or say why not, in words."""
    if _is_taken(other.name):
        return other.unseen or _TAKEN
    try:
        if other.kind == "folder" and not place.is_local:
            return None
        if other.kind == "folder":
            place.make_folder(other.name)
            return None
        if other.unseen:
            return other.unseen
        if place.folder is None:
            return "a symbolic link, which the place cannot have"
        target = os.path.join(os.path.dirname(place.path(other.name)), other.target)
        if not os.path.isdir(target):
            return "a symbolic link to a folder of which nothing is left"
        place.link(other.name, other.target)
    except ExportError as error:
        if (words := of_the_name(place, error)) is None:
            raise
        return words
    return 0


def _shown(name: str) -> str:
    return legible(name.encode(errors="surrogateescape"))
