"""From a source to a run folder: plan, do what is not done, count."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import pyarrow as pa

from clipsieve import store
from clipsieve._version import __version__
from clipsieve.encoders import Encoder
from clipsieve.engines.base import Engine, FinishedShard, ScanJob
from clipsieve.engines.checks import PASSING, check_room, is_done, try_out
from clipsieve.engines.int8 import Int8Report
from clipsieve.engines.local import LocalEngine
from clipsieve.engines.options import MaxFailures, ScanOptions
from clipsieve.engines.prepare import Redo, prepare_run
from clipsieve.errors import RunCorruptError, TooManyFailuresError
from clipsieve.sources import Source
from clipsieve.store import (
    Run,
    RunManifest,
    RunPath,
    StoredEmbeddings,
    locked,
    remove_superseded,
    set_aside,
    stored_parts,
    superseded,
)
from clipsieve.types import FailureCode, Plan, Shard

__all__ = ["ScanReport", "manifest_of", "scan"]

N_WRITERS = 4  # parts that are written at once: a service takes as long for each as its answer


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a scan did.

    Attributes
    ----------
    n_listed, n_scanned, n_failed : int
        Inputs of the run, those with an embedding, those without; `n_scanned + n_failed == n_listed`.
    n_new : int
        Inputs that this scan dealt with; the others were there already.
    n_reused : int
        How many of these were in an earlier scan, in another part or with other options, and were not encoded again.
    n_ignored : int
        Files passed over because they are no images.
    elapsed_s : float
        Wall-clock time of this scan.
    warnings : tuple of str
        What a person should look at before they go on.
    """

    n_listed: int
    n_scanned: int
    n_failed: int
    n_new: int
    n_reused: int
    n_ignored: int
    elapsed_s: float
    warnings: tuple[str, ...] = ()


def scan(
    source: Source,
    run_path: str | RunPath,
    encoder: Encoder,
    *,
    options: ScanOptions | None = None,
    engine: Engine | None = None,
    redo: Redo = "never",
    retry_failed: bool = False,
    int8: Int8Report | None = None,
    on_progress: Callable[[int, int], object] = lambda _n_done, _n_total: None,
) -> ScanReport:
    """Encode every image of a source into a run folder, once.

    Parts that are there and were made from the same inputs by the same encoder with the same options are kept; so the same
    call again goes on where an interrupted one stopped, and picks up what has changed in the source.

    Parameters
    ----------
    source : Source
        Where the images come from. It is only read.
    run_path : str, Path or UPath
        A new or empty folder or URL, or a run of the same source, encoder and options.
    encoder : Encoder
        Makes the embeddings.
    options : ScanOptions, optional
        Part size, limits, block list, allowed failures.
    engine : Engine, optional
        Runs the stages; :class:`LocalEngine` by default.
    redo : {"never", "stale", "all"}
        What to do with a run of another encoder or other options: refuse it; make anew the parts that were made so, and drop
        the scores; or make everything anew, of another source too.
    retry_failed : bool
        Whether to try images again that could not be read: missing, not permitted, a server that failed, out of time.
    int8 : Int8Report, optional
        How the encoder compared with fp32 before; it is written into the run's history.
    on_progress : callable
        Called with the number of images done and listed.

    Returns
    -------
    ScanReport
        With `n_scanned + n_failed == n_listed`.

    Raises
    ------
    SourceError
        If the source cannot be listed or holds no image; nothing is written.
    RunConflictError
        If the folder holds something else, or another process is writing to it; nothing is written.
    RunError
        If the folder cannot be written to, or the disk has no room for the embeddings: nothing is written. If it is full
        later; finished parts are kept.
    TooManyFailuresError
        If more images failed than allowed; finished parts are kept.
    """
    options = options or ScanOptions()
    started = time.monotonic()
    place = store.run_path(run_path)
    with locked(place):
        run, plan = _prepare(source, place, encoder, options, redo)
        if int8 is not None:
            run.record(what="int8", finished=datetime.now(UTC).isoformat(timespec="seconds"), **asdict(int8))
        tally = _Tally(plan.n_images, options.max_failures, on_progress)
        set_aside(run, [shard.fingerprint for shard in plan.shards], retry=PASSING if retry_failed else frozenset())
        there = stored_parts(run, [shard.index for shard in plan.shards], ["failure_code"])
        parts = zip(plan.shards, there, strict=True)
        todo = [shard for shard, part in parts if part is None or not tally.count_if_done(run, shard, part)]
        _embed(run, source, todo, encoder, engine or LocalEngine(), options, tally)
        tally.check(run)
        report = tally.report(run, plan, time.monotonic() - started)
        remove_superseded(run)
        run.record(what="scan", finished=datetime.now(UTC).isoformat(timespec="seconds"), **asdict(report))
    return report


def _prepare(source: Source, path: RunPath, encoder: Encoder, options: ScanOptions, redo: Redo) -> tuple[Run, Plan]:
    """List the source and return the run to write to; what a listing found out at a price is kept for the next one."""
    before = Run.load_listing(path)
    known = dict(before)
    plan = source.plan(options.part_size, known)
    # Of the whole job, also where a part of it is done, and before the first image: so every part is made in the same way.
    encoder.expect(n_images=plan.n_images)
    check_room(path, plan, encoder.identity.embedding_dim)
    run = prepare_run(path, manifest_of(source, plan, encoder, options), redo, lambda: try_out(encoder))
    if known != before:
        run.save_listing(known)
    return run, plan


