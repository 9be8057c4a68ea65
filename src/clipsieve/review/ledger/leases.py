"""Who has which images before them now, so that two people do not do the same work."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

import sqlalchemy as sa

from clipsieve.review.ledger.database import Database
from clipsieve.review.ledger.tables import leases
from clipsieve.review.ledger.texts import key_of, restored, stored

__all__ = ["Leases"]

_CHUNK = 500  # images named in one statement


class Leases:
    """The leases of one run.

    Parameters
    ----------
    database : Database
        With the newest schema.
    run_key : str
        Which run.
    """

    def __init__(self, database: Database, run_key: str) -> None:
        self._database = database
        self._run_key = run_key
        self._lock = f"leases of {run_key}"
        self._of_run = leases.c.run_key == run_key
        insert = database.insert(leases)
        self._upsert = insert.on_conflict_do_update(
            index_elements=["run_key", "image_key", "annotator"], set_={"expires": insert.excluded.expires}
        )

    def take(
        self, image_ids: Sequence[str], annotator: str, *, n: int, per_image: int, ttl_s: float, now: datetime
    ) -> list[str]:
        """Lease the first that are free; see `Ledger.lease`."""
        who = stored(annotator)
        expires = now + timedelta(seconds=ttl_s)
        with self._database.writing(self._lock, is_durable=False) as connection:
            connection.execute(sa.delete(leases).where(self._of_run, leases.c.expires <= now))
            # All that are held, by anybody: a few hundred for each person, while the list may be long and mostly held.
            holders = self._holders(connection, self._of_run)
            free = (
                image_id
                for image_id in dict.fromkeys(image_ids)
                if annotator in holders.get(image_id, ()) or len(holders.get(image_id, ())) < per_image
            )
            taken = list(islice(free, max(n, 0)))
            lease = {"run_key": self._run_key, "annotator": who, "expires": expires}
            if taken:
                connection.execute(
                    self._upsert, [lease | {"image_key": key_of(name), "image_id": stored(name)} for name in taken]
                )
        return taken

    @staticmethod
    def _holders(connection: sa.Connection, which: sa.ColumnElement[bool]) -> dict[str, set[str]]:
        holders: defaultdict[str, set[str]] = defaultdict(set)
        for image_id, holder in connection.execute(sa.select(leases.c.image_id, leases.c.annotator).where(which)):
            holders[restored(image_id)].add(restored(holder))
        return holders

    def release(self, image_ids: Sequence[str], annotator: str) -> None:
        """End this person's leases of some images; see `Ledger.release`."""
        ours = sa.delete(leases).where(self._of_run, leases.c.annotator == stored(annotator))
        keys = map(key_of, dict.fromkeys(image_ids))
        with self._database.writing(self._lock, is_durable=False) as connection:
            while chunk := list(islice(keys, _CHUNK)):
                connection.execute(ours.where(leases.c.image_key.in_(chunk)))

    def held(self) -> dict[str, frozenset[str]]:
        """Return who holds what now; see `Ledger.leases`."""
        with self._database.reading() as connection:
            holders = self._holders(connection, self._of_run & (leases.c.expires > datetime.now(UTC)))
        return {image_id: frozenset(names) for image_id, names in holders.items()}
