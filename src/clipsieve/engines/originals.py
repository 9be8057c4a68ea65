"""The source of a run, opened again."""

from __future__ import annotations

from clipsieve.errors import SourceError, UsageError
from clipsieve.sources import Columns, Source, open_source
from clipsieve.store import Run

__all__ = ["reopen"]


def reopen(run: Run, location: str | None = None) -> Source:
    """Open the source that a run was made of, with the same columns and limits.

    Parameters
    ----------
    run : Run
        Of images, not of embeddings that came from elsewhere.
    location : str, optional
        Where it lies now, if not where it was scanned.

    Raises
    ------
    SourceError
        If it is not there any more.
    """
    if run.manifest.source_kind == "embeddings":
        raise UsageError(
            "the run holds embeddings that were computed elsewhere: it has no images to open",
            hint="`clipsieve export RUN DEST` copies the rows of the embeddings that are kept",
        )
    options = run.manifest.options
    named = {
        what: str(options[f"{what}_column"])
        for what in ("image", "id", "label", "caption")
        if f"{what}_column" in options
    }
    where = location or run.manifest.source_location
    try:
        return open_source(
            where, run.manifest.source_kind, columns=Columns(**named), max_bytes=int(options.get("max_bytes", 2**63))
        )
    except SourceError as error:
        raise SourceError(
            error.what,
            expected="the source of the run, as it was when it was scanned",
            found=error.found,
            state="nothing was written",
            hint=f"if it lies elsewhere now, name the place with `--from`; it was `{run.manifest.source_location}`",
        ) from error
