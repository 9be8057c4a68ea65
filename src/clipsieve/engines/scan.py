"""From a source to a run folder: plan, do what is not done, count."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from clipsieve._version import __version__
from clipsieve.encoders import Encoder
from clipsieve.engines.base import Engine, Row
from clipsieve.engines.int8 import Int8Report
from clipsieve.engines.local import LocalEngine
from clipsieve.engines.options import MaxFailures, ScanOptions
from clipsieve.engines.prepare import Redo, prepare_run
from clipsieve.errors import RunCorruptError, TooManyFailuresError
from clipsieve.sources import Source
from clipsieve.store import (
    Run,
    RunManifest,
    StoredEmbeddings,
    image_table,
    locked,
    remove_superseded,
    set_aside,
    superseded,
)
from clipsieve.store.layout import part_facts
from clipsieve.types import EmbeddedImage, FailedImage, FailureCode, Plan, Shard

__all__ = ["ScanReport", "scan"]

# Failures that may go better the next time: they lie with the place and not with the image.
PASSING = frozenset(
    {
        FailureCode.NOT_FOUND,
        FailureCode.NOT_PERMITTED,
        FailureCode.READ_ERROR,
        FailureCode.TIMED_OUT,
        FailureCode.DECODER_CRASHED,
        FailureCode.OUT_OF_MEMORY,
    }
)


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
    run_path: str | Path,
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
    run_path : str or Path
        A new or empty folder, or a run of the same source, encoder and options.
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
        If the disk is full or the folder cannot be written to; finished parts are kept.
    TooManyFailuresError
        If more images failed than allowed; finished parts are kept.
    """
    options = options or ScanOptions()
    started = time.monotonic()
    with locked(Path(run_path)):
        run, plan = _prepare(source, Path(run_path), encoder, options, redo)
        if int8 is not None:
            run.record(what="int8", finished=datetime.now(UTC).isoformat(timespec="seconds"), **asdict(int8))
        tally = _Tally(plan.n_images, options.max_failures, on_progress)
        set_aside(run, [shard.fingerprint for shard in plan.shards], retry=PASSING if retry_failed else frozenset())
        todo = [shard for shard in plan.shards if not tally.count_if_done(run, shard)]
        _embed(run, source, todo, encoder, engine or LocalEngine(), options, tally)
        tally.check(run)
        remove_superseded(run)
        report = tally.report(run, plan, time.monotonic() - started)
        run.record(what="scan", finished=datetime.now(UTC).isoformat(timespec="seconds"), **asdict(report))
    return report


def _prepare(source: Source, path: Path, encoder: Encoder, options: ScanOptions, redo: Redo) -> tuple[Run, Plan]:
    """List the source and return the run to write to; what a listing found out at a price is kept for the next one."""
    before = Run.load_listing(path)
    known = dict(before)
    plan = source.plan(options.part_size, known)
    # Of the whole job, also where a part of it is done, and before the first image: so every part is made in the same way.
    encoder.expect(n_images=plan.n_images)
    run = prepare_run(path, _manifest(source, plan, encoder, options), redo, lambda: _try_out(encoder))
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

    def count_if_done(self, run: Run, shard: Shard) -> bool:
        """Count a part that an earlier scan finished; return False if there is none that still holds."""
        try:
            part = run.read_part(run.image_part(shard.index), ["failure_code"])
        except RunCorruptError:
            return False
        facts = part_facts(part.schema)
        if facts.get("clipsieve.inputs") != shard.fingerprint or not run.is_current(facts):
            return False
        codes = part.column("failure_code")
        if len(codes) != shard.n_images:
            return False
        self.n_done += len(codes)
        self.n_failed += len(codes) - codes.null_count
        if codes.null_count < len(codes):
            self._n_blocked += codes.to_pylist().count(FailureCode.BLOCKED)
        self.show(len(codes))
        return True

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

    def count(self, run: Run, rows: Sequence[Row]) -> None:
        """Count a part that was just written."""
        failures = [row.failure.code for row in rows if isinstance(row, FailedImage)]
        self.n_done += len(rows)
        self.n_new += len(rows)
        self.n_reused += sum(isinstance(row, EmbeddedImage) and row.is_reused for row in rows)
        self.n_failed += len(failures)
        self._n_blocked += failures.count(FailureCode.BLOCKED)
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
    dim = encoder.identity.embedding_dim
    made_by = {"encoder": encoder.identity.fingerprint, "options": run.manifest.options_fingerprint}
    # Closed on the way out, whatever the reason: the engine's processes end with the scan.
    known = StoredEmbeddings(superseded(run), max_pixels=options.limits.max_pixels)
    with closing(engine.embed(source, todo, encoder, options, tally.show, known)) as parts:
        for shard, rows in parts:
            table = image_table(rows, dim, inputs=shard.fingerprint, **made_by)
            run.write_part(run.image_part(shard.index), table)
            tally.count(run, rows)


def _manifest(source: Source, plan: Plan, encoder: Encoder, options: ScanOptions) -> RunManifest:
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


def _try_out(encoder: Encoder) -> None:
    """Encode one black image: a damaged model leaves no empty run."""
    side = encoder.recipe.size_px
    encoder.encode_images(np.zeros((1, side, side, 3), dtype=np.uint8))
