"""Which images a person gets next: in a queue's order, without those that others work on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

from clipsieve.review.catalog import Catalog
from clipsieve.review.options import DeskOptions
from clipsieve.review.standing import Standing

if TYPE_CHECKING:
    from clipsieve.review.ledger import Ledger

__all__ = ["Handout", "hand_out"]

_STRETCH = 4096  # rows of the order that are looked at in one go
_ENOUGH = 8  # candidates for each image wanted: another server may hold some of them by the time of the lease


class Handout:
    """The rows that a person got, and why there are no more.

    Attributes
    ----------
    rows : list of int
        In the queue's order.
    n_left : int
        Images of the queue that still need this person, these among them.
    n_held : int
        Images of the queue that others hold just now.
    """

    def __init__(self, rows: list[int], n_left: int, n_held: int) -> None:
        self.rows, self.n_left, self.n_held = rows, n_left, n_held


def hand_out(
    order: Int64[np.ndarray, "m"],
    annotator: str,
    n: int,
    skip: Sequence[int],
    *,
    catalog: Catalog,
    standing: Standing,
    ledger: Ledger,
    options: DeskOptions,
    is_adjudication: bool = False,
) -> Handout:
    """Lease the next images of a queue to a person.

    Parameters
    ----------
    order : int64 array of shape (m,)
        Rows, the most urgent first.
    annotator : str
        Who asks.
    n : int
        How many, >= 1.
    skip : sequence of int
        Rows that the person has before them already.
    catalog, standing, ledger, options
        Of the review.
    is_adjudication : bool, default=False
        Whether the images are to be settled: then it does not matter that they have their voices, nor who spoke.
    """
    mine = set() if is_adjudication else standing.rows_of(annotator)
    needed = 1 if is_adjudication else options.reviews_per_image
    leases = {image_id: holders - {annotator} for image_id, holders in ledger.leases().items()}
    taken = [name for name, who in leases.items() if who]
    rows = catalog.rows_of(taken).tolist()
    held = {row: len(leases[name]) for name, row in zip(taken, rows, strict=True) if row >= 0}
    left = order if is_adjudication else order[~standing.is_settled[order]]
    candidates: list[int] = []
    for row in _walk(left, mine | set(skip)):
        n_spoken = 0 if is_adjudication else int(standing.n_voices[row])
        if n_spoken + held.get(row, 0) < needed:
            candidates.append(row)
        if len(candidates) >= _ENOUGH * n:
            break
    names = {catalog.image_id(row): row for row in candidates}
    got = ledger.lease(list(names), annotator, n=n, per_image=needed, ttl_s=options.lease_s)
    is_left = np.zeros(catalog.n, dtype=bool)
    is_left[left] = True
    is_left[list(mine)] = False  # what a person has judged is not left for them
    return Handout([names[name] for name in got], int(is_left.sum()), int(is_left[list(held)].sum()))


def _walk(order: Int64[np.ndarray, "m"], without: set[int]) -> Iterator[int]:
    for start in range(0, len(order), _STRETCH):
        yield from (row for row in order[start : start + _STRETCH].tolist() if row not in without)
