"""From embeddings that somebody else has computed to a run that reads them in place."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from clipsieve import store
from clipsieve._version import __version__
from clipsieve.classifiers import check_large_dimensions
from clipsieve.encoders import find_model
from clipsieve.engines.classify import identify
from clipsieve.engines.options import MaxFailures
from clipsieve.engines.prepare import Redo, prepare_run
from clipsieve.engines.scan import ScanReport
from clipsieve.errors import EncoderMismatchError, TooManyFailuresError, UsageError
from clipsieve.sources import UniqueIds
from clipsieve.store import ExternalEmbeddings, RunManifest, RunPath, find_embeddings, locked
from clipsieve.types import EncoderIdentity

__all__ = ["adopt_embeddings"]

PART_SIZE = 20_000
SAMPLE_ROWS = 1000


def adopt_embeddings(
    location: str | Path,
    run_path: str | RunPath,
    *,
    model: str,
    columns: Mapping[str, str] | None = None,
    part_size: int = PART_SIZE,
    redo: Redo = "never",
    max_failures: MaxFailures | None = None,
    on_progress: Callable[[int, int], object] = lambda _n_done, _n_total: None,
) -> ScanReport:
    """Make a run of embeddings that lie somewhere already; they are mapped where they lie and never copied.

    Parameters
    ----------
    location : str or Path
        A folder as clip-retrieval and LAION write it (`img_emb/*.npy`, `metadata/*.parquet`), or of `.npy` files, or one
        such file. float16 or float32, n x d, of any norm but 0.
    run_path : str, Path or UPath
        A new or empty folder or URL, or a run of the same embeddings.
    model : str
        The encoder that made them. A name of the catalog or hub is taken on trust; of a folder, the weights are hashed.
    columns : mapping, optional
        Which column of the metadata is the "id", "label" or "caption"; the rest is chosen by name.
    part_size : int
        The most rows that are scored at once.
    redo : {"never", "stale", "all"}
        As for `scan`.
    max_failures : MaxFailures, optional
        When to refuse them.
    on_progress : callable
        Called with the number of rows looked at and listed.

    Returns
    -------
    ScanReport
        `n_failed` counts rows without a direction: all zeros, NaN, infinity. `warnings` tells what speaks against the model.

    Raises
    ------
    SourceError
        If there are no embeddings, or metadata and embeddings do not belong together.
    EncoderMismatchError
        If their width is not that of the model.
    RunConflictError
        If the folder holds something else.
    """
    started = time.monotonic()
    place = store.run_path(run_path)
    with locked(place):
        external = ExternalEmbeddings(find_embeddings(location), part_size, _named(columns or {}))
        external.check_columns()
        if columns and columns.get("id"):
            _check_ids(external, columns["id"], str(location))
        identity = _identity(model, external)
        run = prepare_run(place, _manifest(Path(location), external, identity, model), redo, lambda: None)
        if not run.stands_for(external):
            run.drop_scores()
            run.adopt(external)
        n_failed = _count_failures(external, max_failures or MaxFailures(), on_progress)
        report = _report(external, n_failed, time.monotonic() - started, _doubts(external, identity))
        run.record(what="scan", finished=datetime.now(UTC).isoformat(timespec="seconds"), **asdict(report))
    return report


def _report(external: ExternalEmbeddings, n_failed: int, elapsed_s: float, warnings: tuple[str, ...]) -> ScanReport:
    return ScanReport(
        n_listed=external.n_rows,
        n_scanned=external.n_rows - n_failed,
        n_failed=n_failed,
        n_new=external.n_rows,
        n_reused=0,
        n_ignored=0,
        elapsed_s=elapsed_s,
        warnings=warnings,
    )


def _named(columns: Mapping[str, str]) -> dict[str, str]:
    if "image" in columns:
        raise UsageError("embeddings have no image column", hint="leave `--image-column` away")
    return {("image_id" if what == "id" else what): name for what, name in columns.items()}


def _identity(model: str, external: ExternalEmbeddings) -> EncoderIdentity:
    width = external.files[0].embedding_dim
    name, identity = identify(model)
    known = find_model(model)
    expected = identity.embedding_dim if identity else known.embedding_dim if known else width
    if expected != width:
        raise EncoderMismatchError(
            f"these embeddings were not made by `{name}`",
            expected=f"{expected} wide",
            found=f"{width} wide",
            state="nothing was written",
            hint="name the encoder that made them with `--model`",
        )
    return identity or EncoderIdentity(name, None, None, "unknown", width)


def _manifest(location: Path, external: ExternalEmbeddings, identity: EncoderIdentity, model: str) -> RunManifest:
    return RunManifest(
        source_kind="embeddings",
        source_location=str(location.resolve()),
        part_size=external.part_size,
        n_images=external.n_rows,
        n_parts=external.n_parts,
        n_ignored=0,
        encoder=identity,
        encoder_location=str(Path(model).resolve()) if Path(model).exists() else model,
        options={f"{what}_column": name for what, name in external.columns.items()},
        clipsieve_version=__version__,
    )


def _check_ids(external: ExternalEmbeddings, column: str, where: str) -> None:
    ids = UniqueIds(column, where)
    for number in range(external.n_parts):
        for row, text in enumerate(external.read_part(number, ["image_id"]).column("image_id").to_pylist()):
            ids.add(text, f"row {row:,} of part {number:,}")


def _count_failures(
    external: ExternalEmbeddings, allowed: MaxFailures, on_progress: Callable[[int, int], object]
) -> int:
    n_done = n_failed = 0
    for index in range(external.n_parts):
        column = external.read_part(index, ["failure_code"]).column("failure_code")
        n_done += len(column)
        n_failed += len(column) - column.null_count
        on_progress(n_done, external.n_rows)
    if not allowed.allows(n_failed, external.n_rows):
        words = f"{n_failed:,} of {external.n_rows:,} embeddings have no direction"
        raise TooManyFailuresError(words, expected=f"at most {allowed}")
    return n_failed


def _doubts(external: ExternalEmbeddings, identity: EncoderIdentity) -> tuple[str, ...]:
    rows = external.sample(SAMPLE_ROWS).astype(np.float32)
    norms = np.linalg.norm(rows, axis=1)
    kept = np.isfinite(norms) & (norms > 0)
    embeddings = rows[kept] / norms[kept, None]
    doubt = check_large_dimensions(embeddings, identity.name)
    unknown = identity.weights_sha256 is None and find_model(identity.name) is None
    unheard = f"nothing is known of `{identity.name}`: the name is taken on trust" if unknown else None
    return tuple(words for words in (doubt, unheard) if words)
