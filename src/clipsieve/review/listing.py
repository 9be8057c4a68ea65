"""The queues of a review: their orders, and how far people have come with each."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Int64

from clipsieve.errors import RunConflictError, UsageError
from clipsieve.legible import as_text
from clipsieve.review import queues
from clipsieve.review.catalog import Catalog
from clipsieve.review.groups import Groups
from clipsieve.review.preparing import Preparation
from clipsieve.review.records import QueueName, QueueSpec
from clipsieve.review.searching import require_index
from clipsieve.review.standing import Standing

__all__ = ["Listing"]

MAX_VALUES = 500  # classes and concepts that are listed, those with most flagged images first

TITLES = {
    QueueName.UNCERTAIN: ("Uncertain first", "where the classifier is least sure: the best to learn from"),
    QueueName.HIGHEST: ("Highest score first", "what the classifier takes for unwanted"),
    QueueName.DUPLICATES: ("Near-duplicates", "groups of flagged images: one decision, many images"),
    QueueName.AUDIT: (
        "Random audit",
        "drawn at random, unflagged images too, without scores: it tells what was missed",
    ),
    QueueName.DISAGREEMENTS: ("Disagreements", "reviewers differ or were unsure: somebody settles it"),
}


class Listing:
    """The orders of one catalog, each made when it is first asked for.

    Parameters
    ----------
    catalog : Catalog
        Whose scores decide.
    preparation : Preparation
        For concepts, groups, and the random sample.
    """

    def __init__(self, catalog: Catalog, preparation: Preparation) -> None:
        self._catalog, self._preparation = catalog, preparation
        self._orders: dict[QueueSpec, Int64[np.ndarray, "_"]] = {}
        self._known_groups: Groups | None = None

    def order(self, spec: QueueSpec, standing: Standing, done: Bool[np.ndarray, "n"]) -> Int64[np.ndarray, "_"]:
        """Return the rows of a queue, the most urgent first.

        Parameters
        ----------
        spec : QueueSpec
            Which queue.
        standing : Standing
            Of the verdicts.
        done : bool array of shape (n,)
            Rows that need nobody any more; they may be among what is returned. A group is led by the first of its images that
            is not among them, and is gone when there is none.

        Raises
        ------
        UsageError
            If there is no such class or concept.
        RunConflictError
            If it is not prepared yet.
        """
        if spec.name is QueueName.DISAGREEMENTS:
            return standing.disputed()
        if spec.name is QueueName.DUPLICATES:
            return self._groups().leaders(done)
        if spec not in self._orders:
            self._orders[spec] = self._made(spec)
        return self._orders[spec]

    def group_size(self, row: int) -> int:
        """Return how many images the group has that a row belongs to; 1 without one."""
        return self._groups().size_of(row)

    def _groups(self) -> Groups:
        if self._known_groups is None:
            self._known_groups = Groups(_prepared(self._preparation.groups))
        return self._known_groups

    def _made(self, spec: QueueSpec) -> Int64[np.ndarray, "_"]:
        catalog = self._catalog
        match spec.name:
            case QueueName.UNCERTAIN:
                return queues.uncertain(catalog)
            case QueueName.HIGHEST:
                return queues.highest(catalog)
            case QueueName.CLASS:
                return queues.of_class(catalog, _position(catalog.labels, spec))
            case QueueName.CONCEPT:
                index = require_index(self._preparation)
                return queues.of_concept(catalog, index.concept_codes, _position(index.concepts, spec))
            case _:
                return queues.audit(catalog, _prepared(self._preparation.sample))

    def describe(self, standing: Standing) -> list[dict[str, Any]]:
        """Return the queues that are prepared, with how many images each has and how many are done."""
        found = [self._line(QueueSpec(name), standing) for name in TITLES if self._is_prepared(name)]
        found += self._by_value(QueueName.CLASS, self._catalog.labels, self._catalog.label_codes, standing)
        index = self._preparation.index
        if index is not None and index.concepts:
            found += self._by_value(QueueName.CONCEPT, index.concepts, index.concept_codes, standing)
        return found

    def _is_prepared(self, name: QueueName) -> bool:
        needed = {QueueName.AUDIT: self._preparation.sample, QueueName.DUPLICATES: self._preparation.groups}
        return name not in needed or needed[name] is not None

    def _line(self, spec: QueueSpec, standing: Standing) -> dict[str, Any]:
        title, about = TITLES[spec.name]
        n, n_done = self._counts(spec, standing)
        return _queue_json(spec, title, about, n, n_done)

    def _counts(self, spec: QueueSpec, standing: Standing) -> tuple[int, int]:
        """Return how many images, or groups, a queue has, and how many are done."""
        if spec.name in (QueueName.UNCERTAIN, QueueName.HIGHEST):  # all images, and counted without being sorted
            is_seen = self._catalog.is_seen
            return int(is_seen.sum()), int((is_seen & standing.is_settled).sum())
        if spec.name is QueueName.DUPLICATES:
            groups = self._groups()
            return groups.n, groups.n - len(groups.leaders(standing.is_settled))
        order = self.order(spec, standing, standing.is_settled)
        return len(order), 0 if spec.name is QueueName.DISAGREEMENTS else int(standing.is_settled[order].sum())

    def _by_value(
        self, name: QueueName, values: tuple[str, ...], codes: np.ndarray, standing: Standing
    ) -> list[dict[str, Any]]:
        catalog = self._catalog
        chosen = catalog.is_seen & (codes >= 0)
        counts, flagged, done = (
            np.bincount(codes[chosen & extra], minlength=len(values))
            for extra in (chosen, catalog.is_flagged, standing.is_settled)
        )
        most = np.lexsort((np.arange(len(values)), -flagged))[:MAX_VALUES]
        return [
            _queue_json(
                QueueSpec(name, values[i]),
                as_text(values[i], 80),
                f"{int(flagged[i]):,} flagged",
                int(counts[i]),
                int(done[i]),
            )
            for i in most.tolist()
            if counts[i]
        ]


T = TypeVar("T")


def _prepared(found: T | None) -> T:
    if found is None:
        raise RunConflictError("this queue is still being prepared", hint="ask again in some seconds")
    return found


def _queue_json(spec: QueueSpec, title: str, about: str, n: int, n_done: int) -> dict[str, Any]:
    return {"name": spec.name.value, "value": spec.value, "title": title, "about": about, "n": n, "n_done": n_done}


def _position(values: tuple[str, ...], spec: QueueSpec) -> int:
    if spec.value not in values:
        raise UsageError(f"there is no {spec.name.value} of that name in this run")
    return values.index(spec.value)
