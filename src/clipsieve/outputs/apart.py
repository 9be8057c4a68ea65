"""Places that outputs are written to lie apart from what they are made of, and from each other."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from clipsieve.errors import UsageError
from clipsieve.remote.connect import is_url, plain_location
from clipsieve.store import Run

__all__ = ["Taken", "check_apart", "plain", "taken_by"]

Taken = tuple[str, str]
_SAME_SCHEMES = {"s3a": "s3", "gcs": "gs"}


def plain(location: str) -> str:
    """Return a location so that two names of one place are equal: no link on the way, no `file://`, no slash at the end."""
    location = plain_location(location)
    if not is_url(location):
        return os.path.realpath(location)
    scheme, mark, rest = location.partition("://")
    return _SAME_SCHEMES.get(scheme.lower(), scheme.lower()) + mark + re.sub("/+", "/", rest).rstrip("/")


def taken_by(run: Run, moved_to: str | None = None) -> list[Taken]:
    """Return what nothing may be written into: a run, and the places of its source; each in words, and where it is."""
    sources = [run.manifest.source_location, *([moved_to] if moved_to else [])]
    return [*(("the source", plain(source)) for source in sources), ("the run", plain(str(run.path)))]


def check_apart(location: str, taken: Sequence[Taken]) -> None:
    """Raise UsageError if a place lies in one that is taken, is it, or holds it."""
    own = plain(location)
    for whose, other in taken:
        if _is_within(own, other) or _is_within(other, own):
            raise UsageError(
                f"the place `{own}` is not apart from {whose}",
                expected="a folder beside it: nothing in the source is ever changed",
                found=f"`{other}`",
                state="nothing was written",
                hint="name another place",
            )


def _is_within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")
