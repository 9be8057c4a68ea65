"""What an export is made of: units that are written as one, writers that know a kind of source, and what they report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

import numpy as np
from jaxtyping import Int64, UInt8

from clipsieve.evaluation.operating_points import Decision
from clipsieve.outputs.export.destination import Destination
from clipsieve.types import Shard

__all__ = ["HowToPlace", "Places", "Unit", "Writer", "Written"]

HowToPlace: TypeAlias = Literal["copy", "hardlink", "symlink"]
Places: TypeAlias = Mapping[Decision, Destination]


@dataclass(frozen=True, slots=True)
class Unit:
    """Inputs that are written as one: the files of a part, a tar, a table, a split.

    Attributes
    ----------
    name : str
        What the shards name as theirs: a tar, a table file, a split; of a folder, a number.
    shards : tuple of Shard
        Consecutive; together they hold the unit's inputs, in source order.
    image_ids : sequence of str
        One for each input.
    sha256 : sequence of str or None
        Of the encoded files, as they were when they were scanned; None where one was not read.
    codes : uint8 array of shape (n,)
        Of `Decision`: where each input goes.
    """

    name: str
    shards: tuple[Shard, ...]
    image_ids: Sequence[str]
    sha256: Sequence[str | None]
    codes: UInt8[np.ndarray, "n"]


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a unit.

    Attributes
    ----------
    n_files, n_bytes : int
        Files that were written or linked, those that were there already included, and their size.
    places : mapping of int to str
        By position in the unit: the file that an input stands in now, below its place. Inputs that were left out have none.
    problems : mapping of int to str
        By position in the unit: why an input that should have gone somewhere could not, in words.
    left_out : tuple of str
        What is no input and was left out of what is kept since nobody has looked at it; `Writer.finish` tells of it.
    """

    n_files: int = 0
    n_bytes: int = 0
    places: Mapping[int, str] = field(default_factory=dict)
    problems: Mapping[int, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


class Writer(ABC):
    """Writes the inputs of one kind of source into data sets of the same kind. It knows nothing of policies.

    A decision without a place in `places` is left out. What a writer leaves behind is whole files alone; calling `write` with the
    same unit again writes what is missing and nothing twice.

    Units may be written by copies of the writer in other processes, several at once, and one unit by two of them at the same
    time. So `write` keeps nothing that `finish` goes by: `remember` does, in the writer that finishes.

    Attributes
    ----------
    kind : str
        The kind of source.
    """

    kind: ClassVar[str]

    @abstractmethod
    def unit_of(self, shard: Shard) -> str:
        """Return the name of the unit that a shard belongs to; consecutive shards with one name are one unit."""

    def groups(self, unit: Unit) -> Int64[np.ndarray, "n"]:
        """Return a number for each input; inputs with one number are only written together, such as those of one sample."""
        return np.arange(len(unit.codes), dtype=np.int64)

    @abstractmethod
    def write(self, unit: Unit, places: Places) -> Written:
        """Write the inputs of one unit to their places.

        Raises
        ------
        SourceError
            If the source is not what was scanned, or cannot be read.
        ExportError
            If a place cannot be written.
        """

    def remember(self, unit: Unit, written: Written) -> None:  # noqa: B027 - most go by nothing
        """Take in that a unit was written, by this writer or a copy of it, and what came of that."""

    def finish(self, places: Places) -> Iterator[Written]:  # noqa: ARG002
        """Write what belongs to no input and is part of the data set all the same; it goes where the kept images go.

        All units were written and remembered before.
        """
        yield from ()

    def warnings(self) -> tuple[str, ...]:
        """Return what whoever exports should know of the source, in words; the same before and after it was written."""
        return ()
