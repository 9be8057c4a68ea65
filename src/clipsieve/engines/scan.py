"""From a source to a run folder: plan, do what is not done, count."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from clipsieve._version import __version__
from clipsieve.encoders import Encoder
from clipsieve.engines.base import Engine
from clipsieve.engines.local import LocalEngine
from clipsieve.engines.options import MaxFailures, ScanOptions
from clipsieve.errors import RunConflictError, RunCorruptError, TooManyFailuresError
from clipsieve.images import DecodeLimits
from clipsieve.sources import Source
from clipsieve.store import Run, RunManifest, image_table
from clipsieve.types import FailedImage, Plan, Shard

__all__ = ["ScanReport", "scan"]


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a scan did.

    Attributes
    ----------
    n_listed, n_scanned, n_failed : int
        Inputs of the run, those with an embedding, those without; `n_scanned + n_failed == n_listed`.
    n_new : int
        Inputs that this scan dealt with; the others were there already.
    n_ignored : int
        Files passed over because they are no images.
    elapsed_s : float
        Wall-clock time of this scan.
    """

    n_listed: int
    n_scanned: int
    n_failed: int
    n_new: int
    n_ignored: int
    elapsed_s: float


def scan(
    source: Source,
    run_path: str | Path,
    encoder: Encoder,
    *,
    options: ScanOptions | None = None,
    engine: Engine | None = None,
    on_progress: Callable[[int, int], object] = lambda _n_done, _n_total: None,
) -> ScanReport:
    """Encode every image of a source into a run folder, once.

    Parts that are there and were made from the same inputs by the same encoder are kept; so the same call again goes on
    where an interrupted one stopped, and picks up what has changed in the source.

    Parameters
    ----------
    source : Source
        Where the images come from. It is only read.
    run_path : str or Path
        A new or empty folder, or a run of the same source, encoder and options.
    encoder : Encoder
        Makes the embeddings.
    options : ScanOptions, optional
        Part size, limits, allowed failures.
    engine : Engine, optional
        Runs the stages; :class:`LocalEngine` by default.
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
        If the folder holds something else; nothing is written.
    TooManyFailuresError
        If more images failed than allowed; finished parts are kept.
    """
    options = options or ScanOptions()
    engine = engine or LocalEngine()
    started = time.monotonic()
    plan = source.plan(options.part_size)
    run = _open_or_create(Path(run_path), _manifest(source, plan, encoder, options), encoder)
    tally = _Tally(plan.n_images, options.max_failures, on_progress)
    todo = [shard for shard in plan.shards if not tally.count_if_done(run, shard, encoder)]
    _embed(run, source, todo, encoder, engine, options.limits, tally)
    if tally.n_done != plan.n_images:
        raise RunCorruptError(
            f"`{run.path}` does not hold one row for each input",
            expected=f"{plan.n_images:,}",
            found=f"{tally.n_done:,}",
        )
    report = ScanReport(
        n_listed=plan.n_images,
        n_scanned=plan.n_images - tally.n_failed,
        n_failed=tally.n_failed,
        n_new=tally.n_new,
        n_ignored=plan.n_ignored,
        elapsed_s=time.monotonic() - started,
    )
    run.record(what="scan", finished=datetime.now(UTC).isoformat(timespec="seconds"), **asdict(report))
    return report


class _Tally:
    """Counts the rows as they come, and gives up when too many of them are failures."""

    def __init__(self, n_images: int, allowed: MaxFailures, on_progress: Callable[[int, int], object]) -> None:
        self.n_done = self.n_failed = self.n_new = 0
        self._n_images = n_images
        self._allowed = allowed
        self._shown = 0
        self._on_progress = on_progress

    def count_if_done(self, run: Run, shard: Shard, encoder: Encoder) -> bool:
        """Count a part that an earlier scan finished; return False if there is none that still holds."""
        path = run.image_part(shard.index)
        made_from = run.part_metadata(path) or {}
        wanted = {"clipsieve.inputs": shard.fingerprint, "clipsieve.encoder": encoder.identity.fingerprint}
        if any(made_from.get(name) != value for name, value in wanted.items()):
            return False
        codes = run.read_part(path, ["failure_code"]).column("failure_code")
        self.n_done += len(codes)
        self.n_failed += len(codes) - codes.null_count
        self.show(len(codes))
        return True

    def show(self, n: int) -> None:
        """Tell that n more images have gone through."""
        self._shown += n
        self._on_progress(self._shown, self._n_images)

    def count(self, run: Run, n_rows: int, n_failed: int) -> None:
        """Count a part that was just written."""
        self.n_done += n_rows
        self.n_new += n_rows
        self.n_failed += n_failed
        if not self._allowed.allows(self.n_failed, self._n_images):
            raise TooManyFailuresError(
                f"{self.n_failed:,} of the {self.n_done:,} images seen so far have failed",
                expected=f"at most {self._allowed}",
                state=f"{self.n_done:,} rows are kept in `{run.path}`, each failure with its reason",
                hint="look at the reasons with `clipsieve summary`; the same command with a higher --max-failures goes on",
            )


def _embed(
    run: Run, source: Source, todo: list[Shard], encoder: Encoder, engine: Engine, limits: DecodeLimits, tally: _Tally
) -> None:
    if not todo:
        return
    identity = encoder.identity
    # Closed on the way out, whatever the reason: the engine's processes end with the scan.
    with closing(engine.embed(source, todo, encoder, limits, tally.show)) as parts:
        for shard, rows in parts:
            table = image_table(rows, identity.embedding_dim, inputs=shard.fingerprint, encoder=identity.fingerprint)
            run.write_part(run.image_part(shard.index), table)
            tally.count(run, len(rows), sum(isinstance(row, FailedImage) for row in rows))


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
        options={"max_pixels": options.limits.max_pixels},
        clipsieve_version=__version__,
    )


def _open_or_create(path: Path, wanted: RunManifest, encoder: Encoder) -> Run:
    """Return the run to write to, with the plan of today; refuse a folder that is another run."""
    if not (path / "run.json").exists():
        side = encoder.identity.preprocessing.size_px
        encoder.encode_images(np.zeros((1, side, side, 3), dtype=np.uint8))  # a damaged model leaves no empty run
        return Run.create(path, wanted)
    found = Run.open(path).manifest
    for what, there, here in _differences(found, wanted):
        raise RunConflictError(
            f"the folder `{path}` holds a run with another {what}",
            expected=there,
            found=here,
            state="nothing was written",
            hint="choose another folder with `-o`, or give what the run was made with",
        )
    run = Run(path, replace(wanted, clipsieve_version=found.clipsieve_version))
    run.save()
    run.remove_surplus_parts()
    return run


def _differences(found: RunManifest, wanted: RunManifest) -> list[tuple[str, str, str]]:
    """Return what may not change between two scans into one folder, with both values."""
    pairs = [
        (
            "source",
            f"{found.source_kind} `{found.source_location}`",
            f"{wanted.source_kind} `{wanted.source_location}`",
        ),
        ("encoder", _describe(found), _describe(wanted)),
        ("--part-size", str(found.part_size), str(wanted.part_size)),
        ("--max-pixels", str(found.options), str(wanted.options)),
    ]
    same_encoder = found.encoder.fingerprint == wanted.encoder.fingerprint
    return [
        (what, there, here) for what, there, here in pairs if there != here and not (what == "encoder" and same_encoder)
    ]


def _describe(manifest: RunManifest) -> str:
    encoder = manifest.encoder
    return f"{encoder.name}, {encoder.embedding_dim} wide, {encoder.precision} (sha256 {encoder.weights_sha256[:12]}…)"
