"""The places of an export: apart from each other and from the source, and taken by one export alone."""

from __future__ import annotations

import json
import os

from clipsieve._version import __version__
from clipsieve.errors import ExportError, UsageError
from clipsieve.outputs.export.base import Places
from clipsieve.outputs.export.destination import Destination
from clipsieve.sources.connect import is_url
from clipsieve.store import Run
from clipsieve.store.lock import LOCK_NAME
from clipsieve.types import EXPORT_MARKER

__all__ = ["check_apart", "claim"]

FORMAT_VERSION = 1


def check_apart(run: Run, places: Places, source: str) -> None:
    """Raise UsageError if a place lies in the source, in the run or in another place, or one of these lies in it.

    Parameters
    ----------
    run : Run
        What is exported.
    places : mapping of Decision to Destination
        Where to.
    source : str
        Where the source lies.
    """
    taken = [("the source", _plain(source)), ("the run", os.path.realpath(run.path))]
    for decision, place in places.items():
        own = place.url if place.folder is None else os.path.realpath(place.folder)
        for whose, other in taken:
            if _is_within(own, other) or _is_within(other, own):
                raise UsageError(
                    f"the place `{place.url}` is not apart from {whose}",
                    expected="a folder beside it: nothing in the source is ever changed",
                    found=f"`{other}`",
                    state="nothing was written",
                    hint="name another place",
                )
        taken.append((f"the place of what is to {decision.name.lower()}", own))


def _plain(location: str) -> str:
    return location.rstrip("/") if is_url(location) else os.path.realpath(location)


def _is_within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def claim(places: Places, fingerprint: str) -> None:
    """Mark places as those of one export, before anything is written there; it may be there already, unfinished or not.

    Raises
    ------
    ExportError
        If a place holds anything else; nothing is written.
    """
    unclaimed = [place for place in places.values() if not _is_ours(place, fingerprint)]
    marker = {"format_version": FORMAT_VERSION, "fingerprint": fingerprint, "clipsieve_version": __version__}
    for place in unclaimed:
        place.write_bytes(EXPORT_MARKER, json.dumps(marker, indent=2).encode() + b"\n")


def _is_ours(place: Destination, fingerprint: str) -> bool:
    content = place.read_bytes(EXPORT_MARKER)
    if content is None:
        if not place.is_empty():
            raise ExportError(
                f"`{place.url}` holds other files",
                expected="a new or empty place, or the same export, which then goes on",
                state="nothing was written",
                hint="name another place, or empty this one",
            )
        return False
    if _fingerprint_in(content) != fingerprint:
        if place.sizes().keys() <= {EXPORT_MARKER, LOCK_NAME}:
            return False  # an export that could not write anything
        raise ExportError(
            f"`{place.url}` holds another export",
            expected="the same run, scores, thresholds, verdicts and options",
            state="nothing was written; what is there is as it was",
            hint="name another place: two exports are never mixed",
        )
    return True


def _fingerprint_in(content: bytes) -> str | None:
    try:
        found = json.loads(content)
    except ValueError:
        return None
    value = found.get("fingerprint") if isinstance(found, dict) else None
    return value if isinstance(value, str) else None
