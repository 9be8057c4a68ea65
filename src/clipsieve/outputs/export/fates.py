"""Where each input of a run goes: its decision, joined with those it cannot be parted from, and nothing left open in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int64, UInt8

from clipsieve.engines.decisions import DecidedPart, Decider, Decision, Reason
from clipsieve.outputs.export.base import Unit
from clipsieve.types import Shard

__all__ = ["Counts", "PartFate", "Stretch", "Undecided", "resolve", "settle", "unit_of"]

Undecided: TypeAlias = Literal["keep", "remove", "fail"]
REASONS = tuple(Reason)
_NUMBER_OF = {reason: number for number, reason in enumerate(REASONS)}


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive parts of a run that are written as one unit.

    Attributes
    ----------
    name : str
        Of the unit.
    start : int
        The first part.
    shards : tuple of Shard
        One for each part.
    """

    name: str
    start: int
    shards: tuple[Shard, ...]


@dataclass(frozen=True, slots=True)
class PartFate:
    """Where the inputs of one part go; a few bytes each, so that a whole run fits into memory.

    Attributes
    ----------
    codes, reasons : uint8 arrays of shape (n,)
        Of `Decision`, and positions in `REASONS`.
    is_open : bool array of shape (n,)
        Whether nobody has decided: what is not for review then goes where an option says.
    annotators : mapping of int to str
        By row, where people decided.
    probability : float32 array with nulls
        What the machine went by.
    """

    codes: UInt8[np.ndarray, "n"]
    reasons: UInt8[np.ndarray, "n"]
    is_open: Bool[np.ndarray, "n"]
    annotators: Mapping[int, str]
    probability: pa.ChunkedArray

    @property
    def decided_by(self) -> list[str | None]:
        """Who decided on each input: "machine", "person", "block list", "companion", "option", or nobody."""
        return [_who(REASONS[reason], code, nobody) for reason, code, nobody in zip(*self._lists(), strict=True)]

    def _lists(self) -> tuple[list[int], list[int], list[bool]]:
        return self.reasons.tolist(), self.codes.tolist(), self.is_open.tolist()


def _who(reason: Reason, code: int, is_open: bool) -> str | None:  # noqa: FBT001
    if is_open:
        return None if code == Decision.REVIEW else "option"
    by_rule = {
        **dict.fromkeys((Reason.VERDICT, Reason.TWIN), "person"),
        **dict.fromkeys((Reason.BLOCKED, Reason.NOT_COMPARED), "block list"),
        Reason.COMPANION: "companion",
    }
    return by_rule.get(reason, "machine")


@dataclass(slots=True)
class Counts:
    """How many inputs go where, and why.

    Attributes
    ----------
    images : counter of (Decision, Reason, bool)
        Inputs by decision, reason and whether nobody has decided.
    n_bytes : counter of Decision
        Size of the encoded files, as far as they were read.
    n_unhashed_kept : int
        Inputs that are kept although their content was never read.
    """

    images: Counter[tuple[Decision, Reason, bool]] = field(default_factory=Counter)
    n_bytes: Counter[Decision] = field(default_factory=Counter)
    n_unhashed_kept: int = 0

    def n(self, decision: Decision) -> int:
        """Return the number of inputs with a decision."""
        return sum(n for (found, _, _), n in self.images.items() if found is decision)

    @property
    def n_open(self) -> int:
        """The number of inputs that nobody has decided on."""
        return sum(n for (_, _, is_open), n in self.images.items() if is_open)

    def add(self, fate: PartFate, images: pa.Table) -> None:
        """Count the inputs of one part, by its columns `bytes` and `sha256`."""
        rows = zip(fate.codes.tolist(), fate.reasons.tolist(), fate.is_open.tolist(), strict=True)
        self.images.update((Decision(code), REASONS[reason], is_open) for code, reason, is_open in rows)
        sizes = images.column("bytes").fill_null(0).to_numpy()
        unread = images.column("sha256").is_null().to_numpy()
        self.n_unhashed_kept += int((unread & (fate.codes == Decision.KEEP)).sum())
        for decision in Decision:
            self.n_bytes[decision] += int(sizes[fate.codes == decision].sum())


def settle(
    decider: Decider, stretches: Sequence[Stretch], groups: Callable[[Unit], Int64[np.ndarray, "n"]]
) -> Iterator[tuple[PartFate, pa.Table]]:
    """Yield the fate of each part of a run, in order, and its rows.

    What cannot be parted goes together, by the strictest decision among it; so what is kept never brings along what was not.

    Parameters
    ----------
    decider : Decider
        Decides on each input by itself.
    stretches : sequence of Stretch
        All parts of the run, in order.
    groups : callable
        `Writer.groups`.
    """
    parts = decider.parts(["sha256", "bytes"])
    for stretch in stretches:
        decided = [next(parts) for _ in stretch.shards]
        codes = np.concatenate([part.codes for part in decided])
        joined = _join(decided, groups(unit_of(stretch, [part.images for part in decided], codes)))
        for part, strict, is_dragged in joined:
            reasons = np.array([_NUMBER_OF[reason] for reason in part.reasons], dtype=np.uint8)
            reasons[is_dragged] = _NUMBER_OF[Reason.COMPANION]
            said = {row: name for row, name in enumerate(part.annotators) if name is not None}
            yield PartFate(strict, reasons, strict == Decision.REVIEW, said, part.probability), part.images
    next(parts, None)  # verdicts on images that are not there are noticed at the end


def unit_of(stretch: Stretch, images: Sequence[pa.Table], codes: UInt8[np.ndarray, "n"]) -> Unit:
    """Return the unit of a stretch, from its parts' columns `image_id` and `sha256`."""
    ids = [name for part in images for name in part.column("image_id").to_pylist()]
    digests = [digest for part in images for digest in part.column("sha256").to_pylist()]
    return Unit(stretch.name, stretch.shards, ids, digests, codes)


def _join(
    decided: Sequence[DecidedPart], groups: Int64[np.ndarray, "n"]
) -> Iterator[tuple[DecidedPart, UInt8[np.ndarray, "m"], Bool[np.ndarray, "m"]]]:
    """Yield each part with its codes after joining, and which of them became stricter by that."""
    codes = np.concatenate([part.codes for part in decided])
    strictest = np.zeros(int(groups.max(initial=-1)) + 1, dtype=np.uint8)
    np.maximum.at(strictest, groups, codes)
    start = 0
    for part in decided:
        stop = start + len(part.codes)
        here = strictest[groups[start:stop]]
        yield part, here, here != part.codes
        start = stop


def resolve(fate: PartFate, undecided: Undecided, *, has_review_place: bool) -> PartFate:
    """Return a fate in which what nobody has decided goes where the option says, unless it has a place of its own."""
    if has_review_place or undecided == "fail":
        return fate
    answer = Decision.KEEP if undecided == "keep" else Decision.REMOVE
    codes = np.where(fate.is_open, np.uint8(answer), fate.codes).astype(np.uint8)
    return replace(fate, codes=codes)
