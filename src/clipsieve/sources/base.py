"""What every source promises: list once, then read any shard in any process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from clipsieve.types import ImageRef, Plan, Shard

__all__ = ["Source"]


class Source(ABC):
    """A place that images come from. It is never modified.

    A source is picklable and holds no open file, so that any worker can read any shard.
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def location(self) -> str:
        """Where the source lies: an absolute path or a URL."""

    @abstractmethod
    def plan(self, part_size: int) -> Plan:
        """Assign every input to a part.

        Parameters
        ----------
        part_size : int
            The most inputs in a part, >= 1.

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
        """Yield one reference for each member of the shard, in order; what cannot be read carries a `Failure`."""
