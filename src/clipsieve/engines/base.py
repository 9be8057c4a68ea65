"""What every engine promises: the same shards and the same encoder give the same parts, byte for byte."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import pyarrow as pa

from clipsieve.encoders import Encoder
from clipsieve.engines.options import ScanOptions
from clipsieve.sources import Source
from clipsieve.store import StoredEmbeddings, image_table
from clipsieve.types import EmbeddedImage, EncoderIdentity, FailedImage, Shard

__all__ = ["Engine", "FinishedShard", "Row", "ScanJob", "tabulate"]

Row: TypeAlias = EmbeddedImage | FailedImage
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class ScanJob:
    """What an engine makes parts of, and how.

    Attributes
    ----------
    source : Source
        What planned the shards.
    encoder : Encoder
        Makes the embeddings.
    options : ScanOptions
        What an image may cost, and which are never opened.
    options_fingerprint : str
        Of the run, for its parts to carry.
    known : StoredEmbeddings
        Embeddings by the same encoder; an image that is found there is neither decoded nor encoded.
    """

    source: Source
    encoder: Encoder
    options: ScanOptions
    options_fingerprint: str
    known: StoredEmbeddings

    def finish(self, shard: Shard, rows: list[Row]) -> FinishedShard:
        """Return a shard with its rows, one for each member, in order."""
        return FinishedShard(shard, *tabulate(rows, self.encoder.identity, self.options_fingerprint, shard.fingerprint))


def tabulate(rows: list[Row], identity: EncoderIdentity, options: str, inputs: str) -> tuple[pa.Table, int]:
    """Return rows as a part has them, and how many are reused; the fingerprints are those of the options and of the inputs."""
    table = image_table(rows, identity.embedding_dim, inputs=inputs, encoder=identity.fingerprint, options=options)
    return table, sum(isinstance(row, EmbeddedImage) and row.is_reused for row in rows)


@dataclass(frozen=True, slots=True, eq=False)
class FinishedShard:
    """A shard whose every input has become a row.

    Attributes
    ----------
    shard : Shard
        Which one.
    table : pyarrow.Table
        The rows of its part, as `image_table` makes them.
    n_reused : int
        How many of its embeddings are those of an earlier scan.
    """

    shard: Shard
    table: pa.Table
    n_reused: int


class Engine(ABC):
    """Runs decode and encode over shards, and any other work over parts."""

    @abstractmethod
    def embed(
        self, job: ScanJob, shards: Iterable[Shard], on_images: Callable[[int], object]
    ) -> Generator[FinishedShard, None, None]:
        """Yield each shard with its rows, shards in any order.

        Parameters
        ----------
        job : ScanJob
            What to do.
        shards : iterable of Shard
            Those to do; the caller leaves out what is done.
        on_images : callable
            Called with the number of images just finished.
        """

    @abstractmethod
    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield what `work` makes of each item, in order; several are under way at once.

        Parameters
        ----------
        work : callable
            A function of a module, or a `functools.partial` of one: it may be called in another process, on another machine.
            What it needs and gives can be pickled.
        items : iterable
            Small things, such as the numbers of parts.

        Raises
        ------
        ClipsieveError
            What `work` raises, once the results before it were yielded.
        """
