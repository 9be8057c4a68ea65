"""What every source promises: list once, then read any shard in any process."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from clipsieve.errors import SourceError
from clipsieve.types import ImageRef, Plan, Shard

__all__ = ["MAX_BYTES", "Known", "Source", "Stamp", "changed", "cut", "one_member"]

Stamp = Callable[[int, int], str]
Known = dict[str, tuple[str, int, int]]

MAX_BYTES = 512 * 1024**2


class Source(ABC):
    """A place that images come from. It is never modified.

    A source is picklable, and its copies hold no open file, so that any worker can read any shard.

    Attributes
    ----------
    kind : str
        The name of this sort of source, as `--source` takes it.
    max_bytes : int
        A larger image is not read but recorded as a failure.
    """

    kind: ClassVar[str]
    max_bytes: int = MAX_BYTES

    @property
    @abstractmethod
    def location(self) -> str:
        """Where the source lies: an absolute path or a URL."""

    @property
    def options(self) -> Mapping[str, str]:
        """What was said of the source beside its location and decides what is read: names of columns, say."""
        return {}

    @abstractmethod
    def plan(self, part_size: int, known: Known | None = None) -> Plan:
        """Assign every input to a part.

        Parameters
        ----------
        part_size : int
            The most inputs in a part, >= 1.
        known : dict, optional
            What earlier listings found out at a price: for a file's name, what changes when it does, and its numbers of
            inputs and of other members. Sources for which a listing is dear look there first, and write there.

        Returns
        -------
        Plan
            A pure function of the listing: the same listing gives the same plan. Each input is in exactly one shard.

        Raises
        ------
        SourceError
            If nothing lies there, it cannot be listed, or it holds no image.
        """

    @abstractmethod
    def read(self, shard: Shard) -> Iterator[ImageRef]:
        """Yield one reference for each input of the shard, in order; what cannot be read carries a `Failure`."""

    def one(self, shard: Shard, position: int) -> Shard:
        """Return a shard for :meth:`read` with one input of another: the one at a position from 0, as `cut` made it.

        It is no part of a plan: its fingerprint is that of the whole. IndexError if there is no such input.
        """
        name, start, _, *rest = shard.members
        place = int(start) + _checked(shard, position)
        return replace(shard, members=(name, str(place), str(place + 1), *rest), n_images=1)


def _checked(shard: Shard, position: int) -> int:
    if not 0 <= position < shard.n_images:
        raise IndexError(f"input {position} of a shard of {shard.n_images}")
    return position


def one_member(shard: Shard, position: int) -> Shard:
    """Return :meth:`Source.one` for a shard with a member for each input."""
    return replace(shard, members=(shard.members[_checked(shard, position)],), n_images=1)


def cut(stretches: Sequence[tuple[str, Stamp, int, str]], part_size: int) -> tuple[Shard, ...]:
    """Return the shards of files with many inputs each; none holds inputs of two files.

    Parameters
    ----------
    stretches : sequence of (str, callable, int, str)
        Of each file its name, what tells what changes when its inputs from one to before another do, its number of inputs,
        and a note for the reader. A shard's members are name, first input, the one after the last, number in all, note.
    part_size : int
        The most inputs in a shard.
    """
    shards: list[Shard] = []
    for name, stamp, n_inputs, note in stretches:
        for start in range(0, n_inputs, part_size):
            stop = min(start + part_size, n_inputs)
            facts = "\0".join([name, stamp(start, stop), str(n_inputs), str(start), str(stop), note])
            digest = hashlib.sha256(facts.encode(errors="surrogateescape")).hexdigest()
            members = (name, str(start), str(stop), str(n_inputs), note)
            shards.append(Shard(len(shards), members, digest, stop - start))
    return tuple(shards)


def changed(what: str) -> SourceError:
    """Return the error of a file that has more inputs than were listed: none of them may be left out in silence."""
    return SourceError(
        f"`{what}` has changed since it was listed",
        state="finished parts are kept",
        hint="give the same command again: it lists the source anew and goes on",
    )
