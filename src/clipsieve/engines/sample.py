"""Some images of a source, evenly spread, without reading all of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from clipsieve.sources import Source, TableSource, WebDatasetSource
from clipsieve.sources.base import cut
from clipsieve.types import ImageRef, Shard

__all__ = ["sample"]

FEW_FILES = 8  # enough that one odd tar or stretch of rows does not stand for all
PART_SIZE = 1000  # of the plan, which is made here alone


def sample(source: Source, n: int) -> Iterator[ImageRef]:
    """Yield n inputs of a source, or all if it has no more, from its beginning to its end.

    Of a folder and of a data set of Hugging Face any input can be read at once: they are spread over all of it. A tar may have to
    be fetched whole: they come from 8 tars, and from more only where these hold too few. Rows of a table lie one behind the
    other: they come from 8 stretches.

    Parameters
    ----------
    source : Source
        Only read.
    n : int
        Inputs, >= 1. Those that cannot be read are among them.

    Raises
    ------
    SourceError
        If it cannot be listed or, where it is listed as a whole, holds nothing.
    """
    if isinstance(source, WebDatasetSource):
        yield from _of_tars(source, n)
        return
    plan = source.plan(PART_SIZE)
    places = _stretches if isinstance(source, TableSource) else _spread
    yield from _read(source, plan.shards, places(plan.n_images, n))


def _of_tars(source: WebDatasetSource, n: int) -> Iterator[ImageRef]:
    names = source.tars
    few = [names[place] for place in _spread(len(names), FEW_FILES)]
    n_left = n
    for turn, name in enumerate([*few, *(name for name in names if name not in set(few))]):
        if n_left == 0:
            return
        n_rows = source.open_tar(name).index.n_rows  # it stays open, and is read from at once
        wanted = _spread(n_rows, math.ceil(n_left / max(1, len(few) - turn)))
        n_left -= len(wanted)
        yield from _read(source, cut([(name, lambda _start, _stop: "", n_rows, "")], max(1, n_rows)), wanted)


def _spread(n_all: int, n: int) -> np.ndarray:
    """Return n places among all, or all of them, evenly spread, in order."""
    return np.unique(np.linspace(0, n_all - 1, min(n, n_all)).round().astype(np.int64))


def _stretches(n_all: int, n: int) -> np.ndarray:
    """Return n places among all, or all of them, in a few stretches of neighbours."""
    length = math.ceil(min(n, n_all) / FEW_FILES)
    starts = _spread(max(1, n_all - length + 1), FEW_FILES)
    return np.unique(np.add.outer(starts, np.arange(length)))[:n]


def _read(source: Source, shards: tuple[Shard, ...], wanted: np.ndarray) -> Iterator[ImageRef]:
    start = 0
    for shard in shards:
        for place in wanted[(wanted >= start) & (wanted < start + shard.n_images)]:
            yield from source.read(source.one(shard, int(place) - start))
        start += shard.n_images