class _Tally:
    """Counts the rows as they come, and gives up when too many of them are failures."""

    def __init__(self, n_images: int, allowed: MaxFailures, on_progress: Callable[[int, int], object]) -> None:
        self.n_done = self.n_failed = self.n_new = self.n_reused = self._n_blocked = 0
        self._n_images = n_images
        self._allowed = allowed
        self._shown = 0
        self._on_progress = on_progress

    def count_if_done(self, run: Run, shard: Shard, part: pa.Table) -> bool:
        """Count a part that an earlier scan finished; return False if it does not hold any more."""
        if not is_done(run, shard, part):
            return False
        self._add(part)
        self.show(part.num_rows)
        return True

    def _add(self, part: pa.Table) -> None:
        codes = part.column("failure_code")
        self.n_done += len(codes)
        self.n_failed += len(codes) - codes.null_count
        if codes.null_count < len(codes):
            self._n_blocked += codes.to_pylist().count(FailureCode.BLOCKED)

    def report(self, run: Run, plan: Plan, elapsed_s: float) -> ScanReport:
        """Return what was done; RunCorruptError if the run does not hold one row for each input."""
        if self.n_done != plan.n_images:
            raise RunCorruptError(
                f"`{run.path}` does not hold one row for each input",
                expected=f"{plan.n_images:,}",
                found=f"{self.n_done:,}",
            )
        return ScanReport(
            n_listed=plan.n_images,
            n_scanned=plan.n_images - self.n_failed,
            n_failed=self.n_failed,
            n_new=self.n_new,
            n_reused=self.n_reused,
            n_ignored=plan.n_ignored,
            elapsed_s=elapsed_s,
        )

    def show(self, n: int) -> None:
        """Tell that n more images have gone through."""
        self._shown += n
        self._on_progress(self._shown, self._n_images)

    def count(self, run: Run, finished: FinishedShard) -> None:
        """Count a part that was just written."""
        self._add(finished.table)
        self.n_new += finished.table.num_rows
        self.n_reused += finished.n_reused
        self.check(run)

    def check(self, run: Run) -> None:
        """Give up if too many have failed; what is blocked was to be expected, and says nothing of the run."""
        n_failed = self.n_failed - self._n_blocked
        if not self._allowed.allows(n_failed, self._n_images):
            raise TooManyFailuresError(
                f"{n_failed:,} of the {self.n_done:,} images seen so far have failed",
                expected=f"at most {self._allowed}",
                state=f"{self.n_done:,} rows are kept in `{run.path}`, each failure with its reason",
                hint="look at the reasons with `clipsieve summary`; the same command with a higher --max-failures goes on",
            )


def _embed(
    run: Run, source: Source, todo: list[Shard], encoder: Encoder, engine: Engine, options: ScanOptions, tally: _Tally
) -> None:
    if not todo:
        return
    known = StoredEmbeddings(superseded(run), max_pixels=options.limits.max_pixels)
    job = ScanJob(source, encoder, options, run.manifest.options_fingerprint, known)
    # Closed on the way out, whatever the reason: the engine's processes end with the scan.
    with closing(engine.embed(job, todo, tally.show)) as parts:
        for finished in _written(run, parts):
            tally.count(run, finished)


def _written(run: Run, parts: Iterable[FinishedShard]) -> Iterator[FinishedShard]:
    """Yield each part once it is written; meanwhile others are made, and written beside it."""
    under_way: deque[tuple[FinishedShard, Future[None]]] = deque()
    threads = ThreadPoolExecutor(N_WRITERS, thread_name_prefix="write")
    try:
        for finished in parts:
            path = run.image_part(finished.shard.index)
            under_way.append((finished, threads.submit(run.write_part, path, finished.table)))
            while under_way and (under_way[0][1].done() or len(under_way) > N_WRITERS):
                yield _settled(*under_way.popleft())
        while under_way:
            yield _settled(*under_way.popleft())
    finally:
        # After an error, what is being written becomes whole, and no more is begun.
        threads.shutdown(cancel_futures=True)


def _settled(finished: FinishedShard, written: Future[None]) -> FinishedShard:
    written.result()
    return finished


def manifest_of(source: Source, plan: Plan, encoder: Encoder, options: ScanOptions) -> RunManifest:
    """Return what a run of these would be a run of."""
    return RunManifest(
        source_kind=source.kind,
        source_location=source.location,
        part_size=options.part_size,
        n_images=plan.n_images,
        n_parts=len(plan.shards),
        n_ignored=plan.n_ignored,
        encoder=encoder.identity,
        encoder_location=encoder.location,
        options=_deciding(source, options),
        clipsieve_version=__version__,
    )


def _deciding(source: Source, options: ScanOptions) -> dict[str, int | float | str]:
    """Return the options that decide rows."""
    limits = {
        "max_pixels": options.limits.max_pixels,
        "max_bytes": source.max_bytes,
        "max_seconds": options.limits.max_seconds,
    }
    blocked = {"hash_list": options.block_list.fingerprint} if options.block_list else {}
    return {**limits, **source.options, **blocked, "exact": "yes" if options.exact else "no"}
