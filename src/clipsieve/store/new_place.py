"""Where a run may begin: nowhere, or in a folder that holds nothing."""

from __future__ import annotations

from clipsieve.errors import RunConflictError
from clipsieve.store import files
from clipsieve.store.lock import LOCK_NAME, is_a_file
from clipsieve.store.paths import RunPath

__all__ = ["check_new_place"]


def check_new_place(path: RunPath) -> None:
    """Raise RunConflictError if a run cannot begin at a place: a file lies there, or a folder that holds anything."""
    if files.exists(path) and not files.is_folder(path):
        raise is_a_file(path)
    # A process that was killed in its first write leaves the temporary file of `run.json`, and no run.
    ours = {".run.json.tmp", LOCK_NAME}
    others = [name for name in files.names_in(path) if name not in ours]
    if others:
        raise RunConflictError(
            f"the folder `{path}` holds other files",
            expected="a new or empty folder, or a run of the same source and encoder",
            found=f"{len(others):,} entries and no `run.json`",
            state="nothing was written",
            hint="choose another folder with `-o`",
        )
