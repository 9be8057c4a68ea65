"""A ledger that is open: the verdicts, leases, accounts, sessions and samples of one run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from clipsieve.errors import LedgerError, UsageError
from clipsieve.review.ledger.accounts import Accounts
from clipsieve.review.ledger.database import Database, connect
from clipsieve.review.ledger.leases import Leases
from clipsieve.review.ledger.places import read_place
from clipsieve.review.ledger.samples import Samples
from clipsieve.review.ledger.schema import migrate
from clipsieve.review.ledger.sessions import Sessions
from clipsieve.review.ledger.texts import stored
from clipsieve.review.ledger.verdicts import Verdicts
from clipsieve.review.records import VerdictRow

__all__ = ["Ledger"]


class Ledger:
    """Who said what about the images of a run; any number of threads and processes may use one at once.

    Every method raises LedgerError if the database cannot be reached, read or written; what it was to write is then not written.

    Attributes
    ----------
    place : str
        Where it lies, for people: never with a password.
    run_key : str
        Which run the verdicts are about.
    accounts : Accounts
        Who may log in; the same for all runs of the database.
    sessions : Sessions
        Who has.
    samples : Samples
        The random samples that were drawn.
    """

    def __init__(self, database: Database, run_key: str) -> None:
        self.place = database.place.shown
        self.run_key = run_key
        self.accounts = Accounts(database)
        self.sessions = Sessions(database, run_key)
        self.samples = Samples(database, run_key)
        self._database = database
        self._verdicts = Verdicts(database, run_key)
        self._leases = Leases(database, run_key)

    @classmethod
    def open(cls, place: str | Path, run_key: str) -> Ledger:
        """Open a ledger, as `open_ledger` describes."""
        if not 1 <= len(run_key) <= 200:
            raise UsageError("the key of a run has 1 to 200 characters", found=f"{len(run_key):,}")
        database = connect(read_place(place))
        try:
            migrate(database)
        except LedgerError:
            database.close()
            raise
        return cls(database, stored(run_key))

    def append(self, rows: Sequence[VerdictRow]) -> frozenset[str]:
        """Write verdicts down, all or none; on return they survive a crash and a loss of power.

        Parameters
        ----------
        rows : sequence of VerdictRow
            Those whose `verdict_id` the ledger knows are passed over: to send a row again does no harm.

        Returns
        -------
        frozenset of str
            The `verdict_id` of each row that was new.

        Raises
        ------
        LedgerError
            If a row is not as `VerdictRow` describes, or none could be written.
        """
        return self._verdicts.append(rows)

    def has_verdicts(self) -> bool:
        """Return whether anybody has said anything; no row is read for that."""
        return self._verdicts.any()

    def rows(self, after: int = 0) -> list[tuple[int, VerdictRow]]:
        """Return verdicts in the order in which they were written, each with its number.

        Parameters
        ----------
        after : int, default=0
            Those with greater numbers alone. Who asks again after the last number that they saw misses none and sees none twice,
            whoever else writes meanwhile. Numbers have gaps.
        """
        return self._verdicts.rows(after)

    def lease(
        self,
        image_ids: Sequence[str],
        annotator: str,
        *,
        n: int,
        per_image: int,
        ttl_s: float,
        now: datetime | None = None,
    ) -> list[str]:
        """Set images aside for a person for a while.

        Parameters
        ----------
        image_ids : sequence of str
            In the order of wishes.
        annotator : str
            Who.
        n : int
            How many at most.
        per_image : int
            How many people may hold one image at once.
        ttl_s : float
            For how long; those that the person holds already are renewed.
        now : datetime, optional
            With a zone; by default the time by this machine's clock.

        Returns
        -------
        list of str
            The first `n` that the person now holds, in order.
        """
        now = now or datetime.now(UTC)
        return self._leases.take(image_ids, annotator, n=n, per_image=per_image, ttl_s=ttl_s, now=now)

    def release(self, image_ids: Sequence[str], annotator: str) -> None:
        """Give up what a person holds of these images; those that they do not hold stay as they are."""
        self._leases.release(image_ids, annotator)

    def leases(self) -> dict[str, frozenset[str]]:
        """Return by image who holds it now, by this machine's clock."""
        return self._leases.held()

    def close(self) -> None:
        """Close the connections; nothing is lost without it."""
        self._database.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Ledger({self.place!r})"
