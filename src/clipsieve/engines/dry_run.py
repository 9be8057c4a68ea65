"""The plan of a scan, checked and measured before any work; nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from clipsieve import store
from clipsieve.encoders import Encoder
from clipsieve.engines.base import Engine
from clipsieve.engines.checks import PASSING, check_room, check_writable, is_done, try_out
from clipsieve.engines.forecast import Forecast, forecast
from clipsieve.engines.options import ScanOptions
from clipsieve.engines.prepare import Redo, differ
from clipsieve.engines.probe import N_PROBE, Probe, measure
from clipsieve.engines.scan import manifest_of
from clipsieve.engines.workplace import Workplace, workplace_of
from clipsieve.sources import Source
from clipsieve.store import Run, RunManifest, RunPath, stored_parts
from clipsieve.store.files import exists
from clipsieve.store.new_place import check_new_place
from clipsieve.types import Plan

__all__ = ["DryRun", "dry_run"]


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a scan would do.

    Attributes
    ----------
    source_kind, source_location, run : str
        From where to where.
    n_images, n_ignored : int
        Listed; other files that lie there.
    n_done, n_left : int
        Images of parts that are there already, and the others.
    n_parts, n_parts_left, part_size : int
        Parts of the run; those that are to be made; the most images in one.
    encoder : str
        What makes the embeddings.
    embedding_dim : int
        Their width.
    workplace : Workplace
        What the scan has to work with.
    probe : Probe or None
        What a few images took; None if nothing is left to do.
    forecast : Forecast or None
        What the rest will take, as far as the probe tells.
    """

    source_kind: str
    source_location: str
    run: str
    n_images: int
    n_ignored: int
    n_done: int
    n_left: int
    n_parts: int
    n_parts_left: int
    part_size: int
    encoder: str
    embedding_dim: int
    workplace: Workplace
    probe: Probe | None
    forecast: Forecast | None


def dry_run(
    source: Source,
    run_path: str | RunPath,
    opening: AbstractContextManager[tuple[Encoder, Engine]],
    *,
    device: str = "auto",
    options: ScanOptions | None = None,
    redo: Redo = "never",
    retry_failed: bool = False,
    price: float | None = None,
    on_progress: Callable[[int, int], object] = lambda _n_done, _n_total: None,
) -> DryRun:
    """Return what the same scan would do and take; the source and the run stay as they are.

    The checks come in this order: the source can be listed and holds images; the run can be written to its place; the machines
    have what is asked of them and the model loads there; the disk has room and the run that is there, if any, is of the same
    source, encoder and options; the model encodes. Then up to 200 images are read, decoded and encoded.

    Images that have only moved since an earlier scan count as left, though a scan would find their embeddings again.

    Parameters
    ----------
    source : Source
        As for `scan`.
    run_path : str, Path or UPath
        As for `scan`. Whether another process is writing there is not looked at.
    opening : context manager
        Gives encoder and engine; entered when the place has been checked, and left at the end.
    device : str
        What the encoder is loaded on, see `workplace_of`.
    options, redo, retry_failed
        As for `scan`.
    price : float, optional
        Of the whole machine or cluster, for an hour.
    on_progress : callable
        Called with the number of images of the probe that are done, and all of them.

    Raises
    ------
    SourceError, RunError, RunConflictError, ModelError, EngineError, UsageError
        What the scan would raise.
    """
    options, place = options or ScanOptions(), store.run_path(run_path)
    plan = source.plan(options.part_size, Run.load_listing(place))
    check_writable(place)
    with opening as (encoder, engine):
        encoder.expect(n_images=plan.n_images)
        identity = encoder.identity
        check_room(place, plan, identity.embedding_dim)
        run = _run_of(place, manifest_of(source, plan, encoder, options), redo)
        try_out(encoder)
        left = _left(run, plan, retry_failed=retry_failed) if run is not None else [s.n_images for s in plan.shards]
        workplace, n_left = workplace_of(encoder, engine, device), sum(left)
        probe = found = None
        if n_left:
            counted = _counter(min(N_PROBE, plan.n_images), on_progress)
            probe = measure(source, encoder, engine, workplace, options, counted)
            found = forecast(probe, workplace, n_left, options.part_size, identity.embedding_dim, price)
    return DryRun(
        source_kind=source.kind,
        source_location=source.location,
        run=str(place),
        n_images=plan.n_images,
        n_ignored=plan.n_ignored,
        n_done=plan.n_images - n_left,
        n_left=n_left,
        n_parts=len(plan.shards),
        n_parts_left=len(left),
        part_size=options.part_size,
        encoder=identity.description,
        embedding_dim=identity.embedding_dim,
        workplace=workplace,
        probe=probe,
        forecast=found,
    )


def _run_of(place: RunPath, wanted: RunManifest, redo: Redo) -> Run | None:
    """Return the run that a scan would go on with, None if it would begin one; refuse what `prepare_run` refuses."""
    if not exists(place / "run.json"):
        check_new_place(place)
        return None
    if redo == "all":
        return None
    found = Run.open(place)
    differ(place, found.manifest, wanted, redo)
    return Run(place, replace(wanted, clipsieve_version=found.manifest.clipsieve_version))


def _left(run: Run, plan: Plan, *, retry_failed: bool) -> list[int]:
    """Return the number of images of each part that a scan would make."""
    there = stored_parts(run, [shard.index for shard in plan.shards], ["failure_code"])
    again = PASSING if retry_failed else frozenset()

    def is_wanted(codes: list[str | None]) -> bool:
        return not again.intersection(code for code in codes if code is not None)

    return [
        shard.n_images
        for shard, part in zip(plan.shards, there, strict=True)
        if part is None or not is_done(run, shard, part) or not is_wanted(part.column("failure_code").to_pylist())
    ]


def _counter(n_all: int, on_progress: Callable[[int, int], object]) -> Callable[[int], None]:
    n_done = 0

    def count(n: int) -> None:
        nonlocal n_done
        n_done += n
        on_progress(n_done, n_all)

    return count
