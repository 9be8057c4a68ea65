"""What every source promises: list once, then read any shard in any process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar

from clipsieve.types import ImageRef, Plan, Shard

__all__ = ["MAX_BYTES", "Source"]

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
        """Yield one reference for each input of the shard, in order; what cannot be read carries a `Failure`."""
