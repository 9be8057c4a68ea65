"""Units of an export, made from a source as a scan would have left them."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np

from clipsieve.evaluation.operating_points import Decision
from clipsieve.outputs.export.base import Places, Unit, Writer, Written
from clipsieve.outputs.export.destination import Destination
from clipsieve.sources import Source
from clipsieve.types import Failure, ImageRef

KEEP, REVIEW, REMOVE = Decision.KEEP, Decision.REVIEW, Decision.REMOVE


def units(source: Source, writer: Writer, decide: Callable[[str], int], part_size: int = 3) -> Iterator[Unit]:
    """Yield the units of a source; `decide` tells the decision on each image id."""
    for name, shards in groupby(source.plan(part_size).shards, writer.unit_of):
        own = tuple(shards)
        refs = [ref for shard in own for ref in source.read(shard)]
        ids = [ref.image_id for ref in refs]
        codes = np.array([decide(image_id) for image_id in ids], dtype=np.uint8)
        yield joined(writer, Unit(name, own, ids, [digest(ref) for ref in refs], codes))


def joined(writer: Writer, unit: Unit) -> Unit:
    """Return a unit with the strictest decision for each of its groups."""
    groups = writer.groups(unit)
    strictest = np.zeros(int(groups.max()) + 1, dtype=np.uint8)
    np.maximum.at(strictest, groups, unit.codes)
    return Unit(unit.name, unit.shards, unit.image_ids, unit.sha256, strictest[groups])


def digest(ref: ImageRef) -> str | None:
    return None if isinstance(ref.content, Failure) else hashlib.sha256(ref.content).hexdigest()


def places(folder: Path, *decisions: Decision) -> dict[Decision, Destination]:
    """Return a place for each decision, by default for all."""
    return {each: Destination(str(folder / each.name.lower())) for each in decisions or tuple(Decision)}


def export(
    source: Source, writer: Writer, folder: Path, decide: Callable[[str], int], *decisions: Decision
) -> list[Written]:
    """Write every unit of a source; by default with three places."""
    where = places(folder, *decisions)
    return write_all(writer, units(source, writer, decide), where)


def write_all(writer: Writer, given: Iterable[Unit], where: Places) -> list[Written]:
    """Write units as an export does: `finish` knows of them afterwards."""
    written = []
    for unit in given:
        written.append(writer.write(unit, where))
        writer.remember(unit, written[-1])
    return written
