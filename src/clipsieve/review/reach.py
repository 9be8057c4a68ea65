"""How far people have come with the random audit: only so far does what they said count as a random sample."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipsieve.engines.verdicts import SampledImage, Verdict
from clipsieve.review.consensus import Board
from clipsieve.review.records import Choice, QueueName, VerdictRow

if TYPE_CHECKING:
    from clipsieve.review.ledger.samples import Sample

__all__ = ["Audit", "judge"]


@dataclass(frozen=True, slots=True)
class Audit:
    """A sample with what people said of it, as far as they have come.

    Attributes
    ----------
    verdicts : tuple of Verdict
        All images of the sample, in its order; those after the first `n_reached` are open, whatever was said of them.
    n_reached : int
        How far the audit is: all images up to here were handed out in it, or were settled before.
    """

    verdicts: tuple[Verdict, ...] = ()
    n_reached: int = 0

    @property
    def looked_at(self) -> tuple[Verdict, ...]:
        """The images that somebody has judged, or was unsure of."""
        return tuple(verdict for verdict in self.verdicts if _is_looked_at(verdict))

    @property
    def n_passed_over(self) -> int:
        """How many of the first `n_reached` images nobody has a verdict on."""
        return self.n_reached - len(self.looked_at)


def judge(sample: Sample | None, rows: Iterable[VerdictRow], board: Board) -> Audit:
    """Join a sample with what people said of it.

    Images of the sample that were reached in other queues were chosen for what they show. They count only where the audit
    has come as far as them: up to the last position that somebody decided in the queue `audit` since the sample was drawn,
    all images count, whichever queue their verdict came from; behind it none does. Where all images of the sample have a
    verdict, all count.

    A decision about a group speaks of images that lie anywhere in the sample, so that it proves only that the first of them
    was reached; and the following ones as long as each image up to them has a verdict.

    Parameters
    ----------
    sample : Sample or None
        The newest one.
    rows : iterable of VerdictRow
        All of the ledger.
    board : Board
        What holds, of the same rows.
    """
    if sample is None or not sample.images:
        return Audit()
    joined = [_verdict(line, image, board) for line, image in enumerate(sample.images, start=1)]
    n_reached = _reach(sample, rows, [_is_looked_at(verdict) for verdict in joined])
    behind = (_verdict(line, image, None) for line, image in enumerate(sample.images, start=1) if line > n_reached)
    return Audit((*joined[:n_reached], *behind), n_reached)


def _verdict(line: int, image: SampledImage, board: Board | None) -> Verdict:
    current = None if board is None else board.current(image.image_id)
    unwanted = None if current is None else current.unwanted
    is_unsure = current is not None and unwanted is None
    return Verdict(line, image.image_id, image.stratum, image.stratum_size, image.flagged, unwanted, is_unsure)


def _is_looked_at(verdict: Verdict) -> bool:
    return verdict.unwanted is not None or verdict.is_unsure


def _reach(sample: Sample, rows: Iterable[VerdictRow], is_looked_at: Sequence[bool]) -> int:
    """Return how far the audit is; a row that was taken back proves as well that its image was handed out."""
    if all(is_looked_at):
        return len(is_looked_at)
    place = {image.image_id: line for line, image in enumerate(sample.images, start=1)}
    decisions: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows:
        is_audit = row.queue == QueueName.AUDIT and row.choice is not Choice.UNDO and row.made >= sample.made
        if is_audit and row.image_id in place:
            decisions[row.group_id or row.verdict_id].append(place[row.image_id])
    reached = max((min(places) for places in decisions.values()), default=0)
    audited = {line for places in decisions.values() for line in places}
    for line in range(reached + 1, len(is_looked_at) + 1):
        if not is_looked_at[line - 1]:
            break
        if line in audited:
            reached = line
    return reached
