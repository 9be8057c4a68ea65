"""The run that a scan may write to: a new one, or one of the same source, encoder and options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from clipsieve.errors import RunConflictError
from clipsieve.store import Run, RunManifest, RunPath
from clipsieve.store.files import exists

__all__ = ["Redo", "differ", "prepare_run"]

Redo = Literal["never", "stale", "all"]


def prepare_run(path: RunPath, wanted: RunManifest, redo: Redo, try_out: Callable[[], object]) -> Run:
    """Return the run to write to, with the plan of today; refuse a folder that is another run.

    Parameters
    ----------
    path : Path or UPath
        The folder.
    wanted : RunManifest
        What it shall be a run of.
    redo : {"never", "stale", "all"}
        What may be made anew; see `scan`.
    try_out : callable
        Called before a new run is made: what cannot work leaves no run behind.

    Raises
    ------
    RunConflictError
        If the folder holds another run or other files; nothing is written.
    """
    if not exists(path / "run.json"):
        try_out()
        return Run.create(path, wanted)
    if redo == "all":  # whatever is there, damaged or of another version
        try_out()
        run = Run(path, wanted)
        # Scores first, since they would pass as those of the new embeddings; then what the folder shall be, so that it is
        # a run still if this process is killed in between.
        run.drop_scores()
        run.save()
        run.clear()
        return run
    found = Run.open(path)
    if differ(path, found.manifest, wanted, redo):
        found.drop_scores()
    run = Run(path, replace(wanted, clipsieve_version=found.manifest.clipsieve_version))
    run.save()
    return run


def differ(path: RunPath, found: RunManifest, wanted: RunManifest, redo: Redo) -> bool:
    """Return whether a run is of another encoder or other options; RunConflictError if it may not be made what is wanted."""
    differences = _differences(found, wanted)
    fatal = [each for each in differences if redo == "never" or each[0] in ("source", "kind of source")]
    if fatal:
        raise _conflict(path, fatal)
    return bool(differences)


def _conflict(path: RunPath, differences: list[tuple[str, str, str]]) -> RunConflictError:
    """Return the refusal, with everything that differs."""
    names = ", ".join(what for what, _, _ in differences)
    is_other_source = any("source" in what for what, _, _ in differences)
    hint = "choose another folder with `-o`, give what the run was made with, "
    hint += (
        "or make everything anew with `--overwrite`"
        if is_other_source
        else "make anew what differs with `--stale-only`, or everything with `--overwrite`"
    )
    return RunConflictError(
        f"the folder `{path}` holds a run with another {names}",
        expected="; ".join(there for _, there, _ in differences),
        found="; ".join(here for _, _, here in differences),
        state="nothing was written",
        hint=hint,
    )


def _differences(found: RunManifest, wanted: RunManifest) -> list[tuple[str, str, str]]:
    """Return what may not change between two scans into one folder, with both values."""
    pairs = [
        ("kind of source", found.source_kind, wanted.source_kind),
        ("source", f"`{found.source_location}`", f"`{wanted.source_location}`"),
        ("--part-size", str(found.part_size), str(wanted.part_size)),
    ]
    for key in sorted({*found.options, *wanted.options}):
        there, here = (_shortened(str(options.get(key, "none"))) for options in (found.options, wanted.options))
        pairs.append((f"--{key.replace('_', '-')}", there, here))
    differing = [(what, there, here) for what, there, here in pairs if there != here]
    if found.encoder.fingerprint != wanted.encoder.fingerprint:
        differing.append(("encoder", found.encoder.description, wanted.encoder.description))
    return differing


def _shortened(value: str) -> str:
    return f"{value[:12]}…" if len(value) == 64 else value
