"""The writer that belongs to a run and to what was asked for, with the units that it writes."""

from __future__ import annotations

from dataclasses import dataclass

from clipsieve.engines.originals import reopen
from clipsieve.errors import UsageError
from clipsieve.outputs.export.base import Writer
from clipsieve.outputs.export.embeddings import EmbeddingsWriter, plan_embeddings
from clipsieve.outputs.export.fates import Stretch
from clipsieve.outputs.export.folder import FolderWriter
from clipsieve.outputs.export.huggingface import HuggingFaceWriter
from clipsieve.outputs.export.list_units import ListWriter, list_shards
from clipsieve.outputs.export.options import ExportOptions
from clipsieve.outputs.export.originals import check_shards, stretches_of
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
    """

    writer: Writer
    stretches: tuple[Stretch, ...]


def plan_writer(run: Run, options: ExportOptions) -> PlannedWriter:
    """Return what writes an export of a run.

    Raises
    ------
    SourceError
        If the source is gone, or is not what was scanned. For lists, it is not looked at.
    UsageError
        If an option means nothing for this source or form.
    """
    _refuse_unused(run, options)
    if options.form != "same":
        return _planned(ListWriter(), list_shards(run))
    if run.external is not None:
        return _planned(EmbeddingsWriter(run.external), plan_embeddings(run.external))
    source = reopen(run, options.location)
    # What the scan found out of each tar saves opening it again only to count.
    shards = source.plan(run.manifest.part_size, run.load_listing(run.path)).shards
    check_shards(run, shards, is_moved=options.location is not None)
    return _planned(_writer_of(source, options), shards)


def _planned(writer: Writer, shards: tuple[Shard, ...]) -> PlannedWriter:
    return PlannedWriter(writer, tuple(stretches_of(shards, [writer.unit_of(shard) for shard in shards])))


def _refuse_unused(run: Run, options: ExportOptions) -> None:
    """Refuse options that would do nothing: who asks for links must not get copies without a word."""
    is_list, kind = options.form != "same", run.manifest.source_kind
    if options.how != "copy" and (is_list or kind not in ("folder", "table")):
        raise UsageError(
            f"`--files {options.how}` means nothing for {'a list' if is_list else f'a source that is read as {kind}'}",
            expected="a folder, or a table that names files",
            state="nothing was written",
        )
    if options.location is not None and (is_list or run.external is not None):
        raise UsageError(
            f"`--from` means nothing for {'a list' if is_list else 'embeddings, which are read where they lie'}",
            state="nothing was written",
        )


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
