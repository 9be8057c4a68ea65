"""The units of an export, written by the workers of an engine: each with a writer of its own."""

from __future__ import annotations

import copy
import secrets
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from jaxtyping import UInt8

from clipsieve.engines.base import Engine
from clipsieve.errors import ExportError
from clipsieve.outputs.export.base import Places, Writer, Written
from clipsieve.outputs.export.fates import Stretch, unit_of
from clipsieve.store import Run
from clipsieve.types import EXPORT_MARKER

__all__ = ["write_units"]


@dataclass(frozen=True, slots=True)
class _Told:
    """What a worker needs beside a unit.

    Attributes
    ----------
    run : Run
        Has the names and hashes of the inputs.
    writer : Writer
        Copied by each worker: it holds files open between units, and is used by one thread at a time.
    places : mapping of Decision to Destination
        As for `Writer.write`.
    token : str
        Tells one export from another.
    """

    run: Run
    writer: Writer
    places: Places
    token: str = field(default_factory=lambda: secrets.token_hex(8))


class _Own(threading.local):
    """What this thread writes with."""

    token: str = ""
    writer: Writer
    places: Places


_own = _Own()


def write_units(
    engine: Engine,
    run: Run,
    writer: Writer,
    places: Places,
    units: Iterable[tuple[Stretch, UInt8[np.ndarray, "n"]]],
) -> Generator[Written, None, None]:
    """Yield what came of each unit, in order; several are under way at once.

    Parameters
    ----------
    engine : Engine
        Whose workers write. They find the source, the run and the places under the names that this process has for them.
    run : Run
        What is exported.
    writer : Writer
        Itself not used.
    places : mapping of Decision to Destination
        As for `Writer.write`.
    units : iterable of (Stretch, uint8 array)
        Each with the codes of its inputs.

    Raises
    ------
    SourceError, ExportError, RunCorruptError
        As for `Writer.write` and `Run.read_images`.
    """
    yield from engine.map(partial(_write, _Told(run, copy.deepcopy(writer), places)), units)


def _check_seen(places: Places) -> None:
    """Raise ExportError if a place is not the one that the export has marked: on another machine's disk it would be lost."""
    for place in places.values():
        if place.read_bytes(EXPORT_MARKER) is None:
            raise ExportError(
                f"`{place.url}` is not the same place on every machine of the cluster",
                expected=f"`{EXPORT_MARKER}` in it, which this export has put there",
                state="what was written before is whole",
                hint="export to a URL, or to a folder that all machines share",
            )


def _write(told: _Told, unit: tuple[Stretch, UInt8[np.ndarray, "n"]]) -> Written:
    if _own.token != told.token:
        _own.writer = copy.deepcopy(told.writer)
        _own.places = {decision: place.apart() for decision, place in told.places.items()}
        _check_seen(_own.places)
        _own.token = told.token
    stretch, codes = unit
    numbers = range(stretch.start, stretch.start + len(stretch.shards))
    images = [told.run.read_images(number, ["image_id", "sha256"]) for number in numbers]
    written = _own.writer.write(unit_of(stretch, images, codes), _own.places)
    for place in _own.places.values():
        place.flush()  # of this machine, which need not be the one that finishes the export
    return written
