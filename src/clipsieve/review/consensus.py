"""From what each person said to what holds now: the latest of each annotator, the majority, adjudication."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from clipsieve.review.records import Choice, CurrentVerdict, VerdictRow, Voice

__all__ = ["Board"]

_UNWANTED = {Choice.REMOVE: True, Choice.KEEP: False, Choice.UNSURE: None}


class Board:
    """What holds for each image, kept up to date row by row; the same for the same rows in whatever order, and doubled or not.

    A row counts unless it is an undo, or the same annotator has taken it back with an undo about the same image; one that was
    taken back never counts again, and an undo cannot be taken back. Of the rows of a person that count, the latest by `made`
    holds (of two at one time, the one with the greater id). A choice that more than half of the reviewers made is the
    decision, and to be unsure is a choice as well; the latest that any adjudicator said goes above it. Not for several threads
    at once.
    """

    def __init__(self, rows: Iterable[VerdictRow] = ()) -> None:
        self._known: set[str] = set()
        self._rows: defaultdict[str, list[VerdictRow]] = defaultdict(list)  # by image
        self.add(rows)

    def add(self, rows: Iterable[VerdictRow]) -> set[str]:
        """Take rows in, and return the ids of the images that they are about; rows that are known change nothing.

        Rows are known by their `verdict_id`, which stands for one row for ever.
        """
        changed: set[str] = set()
        for row in rows:
            if row.verdict_id in self._known:
                continue
            self._known.add(row.verdict_id)
            self._rows[row.image_id].append(row)
            changed.add(row.image_id)
        return changed

    def current(self, image_id: str) -> CurrentVerdict | None:
        """Return what holds for an image, or None where nobody's row counts."""
        rows = self._counting(image_id)
        voices = _voices(rows)
        adjudications = [row for row in rows if row.voice is Voice.ADJUDICATION]
        settled = max(adjudications, key=_age) if adjudications else None
        counting = voices if settled is None else [*voices, settled]
        if not counting:
            return None
        return CurrentVerdict(
            image_id=image_id,
            unwanted=_majority(voices) if settled is None else _UNWANTED[settled.choice],
            by_annotator={row.annotator: row.choice for row in voices},
            is_adjudicated=settled is not None,
            adjudicator=None if settled is None else settled.annotator,
            concepts=tuple(sorted({concept for row in counting for concept in row.concepts})),
        )

    def image_ids(self) -> list[str]:
        """Return the ids of all images that anybody has spoken of, whether it counts or not."""
        return list(self._rows)

    def all(self) -> Iterator[CurrentVerdict]:
        """Yield what holds for every image of which some row counts, in no particular order."""
        for image_id in list(self._rows):
            verdict = self.current(image_id)
            if verdict is not None:
                yield verdict

    def latest(self, image_id: str, annotator: str) -> VerdictRow | None:
        """Return a person's latest row about an image that counts, as a reviewer or an adjudicator."""
        rows = [row for row in self._counting(image_id) if row.annotator == annotator]
        return max(rows, key=_age, default=None)

    def voices(self, image_id: str) -> list[VerdictRow]:
        """Return the row of each reviewer that holds, in the order in which they first spoke."""
        return _voices(self._counting(image_id))

    def images_of(self, annotator: str) -> set[str]:
        """Return the images of which this reviewer has a verdict that counts."""
        return {name for name in self._rows if any(row.annotator == annotator for row in self.voices(name))}

    def groups_of(self, image_id: str) -> set[str]:
        """Return the decisions about groups that an image was part of, by the rows of either voice that count."""
        return {row.group_id for row in self._counting(image_id) if row.group_id is not None}

    def _counting(self, image_id: str) -> list[VerdictRow]:
        rows = self._rows.get(image_id, [])
        if len(rows) == 1:  # nearly all have one, and a ledger may hold a hundred thousand
            return [row for row in rows if row.choice is not Choice.UNDO]
        undone = {(row.undoes, row.annotator) for row in rows if row.choice is Choice.UNDO}
        return [row for row in rows if row.choice is not Choice.UNDO and (row.verdict_id, row.annotator) not in undone]


def _voices(rows: Iterable[VerdictRow]) -> list[VerdictRow]:
    """Return the row of each reviewer that holds, of those that count."""
    by_annotator: dict[str, VerdictRow] = {}
    for row in sorted(rows, key=_age):
        if row.voice is Voice.REVIEW:
            by_annotator[row.annotator] = row  # a later row of theirs keeps their place
    return list(by_annotator.values())


def _age(row: VerdictRow) -> tuple[object, ...]:
    return row.made, row.verdict_id


def _majority(voices: list[VerdictRow]) -> bool | None:
    choices = [row.choice for row in voices]
    return next((unwanted for choice, unwanted in _UNWANTED.items() if 2 * choices.count(choice) > len(choices)), None)
