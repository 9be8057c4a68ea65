"""Which images a person gets next: in a queue's order, without those that others work on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int64

from clipsieve.review.catalog import Catalog
from clipsieve.review.options import DeskOptions
from clipsieve.review.records import OpenedSession
from clipsieve.review.standing import Standing

if TYPE_CHECKING:
    from clipsieve.review.ledger import Ledger

__all__ = ["Handout", "hand_out", "renew"]

_STRETCH = 4096  # rows of the order that are looked at in one go
_ENOUGH = 8  # candidates for each image wanted: another server may hold some of them by the time of the lease


@dataclass(frozen=True, slots=True)
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

    rows: list[int]
    n_left: int
    n_held: int


def hand_out(
    order: Callable[[Bool[np.ndarray, "n"]], Int64[np.ndarray, "m"]],
    session: OpenedSession,
    n: int,
    skip: Sequence[int],
    *,
    catalog: Catalog,
    standing: Standing,
    ledger: Ledger,
    options: DeskOptions,
    is_adjudication: bool = False,
) -> Handout:
    """Lease the next images of a queue to a person, or more exactly to one of the pages that they have open.

    Parameters
    ----------
    order : callable
        From which rows need nobody any more, or not this person, to the rows of the queue, the most urgent first.
    session : OpenedSession
        Who asks.
    n : int
        How many, >= 1.
    skip : sequence of int
        Rows that the page has before it already; they are kept for it.
    catalog, standing, ledger, options
        Of the review.
    is_adjudication : bool, default=False
        Whether the images are to be settled: then it does not matter that they have their voices, nor who spoke.
    """
    needed = 1 if is_adjudication else options.reviews_per_image
    renew([catalog.image_id(row) for row in skip if 0 <= row < catalog.n], session, ledger=ledger, options=options)
    held = _held_by_others(session, catalog, ledger)
    # After the leases: what another server has just written down, it holds no more.
    standing.sync(at_once=True)
    done = np.zeros(catalog.n, dtype=bool) if is_adjudication else standing.is_settled.copy()
    done[[] if is_adjudication else list(standing.rows_of(session.annotator))] = True
    rows = order(done)
    left = rows[~done[rows]]
    candidates: list[int] = []
    for row in _walk(left, set(skip)):
        n_spoken = 0 if is_adjudication else int(standing.n_voices[row])
        if n_spoken + held.get(row, 0) < needed:
            candidates.append(row)
        if len(candidates) >= _ENOUGH * n:
            break
    names = {catalog.image_id(row): row for row in candidates}
    got = ledger.lease(list(names), session.holder, n=n, per_image=needed, ttl_s=options.lease_s)
    is_left = np.zeros(catalog.n, dtype=bool)
    is_left[left] = True
    return Handout([names[name] for name in got], len(left), int(is_left[list(held)].sum()))


def renew(names: Sequence[str], session: OpenedSession, *, ledger: Ledger, options: DeskOptions) -> set[str]:
    """Keep images for a page for another while, and return those that it holds now."""
    if not names:
        return set()
    per_image = options.reviews_per_image
    return set(ledger.lease(names, session.holder, n=len(names), per_image=per_image, ttl_s=options.lease_s))


def _held_by_others(session: OpenedSession, catalog: Catalog, ledger: Ledger) -> dict[int, int]:
    """Return the rows that other pages hold, and how many do."""
    others = {image_id: len(holders - {session.holder}) for image_id, holders in ledger.leases().items()}
    names = [image_id for image_id, n in others.items() if n]
    rows = catalog.rows_of(names).tolist()
    return {row: others[name] for name, row in zip(names, rows, strict=True) if row >= 0}


def _walk(order: Int64[np.ndarray, "m"], without: set[int]) -> Iterator[int]:
    for start in range(0, len(order), _STRETCH):
        yield from (row for row in order[start : start + _STRETCH].tolist() if row not in without)
