"""The desk: all that a page of reviewers asks for, in one place; the page itself only calls it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from clipsieve.errors import NotAllowedError, RunConflictError, UsageError
from clipsieve.review.audit import held_back
from clipsieve.review.catalog import Catalog
from clipsieve.review.consensus import Board
from clipsieve.review.deciding import SentVerdict
from clipsieve.review.handing_out import hand_out, renew
from clipsieve.review.learning import learn
from clipsieve.review.ledger.digest import verdict_digest
from clipsieve.review.listing import Listing
from clipsieve.review.options import DeskOptions
from clipsieve.review.pictures import Pictures
from clipsieve.review.preparing import Preparation
from clipsieve.review.progress import progress_of, summarize_review
from clipsieve.review.records import OpenedSession, QueueName, QueueSpec, Role
from clipsieve.review.searching import Searcher, near_duplicates, require_index
from clipsieve.review.showing import item_json, show
from clipsieve.review.standing import Standing
from clipsieve.review.writing import write_down

if TYPE_CHECKING:
    from clipsieve.review.ledger import Ledger
    from clipsieve.store import Run

__all__ = ["Desk"]

CHECK_S = 1.0
N_AHEAD = 4  # pictures that are made before the page asks: the first ones that it shows


class Desk:
    """The review of one run. Thread-safe.

    Parameters
    ----------
    run : Run
        With scores.
    ledger : Ledger
        Where verdicts are written; the caller closes it.
    options : DeskOptions
        How images are handed out.

    Raises
    ------
    UsageError, RunNotFoundError, RunCorruptError
        If there are no such scores, or they are damaged.
    """

    def __init__(self, run: Run, ledger: Ledger, options: DeskOptions | None = None) -> None:
        self.run, self.ledger, self.options = run, ledger, options or DeskOptions()
        self.catalog = Catalog.open(run, self.options.scores_name)
        self.standing = Standing(self.catalog, ledger, self.options.reviews_per_image)
        self.preparation = Preparation(self.catalog, ledger, self.options)
        self.pictures = Pictures.open(
            run, self.catalog, location=self.options.location, n_workers=self.options.n_workers
        )
        self._searcher = Searcher(run, self.options.model)
        self._handing, self._learning = threading.Lock(), threading.Lock()
        self._listing = Listing(self.catalog, self.preparation)
        self._checked = (-CHECK_S, True)  # when, and whether the run is still the same
        self.preparation.start()

    def close(self) -> None:
        """End what runs in the background; the ledger stays open."""
        self.preparation.stop()
        self.pictures.close()
        self._searcher.close()
        if self.preparation.index is not None:
            self.preparation.index.close()

    def state(self, session: OpenedSession) -> dict[str, Any]:
        """Return what a page needs to begin, and to show how far everybody is."""
        self.standing.sync()
        catalog, preparation = self.catalog, self.preparation
        run = {
            "key": self.ledger.run_key,
            "name": self.run.path.resolve().name,
            "n_images": catalog.n,
            "n_seen": int(catalog.is_seen.sum()),
            "n_flagged": int(catalog.is_flagged.sum()),
            "threshold": catalog.threshold,
            "scores": catalog.scores_name,
        }
        return {
            "annotator": session.annotator,
            "role": session.role.value,
            "run": run,
            "guideline": self.options.guideline,
            "reviews_per_image": self.options.reviews_per_image,
            "concepts": list(preparation.index.concepts) if preparation.index else [],
            "queues": self._queues(session),
            "progress": progress_of(self.standing, session.annotator),
            "index": {
                "is_ready": preparation.index is not None,
                "share": preparation.share,
                "problem": preparation.problem,
            },
            "min_similarity": self.options.min_similarity,
            "can_adjudicate": session.role is Role.ADJUDICATOR,
            "now": _now(),
        }

    def take(self, session: OpenedSession, queue: QueueSpec, n: int, skip: Sequence[int] = ()) -> dict[str, Any]:
        """Hand out the next images of a queue, and keep them for this person for a while."""
        is_adjudication = queue.name is QueueName.DISAGREEMENTS
        if is_adjudication:
            _require_adjudicator(session, "settles what others differ about")
        self._check_current()
        with self._handing:
            got = hand_out(
                lambda done: self._listing.order(queue, self.standing, done),
                session,
                n,
                skip,
                catalog=self.catalog,
                standing=self.standing,
                ledger=self.ledger,
                options=self.options,
                is_adjudication=is_adjudication,
            )
        items = self._show(got.rows, session, is_blind=queue.name is QueueName.AUDIT, is_adjudication=is_adjudication)
        if queue.name is QueueName.DUPLICATES:
            items = [item | {"n_like_it": self._listing.group_size(item["row"])} for item in items]
        self.pictures.prefetch(got.rows[:N_AHEAD], "small")
        message = None
        if not got.rows and not skip:
            message = (
                f"Others are looking at the last {got.n_held:,} of this queue." if got.n_held else "This queue is done."
            )
        return {"items": items, "n_left": got.n_left, "message": message}

    def decide(self, session: OpenedSession, sent: Sequence[SentVerdict]) -> dict[str, Any]:
        """Write verdicts down; those that are accepted are durable, and the same one again changes nothing."""
        found = write_down(
            sent,
            session,
            catalog=self.catalog,
            standing=self.standing,
            ledger=self.ledger,
            options=self.options,
        )
        return {
            "accepted": list(found.accepted),
            "refused": [{"verdict_id": verdict_id, "why": why} for verdict_id, why in found.refused],
            "progress": progress_of(self.standing, session.annotator),
            "now": _now(),
        }

    def search(self, session: OpenedSession, text: str, n: int, *, is_blind: bool = False) -> dict[str, Any]:
        """Find images by words; without scores and concepts where these would sway."""
        started = time.monotonic()
        self._check_current()
        index = require_index(self.preparation)
        rows, similarity = index.nearest(self._searcher.vector(text), n, allowed=self.catalog.is_seen)
        items = self._found(rows.tolist(), similarity.tolist(), session, is_blind=is_blind)
        return {"items": items, "elapsed_s": time.monotonic() - started}

    def similar(self, session: OpenedSession, row: int, n: int, *, is_blind: bool = False) -> dict[str, Any]:
        """Find the images that are most like one, the nearest first, without it."""
        started = time.monotonic()
        self._check_current()
        index = require_index(self.preparation)
        self._require_seen(row)
        rows, similarity = index.nearest(index.embedding(row), n + 1, allowed=self.catalog.is_seen)
        others = rows != row
        items = self._found(rows[others][:n].tolist(), similarity[others][:n].tolist(), session, is_blind=is_blind)
        return {"items": items, "elapsed_s": time.monotonic() - started}

    def group(
        self, session: OpenedSession, row: int, min_similarity: float, *, is_blind: bool = False
    ) -> dict[str, Any]:
        """Return an image and its near-duplicates in the whole run, those that people may decide about together."""
        self._check_current()
        index = require_index(self.preparation)
        self._require_seen(row)
        rows, similarity = near_duplicates(index, row, min_similarity)
        items = self._found(rows.tolist(), similarity.tolist(), session, is_blind=is_blind)
        return {"items": items, "n": len(items), "min_similarity": min_similarity}

    def release(self, session: OpenedSession, rows: Sequence[int]) -> dict[str, Any]:
        """Give images back that a person will not look at after all."""
        names = [self.catalog.image_id(row) for row in rows if 0 <= row < self.catalog.n]
        self.ledger.release(names, session.holder)
        return {}

    def renew(self, session: OpenedSession, rows: Sequence[int]) -> dict[str, Any]:
        """Keep images that a person still has before them; tell which somebody else holds by now."""
        names = {self.catalog.image_id(row): row for row in rows if 0 <= row < self.catalog.n}
        with self._handing:
            held = renew(list(names), session, ledger=self.ledger, options=self.options)
        return {"lost": [row for name, row in names.items() if name not in held]}

    def learn(self, session: OpenedSession) -> dict[str, Any]:
        """Tune a classifier on what people decided, score the run with it, and order the queues by that."""
        _require_adjudicator(session, "lets the classifier learn: it changes the order for everybody")
        if not self._learning.acquire(blocking=False):
            raise RunConflictError("the classifier is learning already", hint="wait until it is done")
        try:
            sample = self.preparation.sample
            if sample is None:  # whatever is learned from can never vouch for a threshold
                raise RunConflictError("the random audit is still being drawn", hint="ask again in some seconds")
            rows = self.standing.rows()
            board = Board(rows)  # of its own: people go on deciding meanwhile
            report = learn(
                self.run,
                self.catalog.scores_name,
                board,
                model=self.options.model,
                min_similarity=self.options.min_similarity,
                held_back=held_back(self.catalog, sample),
                ledger_sha256=verdict_digest(rows),
            )
            with self._handing:
                self.catalog = self.catalog.rescored(report.name)
                self.preparation.regroup(self.catalog)
                self._listing = Listing(self.catalog, self.preparation)
                self._checked = (-CHECK_S, True)
            return asdict(report)
        finally:
            self._learning.release()

    def summary(self) -> dict[str, Any]:
        """Return how far the review is, who did how much, and how well people agree."""
        self.standing.sync()
        return summarize_review(self.standing, self.ledger, self.catalog, self.options)

    def picture(self, row: int, sha16: str, size: str) -> bytes | None:
        """Return a picture as WebP; None for whatever is not an image of this run that may be shown."""
        if not 0 <= row < self.catalog.n or (self.catalog.sha256(row) or "")[:16] != sha16:
            return None
        if not self._is_current():  # the run may have a block list by now
            return None
        found = self.pictures.get(row, size)
        return found if isinstance(found, bytes) else None

    def _queues(self, session: OpenedSession) -> list[dict[str, Any]]:
        found = self._listing.describe(self.standing)
        hidden = () if session.role is Role.ADJUDICATOR else (QueueName.DISAGREEMENTS.value,)
        return [queue for queue in found if queue["name"] not in hidden]

    def _show(self, rows: Sequence[int], session: OpenedSession, **how: bool) -> list[dict[str, Any]]:
        items = show(
            rows,
            session.annotator,
            catalog=self.catalog,
            standing=self.standing,
            pictures=self.pictures,
            index=self.preparation.index,
            **how,
        )
        return [item_json(item) for item in items]

    def _found(
        self, rows: list[int], similarity: list[float], session: OpenedSession, *, is_blind: bool
    ) -> list[dict[str, Any]]:
        self.pictures.prefetch(rows, "small")
        shown = self._show(rows, session, is_blind=is_blind)
        return [item | {"similarity": cosine} for item, cosine in zip(shown, similarity, strict=True)]

    def _require_seen(self, row: int) -> None:
        if not (0 <= row < self.catalog.n and self.catalog.is_seen[row]):
            raise UsageError("no image of this run that could be read is in that row", found=f"{row}")

    def _is_current(self) -> bool:
        """Return whether the run is what it was when it was opened; asked of the disk once a second."""
        now = time.monotonic()
        if now - self._checked[0] > CHECK_S:
            self._checked = now, self.catalog.is_current()
        return self._checked[1]

    def _check_current(self) -> None:
        if not self._is_current():
            raise RunConflictError(
                "the run was scanned or scored again since the review was opened",
                state="every verdict is kept",
                hint="start `clipsieve review` again",
            )


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _require_adjudicator(session: OpenedSession, what: str) -> None:
    if session.role is not Role.ADJUDICATOR:
        raise NotAllowedError(f"only an adjudicator {what}", hint="ask whoever keeps the accounts")
