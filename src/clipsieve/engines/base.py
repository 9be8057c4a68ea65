"""What every engine promises: the same shards and the same encoder give the same rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable

from clipsieve.encoders import Encoder
from clipsieve.engines.options import ScanOptions
from clipsieve.sources import Source
from clipsieve.store import StoredEmbeddings
from clipsieve.types import EmbeddedImage, FailedImage, Shard

__all__ = ["Engine", "Row"]

Row = EmbeddedImage | FailedImage


class Engine(ABC):
    """Runs decode and encode over shards."""

    @abstractmethod
    def embed(
        self,
        source: Source,
        shards: Iterable[Shard],
        encoder: Encoder,
        options: ScanOptions,
        on_images: Callable[[int], object],
        known: StoredEmbeddings,
    ) -> Generator[tuple[Shard, list[Row]], None, None]:
        """Yield each shard with one row for each of its members, shards and rows in order.

        Parameters
        ----------
        source : Source
            What planned the shards.
        shards : iterable of Shard
            Those to do; the caller leaves out what is done.
        encoder : Encoder
            Makes the embeddings.
        options : ScanOptions
            What an image may cost, and which are never opened.
        on_images : callable
            Called with the number of images just finished.
        known : StoredEmbeddings
            Embeddings by the same encoder; an image that is found there is neither decoded nor encoded.
        """
