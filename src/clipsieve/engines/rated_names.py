"""Which row of a run is meant by a name in a table: by id, by file name, or by file name without its extension."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.sources.names import legible
from clipsieve.sources.signatures import EXTENSIONS

__all__ = ["LEVELS", "Match", "Place", "match_ids", "match_names"]

LEVELS = ("image_id", "file name", "stem")
_N_CANDIDATES = 4  # so many are kept for a message, however many rows a name meets


class Place(NamedTuple):
    """A row of the run."""

    part: int
    row: int
    image_id: str


class Match(NamedTuple):
    """The one row that a name meets, and by which of `LEVELS`."""

    level: int
    place: Place


def match_ids(names: Sequence[str], parts: Iterable[pa.Table]) -> tuple[dict[int, Match], tuple[str, ...]]:
    """Return the row of each name that is an id of the run, letter by letter, and the names that are none.

    Parameters
    ----------
    names : sequence of str
        Each once.
    parts : iterable of pyarrow.Table
        The parts of the run in order, with the column `image_id`; read once, none is kept.
    """
    wanted, matches = pa.array(names, pa.string()), {}
    for part, table in enumerate(parts):
        found = pc.index_in(table.column("image_id"), value_set=wanted)
        for row in np.flatnonzero(found.is_valid().to_numpy()).tolist():
            position = found[row].as_py()
            matches[position] = Match(0, Place(part, row, names[position]))
    return matches, tuple(name for i, name in enumerate(names) if i not in matches)


def match_names(
    names: Sequence[str], parts: Iterable[pa.Table]
) -> tuple[dict[int, Match], tuple[str, ...], tuple[tuple[str, tuple[str, ...]], ...]]:
    """Return the row of each name that has one, the names that have none, and those that have several or share one.

    Parameters
    ----------
    names : sequence of str
        As the table has them.
    parts : iterable of pyarrow.Table
        The parts of the run in order, with the columns `image_id` and `uri`; read once, none is kept.

    Returns
    -------
    matches : dict of int to Match
        By the name's position.
    unmatched : tuple of str
        Names.
    ambiguous : tuple of (str, tuple of str)
        Names, and the ids of the first four rows that each may mean.
    """
    keys = [_keys(_plain(name)) for name in names]
    found = _find(keys, parts)
    matches: dict[int, Match] = {}
    ambiguous: dict[int, tuple[str, ...]] = {}
    for position, by_level in enumerate(keys):
        level = next((level for level, key in enumerate(by_level) if key in found[level]), None)
        if level is None:
            continue
        places = found[level][by_level[level]]
        if len(places) == 1:
            matches[position] = Match(level, places[0])
        else:
            ambiguous[position] = tuple(place.image_id for place in places)
    for position in _outdone(matches):
        ambiguous[position] = (matches.pop(position).place.image_id,)
    unmatched = tuple(name for i, name in enumerate(names) if i not in matches and i not in ambiguous)
    return matches, unmatched, tuple((names[i], ambiguous[i]) for i in sorted(ambiguous))


def _outdone(matches: dict[int, Match]) -> list[int]:
    """Return the names whose row another name meets in as strong a way, or in a stronger one."""
    rivals: dict[Place, list[int]] = defaultdict(list)
    for position, match in matches.items():
        rivals[match.place].append(position)
    outdone: list[int] = []
    for positions in rivals.values():
        strongest = min(matches[p].level for p in positions)
        winners = [p for p in positions if matches[p].level == strongest]
        outdone += [p for p in positions if len(winners) > 1 or p not in winners]
    return outdone


def _find(keys: Sequence[tuple[str, str, str]], parts: Iterable[pa.Table]) -> list[dict[str, list[Place]]]:
    """Return for each level which rows have each of the names; of many, the first few."""
    # Empty is the last component of `a/`, which is no name.
    wanted = [{by_level[level] for by_level in keys} - {""} for level in range(len(LEVELS))]
    found: list[dict[str, list[Place]]] = [{} for _ in LEVELS]
    for part, table in enumerate(parts):
        columns = (table.column(name).to_pylist() for name in ("image_id", "uri"))
        for row, (image_id, uri) in enumerate(zip(*columns, strict=True)):
            for level, key in _met(wanted, image_id, uri):
                places = found[level].setdefault(key, [])
                if len(places) < _N_CANDIDATES:
                    places.append(Place(part, row, image_id))
    return found


def _met(wanted: list[set[str]], image_id: str, uri: str) -> set[tuple[int, str]]:
    """Return which of the names that are looked for a row has, at each level."""
    return {
        (level, key) for keys in _spellings(image_id, uri) for level, key in enumerate(keys) if key in wanted[level]
    }


def _spellings(image_id: str, uri: str) -> list[tuple[str, str, str]]:
    """Return what a row may be called, at each level; a URI is no id, but its last component is a file name."""
    own = _keys(_plain(image_id))
    found = [own]
    if "%" in image_id:
        found.append(_keys(_plain(legible(image_id))))
    path = uri.partition("?")[0] if "://" in uri else uri
    last = path.rpartition("/")[2]
    if last != own[1]:
        found += [("", *_keys(_plain(text))[1:]) for text in {last, legible(last)}]
    return found


def _plain(name: str) -> str:
    """Return a name in one form of Unicode and with one mark between folders, whichever system wrote it."""
    text = name if name.isascii() else unicodedata.normalize("NFC", name)
    return text.replace("\\", "/").removeprefix("./")


def _keys(plain: str) -> tuple[str, str, str]:
    """Return a name as a whole, its last component, and that without the extension of an image."""
    name = plain.rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    return plain, name, stem if stem and f"{dot}{extension.lower()}" in EXTENSIONS else name
