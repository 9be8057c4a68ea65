"""The places of an export: apart from each other and from the source, and taken by one export alone."""

from __future__ import annotations

import hashlib
import json

from clipsieve._version import __version__
from clipsieve.errors import ExportError
from clipsieve.evaluation.operating_points import Decision
from clipsieve.outputs.apart import check_apart, plain, taken_by
from clipsieve.outputs.export.base import Places
from clipsieve.outputs.export.destination import Destination
from clipsieve.store import Run
from clipsieve.store.lock import LOCK_NAME
from clipsieve.types import EXPORT_MARKER

__all__ = ["check_claimed", "check_free", "check_places", "claim"]

FORMAT_VERSION = 1


def check_places(run: Run, places: Places, moved_to: str | None) -> None:
    """Raise UsageError if a place lies in the source, in the run or in another place, or one of these lies in it.

    Parameters
    ----------
    run : Run
        What is exported.
    places : mapping of Decision to Destination
        Where to.
    moved_to : str or None
        Where the source lies now, if not where it was scanned.
    """
    taken = taken_by(run, moved_to)
    for decision, place in places.items():
        own = place.url if place.folder is None else str(place.folder)
        check_apart(own, taken)
        taken.append((f"the place of what is to {decision.name.lower()}", plain(own)))


def check_free(places: Places, fingerprint: str) -> list[Destination]:
    """Return the places that nothing lies in yet; the others hold the same export, unfinished or not.

    Raises
    ------
    ExportError
        If a place holds anything else.
    """
    return [place for decision, place in places.items() if not _is_ours(place, _of(fingerprint, decision))]


def claim(places: Places, fingerprint: str) -> None:
    """Mark places as those of one export, before anything is written there.

    Raises
    ------
    ExportError
        If a place holds anything else, or another process takes it at the same time; nothing is written.
    """
    free = check_free(places, fingerprint)
    for decision, place in places.items():
        if place in free:
            marker = {"format_version": FORMAT_VERSION, "decision": decision.name.lower()}
            marker |= {"fingerprint": _of(fingerprint, decision), "clipsieve_version": __version__}
            place.write_bytes(EXPORT_MARKER, json.dumps(marker, indent=2).encode() + b"\n")
    check_claimed(places, fingerprint)


def check_claimed(places: Places, fingerprint: str) -> None:
    """Raise ExportError unless all places are still those of this export: behind a URL there is no lock."""
    for decision, place in places.items():
        if _fingerprint_in(place.read_bytes(EXPORT_MARKER) or b"") != _of(fingerprint, decision):
            raise ExportError(
                f"another export has taken `{place.url}` at the same time",
                state="what both wrote lies there mixed",
                hint="empty the place, and export again when nothing else writes there",
            )


def _of(fingerprint: str, decision: Decision) -> str:
    """Return the fingerprint of one place: what is kept and what is not never share one, in whatever order they are named."""
    return hashlib.sha256(f"{fingerprint} {decision.name}".encode()).hexdigest()


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
