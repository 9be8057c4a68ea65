"""The writer that belongs to a run and to what was asked for, with the units that it writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from clipsieve.outputs.export.base import Places, Unit, Writer, Written
from clipsieve.outputs.export.embeddings import EmbeddingsWriter, plan_embeddings
from clipsieve.outputs.export.fates import Stretch
from clipsieve.outputs.export.folder import FolderWriter
from clipsieve.outputs.export.huggingface import HuggingFaceWriter
from clipsieve.outputs.export.options import ExportOptions
from clipsieve.outputs.export.originals import check_shards, reopen, stretches_of
from clipsieve.outputs.export.table import TableWriter
from clipsieve.outputs.export.webdataset import WebDatasetWriter
from clipsieve.sources import FolderSource, HuggingFaceSource, RemoteFolderSource, Source, TableSource, WebDatasetSource
from clipsieve.store import Run
from clipsieve.types import Shard

__all__ = ["PlannedWriter", "plan_writer"]


@dataclass(frozen=True, slots=True)
class PlannedWriter:
    """A writer, and the units that it writes.

    Attributes
    ----------
    writer : Writer
        Knows the kind of source.
    stretches : tuple of Stretch
        All parts of the run, in order.
    location : str
        Where the source lies.
    """

    writer: Writer
    stretches: tuple[Stretch, ...]
    location: str


def plan_writer(run: Run, options: ExportOptions) -> PlannedWriter:
    """Return what writes an export of a run.

    Raises
    ------
    SourceError
        If the source is gone, or is not what was scanned. For lists, it is not looked at.
    """
    location = options.location or run.manifest.source_location
    if options.form != "same":
        shards = tuple(Shard(i, (), "", images.num_rows) for i, images in enumerate(run.iter_images(["image_id"])))
        return PlannedWriter(_Nothing(), _stretches(_Nothing(), shards), location)
    if run.external is not None:
        embeddings = EmbeddingsWriter(run.external)
        return PlannedWriter(embeddings, _stretches(embeddings, plan_embeddings(run.external)), location)
    source = reopen(run, options.location)
    # What the scan found out of each tar saves opening it again only to count.
    shards = source.plan(run.manifest.part_size, run.load_listing(run.path)).shards
    check_shards(run, shards, is_moved=options.location is not None)
    writer = _writer_of(source, options)
    return PlannedWriter(writer, _stretches(writer, shards), location)


def _stretches(writer: Writer, shards: tuple[Shard, ...]) -> tuple[Stretch, ...]:
    return tuple(stretches_of(shards, [writer.unit_of(shard) for shard in shards]))


def _writer_of(source: Source, options: ExportOptions) -> Writer:
    if isinstance(source, FolderSource | RemoteFolderSource):
        return FolderWriter(source, options.how, hash_links=options.location is not None)
    if isinstance(source, WebDatasetSource):
        return WebDatasetWriter(source)
    if isinstance(source, TableSource):
        return TableWriter(source, options.how)
    if isinstance(source, HuggingFaceSource):
        return HuggingFaceWriter(source)
    raise TypeError(f"no writer for a source of the kind {source.kind!r}")


class _Nothing(Writer):
    """For lists, which are made of the run alone: no file of the source is touched."""

    kind: ClassVar[str] = "list"

    def unit_of(self, shard: Shard) -> str:
        return str(shard.index)

    def write(self, unit: Unit, places: Places) -> Written:  # noqa: ARG002
        return Written()

    def finish(self, places: Places) -> Iterator[Written]:  # noqa: ARG002
        yield from ()
