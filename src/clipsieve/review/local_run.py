"""What needs the run on this machine: the page maps its parts into memory, and verdicts are kept beside them."""

from __future__ import annotations

from pathlib import Path

from clipsieve.errors import UsageError
from clipsieve.store import Run

__all__ = ["local_folder"]


def local_folder(run: Run) -> Path:
    """Return the folder of a run; UsageError for one behind a URL."""
    if isinstance(run.path, Path):
        return run.path
    raise UsageError(
        f"the run `{run.path}` lies behind a URL, where people cannot review it",
        expected="a run in a folder of this machine: the page reads it as memory, and keeps the verdicts beside it",
        state="nothing was written",
        hint="copy the run to this machine, with the service's own tool, and review the copy",
    )
