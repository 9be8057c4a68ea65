"""Which flagged images a report shows: of every concept the most probable ones."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from clipsieve.errors import UsageError
from clipsieve.outputs.report.flagged import FlaggedImage
from clipsieve.outputs.report.records import Example

__all__ = ["choose_examples"]


def choose_examples(rows: Iterable[FlaggedImage], *, per_concept: int = 6, most: int = 60) -> tuple[Example, ...]:
    """Return the most probable images of each concept, from a stream of rows.

    Parameters
    ----------
    rows : iterable of FlaggedImage
        In any order; only those that may be shown are held.
    per_concept : int, default=6
        At most so many of each concept, >= 1.
    most : int, default=60
        At most so many in all, >= 0; where that is less, every concept gives up its least probable ones first.

    Returns
    -------
    tuple of Example
        Without thumbnails. Concepts with more flagged images first, what has no concept last; within one, the most probable
        first, and among equals the one that stands first in the data set.

    Raises
    ------
    UsageError
        If a number is out of its range.
    """
    if per_concept < 1 or most < 0:
        raise UsageError(
            "the number of examples makes no sense",
            expected="at least 1 of each concept, and at least 0 in all",
            found=f"{per_concept} of each concept, {most} in all",
        )
    heaps: dict[str | None, list[tuple[float, int, FlaggedImage]]] = {}
    counts: dict[str | None, int] = {}
    for row in rows:
        heap = heaps.setdefault(row.concept, [])
        counts[row.concept] = counts.get(row.concept, 0) + 1
        keep = heapq.heappush if len(heap) < per_concept else heapq.heappushpop
        keep(heap, (row.probability, -row.index, row))
    ranked = {concept: sorted(heap, key=lambda item: (-item[0], -item[1])) for concept, heap in heaps.items()}
    order = sorted(ranked, key=lambda concept: (concept is None, -counts[concept], concept or ""))
    kept = _share_out([len(ranked[concept]) for concept in order], most)
    return tuple(_example(row) for concept, n in zip(order, kept, strict=True) for _, _, row in ranked[concept][:n])


def _share_out(wanted: list[int], most: int) -> list[int]:
    """Return how many each gets if all take turns until nobody wants more or nothing is left."""
    given = [0] * len(wanted)
    while most > 0 and given != wanted:
        for place, n in enumerate(wanted):
            if given[place] < n and most > 0:
                given[place] += 1
                most -= 1
    return given


def _example(row: FlaggedImage) -> Example:
    return Example(
        image_id=row.image_id,
        uri=row.uri,
        label=row.label,
        caption=row.caption,
        probability=float(row.probability),
        concept=row.concept,
        margin=None if row.margin is None else float(row.margin),
        verdict=row.verdict,
        thumbnail=None,
        width=None,
        height=None,
    )
