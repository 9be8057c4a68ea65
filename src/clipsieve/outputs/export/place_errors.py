"""What a place has against a name, or against being written to, in words."""

from __future__ import annotations

from clipsieve.errors import ExportError
from clipsieve.remote.connect import explain
from clipsieve.sources.names import legible

__all__ = ["leads_out", "no_utf8", "shown_name", "words_of"]


def leads_out(name: str, url: str) -> ExportError:
    """Return the error of a name that leads out of a place, or is none."""
    return ExportError(
        f"the name `{shown_name(name)[:200]}` leads out of `{url}`",
        expected="a path below it, without `.` and `..`",
        state="nothing was written under that name",
        hint="it stands in the source like that: rename it there, and scan again",
    )


def no_utf8(name: str, url: str) -> ExportError:
    """Return the error of a name that only this machine can have."""
    return ExportError(
        f"the name `{shown_name(name)[:200]}` is no UTF-8, and `{url}` takes nothing else",
        state="nothing was written under that name",
        hint="rename it in the source and scan again, or name a place on this machine",
    )


def words_of(error: BaseException) -> str:
    """Return what went wrong with a place, in the words of its file system where it has some."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, FileNotFoundError):
        return "there is no such place, such as a bucket, or it takes no file of that name"
    return explain(error).detail if isinstance(error, Exception) else type(error).__name__


def shown_name(name: str) -> str:
    """Return a name of a file as text that can be shown."""
    return legible(name.encode(errors="surrogateescape"))
